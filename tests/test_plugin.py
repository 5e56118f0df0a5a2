"""The example of a plugin, installed by pip as anybody's would be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
TEXT = """%x = input : i2[2] in [-2, 1]
%0 = mul %x, %x : i4[2] in [-2, 4]
%1 = add_clear %0, c=1 : i4[2] in [-1, 5]
return %1
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")  # pip builds in the sources
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, source]
    subprocess.run(list(map(str, command)), check=True)
    return folder / "site"


def run(site: Path, *command: str, stdin: str = "") -> str:
    """What a command prints, with the package at hand."""
    scripts = str(Path(sys.executable).parent)
    path = [str(site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        command,
        cwd=site.parent,
        env={
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
        },
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_is_small() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in EXAMPLE.glob("*.py"))
    assert lines < 100


def test_its_own_tests_pass(site: Path) -> None:
    assert "7 passed" in run(site, "pytest", "-q", str(site.parent / "source"))


def test_the_command_line_knows_it(site: Path) -> None:
    listed = run(site, "lutra", "passes")
    assert "use-square        exact         lutra-squares  Write the product" in listed
    assert "squares           pipeline      lutra-squares  clean,use-square,clean" in listed
    assert run(site, "lutra", "plugins").count(" lutra-squares ") == 3
    optimised = run(site, "lutra", "opt", "-", "-p", "squares", "--validate", stdin=TEXT)
    assert "%0 = square %x : u3[2] in [0, 4]" in optimised
    legal = run(site, "lutra", "opt", "-", "-p", "decompose", stdin=optimised)
    assert "%0 = lookup %x, base=-2, table=[4, 1, 0, 1] : u3[2] in [0, 4]" in legal


def test_the_readme_shows_what_happens(site: Path) -> None:
    text = (EXAMPLE / "README.md").read_text()
    command, _, printed = text.partition("```console\n$ ")[2].partition("```")[0].partition("\n")
    assert run(site, "sh", "-c", command) == printed


PROGRAM = """
import sys
import numpy as np
from lutra.ir.analysis import pbs_count
from lutra.ir.parser import parse_module
from lutra.passes import Context, Pipeline
from lutra.passes.validate import Validate
from lutra.testing import check_backends

text, *backends = sys.argv[1:]
pipeline = Pipeline.parse("squares,partition,legalize")
module = parse_module(text)
pipeline.execute(module, Context(), [Validate()])
assert str(pipeline) == "(clean,use-square,clean),partition,legalize"
assert pbs_count(module.circuit) == 2
options = {"concrete": {"p_error": 1e-7, "strategy": "precision"}}
x = np.array([[-2, 1], [0, -1]])
check_backends(module, [x], backends, options=options)
print("agreed:", *backends)
"""


def test_it_compiles_in_the_clear(site: Path) -> None:
    printed = run(site, sys.executable, "-c", PROGRAM, TEXT, "numpy", "onnx")
    assert printed == "agreed: numpy onnx\n"


@pytest.mark.encrypted
def test_it_computes_under_encryption(site: Path) -> None:
    printed = run(site, sys.executable, "-c", PROGRAM, TEXT, "concrete")
    assert printed == "agreed: concrete\n"
