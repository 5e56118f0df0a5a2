"""`lutra passes` with the passes and pipelines of other packages."""

from typer.testing import CliRunner

from fake_packages import Install
from lutra.cli import app

PASS = """
from dataclasses import dataclass
from lutra.passes import Exact, Pass

@dataclass(frozen=True)
class Nothing(Pass):
    '''Change nothing.

    times: how often.
    '''
    name = "nothing"
    contract = Exact
    requires = frozenset({"regions"})
    times: int | None = None

slim = "clean,nothing{times=2}"
"""


def passes(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["passes", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def rows() -> dict[str, list[str]]:
    lines = (line.split(maxsplit=3) for line in passes().splitlines() if line[0] != " ")
    return {name: rest for name, *rest in lines}


def test_plugins_stand_beside_ours(install: Install) -> None:
    points = {"lutra.passes": "nothing = acme:Nothing", "lutra.pipelines": "slim = acme:slim"}
    install("acme", points, PASS)
    assert rows()["nothing"] == ["exact", "acme", "Change nothing."]
    assert rows()["slim"] == ["pipeline", "acme", "clean,nothing{times=2}"]
    assert rows()["cse"][:2] == ["exact", "lutra"]
    assert "Change nothing.\n  {times=none}\n" in passes()
    assert passes("nothing") == (
        "nothing  (exact)\n\nChange nothing.\n\ntimes: how often.\n\n"
        "options:\n  times = none\nrequires: regions\npackage: acme\n"
    )
    assert passes("slim") == "slim  (pipeline)\n\nclean,nothing{times=2}\n"


def test_broken_ones_are_listed_with_their_errors(install: Install) -> None:
    broken = {"lutra.passes": "torn = acme:x\ncse = acme:x", "lutra.pipelines": "worn = acme:x"}
    install("acme", broken, "import nowhere")
    found = rows()
    assert found["torn"][:2] == ["broken", "acme"]
    assert found["torn"][2].startswith("P007: pass 'torn' of acme: ModuleNotFoundError")
    assert found["worn"][2].startswith("P007: pipeline 'worn' of acme")
    assert found["cse"] == [
        "broken",
        "lutra+acme",
        "P006: lutra and acme both provide a pass 'cse'",
    ]
    assert found["dce"][:2] == ["exact", "lutra"]
    result = CliRunner().invoke(app, ["passes", "torn"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error[P007]")


def test_plugins_of_all_kinds(install: Install) -> None:
    assert CliRunner().invoke(app, ["plugins"]).exit_code == 0
    install("acme", {"lutra.passes": "nothing = acme:Nothing", "lutra.ops": "neg = acme:x"}, PASS)
    install("slate", {"lutra.backends": "slate = slate", "lutra.metrics": "m = slate:len"}, "")
    result = CliRunner().invoke(app, ["plugins"])
    assert result.exit_code == 1
    rows = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    assert [row[:3] for row in rows] == [
        ["pass", "nothing", "acme"],
        ["op", "neg", "lutra+acme"],
        ["backend", "slate", "slate"],
        ["metric", "m", "slate"],
    ]
    assert [row[3].split(":")[0] for row in rows] == ["loads", "P006", "P007", "P007"]
