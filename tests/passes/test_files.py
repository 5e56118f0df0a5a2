"""Files of named pipelines."""

from pathlib import Path

import pytest

from fake_packages import Install
from lutra.ir.errors import InputError, PipelineError
from lutra.passes import Pipeline

FILE = """
[pipelines]
slim = "tidy,default{weights=4,rounding=none}"
tidy = "clean,dce"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipelines.toml"
    path.write_text(FILE)
    return path


def test_pipelines_may_name_each_other(file: Path) -> None:
    loaded = Pipeline.load(file)
    assert list(loaded) == ["slim", "tidy"]
    assert str(loaded["slim"]) == "(clean,dce),default{weights=4,rounding=none}"
    assert Pipeline.parse(str(loaded["slim"])) == loaded["slim"]


@pytest.mark.parametrize(
    ("content", "code", "why"),
    [
        ("[pipelines", "P003", "is no TOML file"),
        ("slim = 'clean'", "P003", r"has no table \[pipelines\]"),
        ("[pipelines]\na = 3", "P003", "pipeline 'a' is no text: 3"),
        ("[pipelines]\n'a b' = 'clean'", "P003", "'a b' is no name for a pipeline"),
        ("[pipelines]\na = 'b'\nb = 'a'", "P003", "pipeline `b` holds itself"),
        ("[pipelines]\na = 'claen'", "P001", "(?s:.*)did you mean 'clean'"),
        ("[pipelines]\nclean = 'cse,dce'", "P006", "and lutra both provide 'clean'"),
        ("[pipelines]\nacme = 'cse,dce'", "P006", "and slate both provide 'acme'"),
    ],
)
def test_errors(file: Path, install: Install, content: str, code: str, why: str) -> None:
    install("slate", {"lutra.pipelines": "acme = slate:text"}, "text = 'clean'")
    file.write_text(content)
    with pytest.raises(PipelineError, match=f"{code}.*{why}"):
        Pipeline.load(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"I004.*none.toml cannot be read: No such file"):
        Pipeline.load(tmp_path / "none.toml")
