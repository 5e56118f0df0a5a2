"""The documentation is up to date, and what it shows works."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lutra.ir.errors import CODES
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else stands beside that, and its text.

    adjacent: whether only a blank line parts it from the block before.
    """

    language: str
    info: str
    text: str
    adjacent: bool

    @property
    def title(self) -> str | None:
        """The file that the block is the text of."""
        found = re.search(r'title="(.*)"', self.info)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found, end = [], 0
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.M | re.S):
        found.append(Block(match[1], match[2], match[3], not text[end : match.start()].strip()))
        end = match.end()
    assert found, page
    return found


def run(command: list[str] | str, folder: Path, path: Path | None = None) -> str:
    """What a command prints, with this Python's scripts and the modules in `path` at hand."""
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    extra = {} if path is None else {"PYTHONPATH": str(path)}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": scripts, "COLUMNS": "100", **extra},
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_prints(wanted: str, found: str) -> None:
    assert doctest.OutputChecker().check_output(wanted, found, ELLIPSIS), f"{wanted}\n!=\n{found}"


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text, encoding="utf-8")


def assert_python_prints(page: Path, folder: Path, path: Path | None = None) -> None:
    """Run a page's Python as one program; what follows a piece as text is what it prints."""
    marker = "=== piece"
    program: list[str] = []
    wanted: list[str] = []
    for block in blocks(page):
        if block.language == "python" and not block.info:
            program.append(f"print({marker!r})\n{block.text}")
            wanted.append("")
        elif block.language == "text" and block.adjacent:
            wanted[-1] = block.text
    (folder / "page.py").write_text("\n".join(program), encoding="utf-8")
    _, *found = run([sys.executable, "page.py"], folder, path).split(f"{marker}\n")
    for text, printed in zip(wanted, found, strict=True):
        assert_prints(text, printed)


def test_every_error_has_a_way_out() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]\d{3})` \| (.+) \| (.*) \|$", page, flags=re.M)
    assert [code for code, _, _ in rows] == list(CODES)
    assert not [code for code, _, way_out in rows if not way_out.strip()]


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `python docs/generate.py`\n{done.stdout}{done.stderr}"


def test_a_pass_is_written_tested_and_installed_as_shown(tmp_path: Path) -> None:
    page = DOCS / "writing-passes.md"
    write_files(page, tmp_path)
    site = tmp_path / "site"
    install = f"--no-deps --no-build-isolation --no-index --target {site}"
    run(f"{sys.executable} -m pip install -q {install} .", tmp_path)
    for block in blocks(page):
        for command, wanted in console(block):
            assert_prints(wanted, run(command, tmp_path, site))
    assert_python_prints(page, tmp_path, site)


def test_the_command_line_works_as_shown(tmp_path: Path) -> None:
    page = DOCS / "opt.md"
    write_files(page, tmp_path)
    for block in blocks(page):
        for command, wanted in console(block):
            assert_prints(wanted, run(command, tmp_path))


def console(block: Block) -> Iterator[tuple[str, str]]:
    """Commands and what they print."""
    if block.language == "console":
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            command, _, wanted = part.partition("\n")
            yield command, wanted


def test_pipelines_work_as_shown(tmp_path: Path) -> None:
    write_files(DOCS / "pipelines.md", tmp_path)
    assert_python_prints(DOCS / "pipelines.md", tmp_path)


def test_migrating_works_as_shown(tmp_path: Path) -> None:
    assert_python_prints(DOCS / "migration.md", tmp_path)


def test_experiments_work_as_shown(tmp_path: Path) -> None:
    page = DOCS / "experiments.md"
    write_files(page, tmp_path)
    (tmp_path / "models").mkdir()
    for ending in ("onnx", "npz"):
        shutil.copy(ROOT / "examples" / "models" / f"logreg14.{ending}", tmp_path / "models")
    assert_python_prints(page, tmp_path)
    assert len((tmp_path / "bits.csv").read_text().splitlines()) == 1 + 5
    shown = run("lutra experiment show bits.toml", tmp_path)
    assert "bits-price-accuracy.png: 5 points" in shown


def test_the_ir_works_as_shown(tmp_path: Path) -> None:
    assert_python_prints(DOCS / "ir.md", tmp_path)
    shown = [block.text for block in blocks(DOCS / "ir.md") if not block.adjacent]
    texts = [text for text in shown if re.match(r"%\S+ = |graph ", text)]
    assert len(texts) == 3
    for text in texts:
        assert text_of_module(parse_module(text)) == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in [head.lower().replace(" ", "-") for head in heads], link
