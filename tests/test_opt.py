"""`lutra opt`, and that its reproducers replay failures."""

import json
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from fake_packages import Install
from lutra.cli import app
from lutra.ir.files import read_module, write_module
from lutra.ir.parser import parse_module
from lutra.passes import Context, Pipeline
from lutra.passes.instruments import Instrument
from lutra.passes.reproducer import Reproducer
from lutra.passes.validate import Validate
from small_models import mlp, points

TEXT = """%x = input : u4[1x2] in [0, 15]
%0 = matmul %x, w=[[3, -2], [1, -4]] : i8[1x2] in [-90, 60]  loc "/fc"
%1 = mul_clear %0, c=[[2, 1]] : i8[1x2] in [-90, 120]  loc "/scale"
return %1
"""
CLEAN = """%x = input : u4[1x2] in [0, 15]
%0 = matmul %x, w=[[6, -2], [2, -4]] : i8[1x2] in [-90, 120]  loc "/fc", "/scale"
return %0
"""
FAULTY = """
from dataclasses import dataclass
import numpy as np
from lutra.ir.ops import MatMul, MulClear
from lutra.passes import Exact, Pass
from lutra.passes.rules import apply_rules, no

@dataclass(frozen=True)
class Flip(Pass):
    '''A wrong sign.'''
    name = "flip"
    contract = Exact
    def run(self, graph, rewriter, context):
        apply_rules(graph, rewriter, [flip], context.log)

def flip(op: MatMul, rw):
    '''x @ w -> x @ -w'''
    if (op.w < 0).any() and op.w[0, 0] < 0:
        return no("is flipped")
    rw.replace(op, MatMul(op.x, -np.abs(op.w)))

@dataclass(frozen=True)
class Crash(Pass):
    '''A mistake of another kind.'''
    name = "crash"
    contract = Exact
    def run(self, graph, rewriter, context):
        next(graph.of(MulClear)).nothing

@dataclass(frozen=True)
class Leave(Pass):
    '''Leave something for `take`.'''
    name = "leave"
    contract = Exact
    def run(self, graph, rewriter, context):
        context.log.fired["left"] += 1

@dataclass(frozen=True)
class Take(Pass):
    '''Fail where `leave` ran before.'''
    name = "take"
    contract = Exact
    def run(self, graph, rewriter, context):
        assert not context.log.fired["left"], "left"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with net.ir, model.onnx and data.npz."""
    monkeypatch.chdir(tmp_path)
    Path("net.ir").write_text(TEXT)
    onnx.save(mlp(), "model.onnx")
    np.savez("data.npz", x_train=points(), x_test=points(20, seed=5))
    return tmp_path


@pytest.fixture
def faulty(folder: Path, install: Install) -> None:
    names = ("Flip", "Crash", "Leave", "Take")
    install(
        "faulty",
        {"lutra.passes": "\n".join(f"{n.lower()} = faulty:{n}" for n in names)},
        FAULTY,
    )


def opt(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["opt", *map(str, arguments)], input=stdin)


def succeeds(*arguments: object, stdin: str | None = None) -> Result:
    result = opt(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


# --- in and out ---------------------------------------------------------------------------------
def test_text_in_text_out(folder: Path) -> None:
    result = succeeds("net.ir", "-p", "clean")
    assert (result.stdout, result.stderr) == (CLEAN, "")
    assert succeeds("net.ir").stdout == TEXT
    assert succeeds("-", "-p", "clean", stdin=f"# a comment\n{TEXT}").stdout == CLEAN
    Path("net.txt").write_text(f"# a comment\n{TEXT}")  # no suffix that says what it is
    assert succeeds("net.txt", "-p", "clean").stdout == CLEAN


def test_large_arrays_lie_beside(folder: Path) -> None:
    assert succeeds("net.ir", "-o", "all.ir").stdout == ""
    assert Path("all.ir").read_text() == TEXT
    succeeds("net.ir", "--elide", 2, "-o", "out.ir")
    assert "w=@c0" in Path("out.ir").read_text()
    assert succeeds("out.ir").stdout == TEXT
    Path("out.ir.npz").rename("other.npz")
    assert succeeds("out.ir", "--constants", "other.npz").stdout == TEXT
    assert "@c0 is not among the constants" in opt("out.ir").stderr
    assert "w=<int64[2x2]>" in succeeds("net.ir", "--elide", 2).stdout


def test_a_model_in(folder: Path) -> None:
    assert "onnx.MatMul %x" in succeeds("model.onnx", "--stop-after", "cse", "-p", "clean").stdout
    result = succeeds("model.onnx", "-p", "default", "-c", "data.npz:x_train", "-o", "c.ir")
    assert result.stdout == ""
    assert list(read_module(Path("c.ir")).graphs) == ["encode", "circuit", "decode"]
    assert "graph circuit {" in succeeds("c.ir", "-p", "legalize", "--backend", "concrete").stdout
    assert "[1, 2]" not in succeeds("model.onnx", "--shape", "x=1,2").stdout


def test_pipelines_from_files(folder: Path) -> None:
    Path("p.txt").write_text("canonicalize,\n  dce\n")
    assert succeeds("net.ir", "-p", "@p.txt").stdout == CLEAN
    Path("p.toml").write_text("[pipelines]\ntidy = 'clean'\nmine = 'tidy,cse'\n")
    result = succeeds("net.ir", "-p", "mine", "--pipelines", "p.toml", "--stats")
    assert result.stdout == CLEAN
    assert [line.split()[0] for line in result.stderr.splitlines()] == [
        *("cse", "canonicalize", "cse", "dce", "cse")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("none.ir",), "I004", "none.ir cannot be read"),
        (("none.onnx",), "F001", "none.onnx"),
        (("net.ir", "-p", "claen"), "P001", "did you mean 'clean'"),
        (("net.ir", "-p", "@none"), "I004", "none cannot be read"),
        (("net.ir", "-p", "@latin"), "I002", "name a file of UTF-8 text"),
        (("net.ir", "-p", "clean", "-o", "none/net.ir"), "I004", "make the folder first"),
        (("net.ir", "-p", "clean", "--stop-after", "dse"), "P001", "did you mean 'dce'"),
        (("net.ir", "-p", "clean", "--print-after", "fuse"), "P001", "no pass 'fuse'"),
        (("net.ir", "-p", "clean", "--backend", "nunpy"), "B001", "did you mean 'numpy'"),
        (("net.ir", "--constants", "none.npz"), "I004", "none.npz cannot be read"),
        (("net.ir", "-c", "data.npz:x"), "I004", "no array 'x'"),
        (("model.onnx", "-p", "default"), "C003", "calibration data"),
        (("net.ir", "-p", "legalize"), "P009", "partition"),
    ],
)
def test_errors(folder: Path, arguments: tuple[str, ...], code: str, why: str) -> None:
    Path("latin").write_bytes("# naïve\nclean".encode("latin-1"))
    result = opt(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error[{code}]: ")
    assert why in result.stderr
    assert not result.stdout


def test_an_error_in_the_text_is_located(folder: Path) -> None:
    Path("net.ir").write_text(TEXT.replace("matmul", "matmull"))
    assert "T001]: line 2, column 6: no operation 'matmull'; did you mean 'matmul'?" in (
        opt("net.ir").stderr
    )


# --- watching -----------------------------------------------------------------------------------
def test_what_runs_is_shown_beside(folder: Path) -> None:
    result = succeeds("net.ir", "-p", "dce,clean", "--print-after", "dce")
    assert result.stdout == CLEAN
    assert result.stderr.count("# after dce\n") == 2
    assert result.stderr.endswith(f"# after dce\n{CLEAN}\n")
    assert (
        succeeds("net.ir", "-p", "dce,clean", "--print-after", "all").stderr.count("# after") == 5
    )
    group = succeeds("net.ir", "-p", "clean,cse", "--print-after", "clean").stderr
    assert group == f"# after dce\n{CLEAN}\n"


def test_changes_time_and_statistics(folder: Path) -> None:
    diff = succeeds("net.ir", "-p", "clean", "--diff").stderr
    assert "+++ after canonicalize\n" in diff
    assert "\n-%1 = mul_clear" in diff
    assert "cse" not in diff
    assert "  canonicalize" in succeeds("net.ir", "-p", "clean", "--timing").stderr
    stats = succeeds("net.ir", "-p", "clean", "--stats").stderr
    assert "canonicalize       mul_clear-1   rules: factor_into_matmulx1" in stats
    validated = succeeds("net.ir", "-p", "clean", "--validate").stderr
    assert " ".join(validated.split()) == (
        "validated canonicalize moves the outputs by 0 on every input"
    )


def test_stop_after(folder: Path) -> None:
    four = succeeds("net.ir", "-p", "clean,dce", "--stop-after", "clean", "--stats").stderr
    assert len(four.splitlines()) == 4
    two = succeeds("net.ir", "-p", "clean", "--stop-after", "canonicalize", "--stats").stderr
    assert len(two.splitlines()) == 2


# --- what goes wrong ----------------------------------------------------------------------------
@pytest.mark.usefixtures("faulty")
def test_bisect() -> None:
    good = opt("net.ir", "-p", "clean", "--bisect")
    assert (good.exit_code, good.stdout) == (0, "the outputs stay within 0.0001 after every pass\n")
    bad = opt("net.ir", "-p", "clean,flip,clean", "--bisect")
    assert bad.exit_code == 1
    assert bad.stdout.startswith("pass 4: flip, rule flip on %0 = matmul %x")
    assert "+%0 = matmul %x, w=[[-6, -2], [-2, -4]]" in bad.stdout
    assert opt("net.ir", "-p", "clean,flip", "--bisect", "--eps", "9").exit_code == 0


def replay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """What the reproducer's command does in the reproducer's folder."""
    monkeypatch.chdir(folder)
    *remarks, command = (folder / "command.txt").read_text().splitlines()
    assert not remarks
    name, *arguments = shlex.split(command)
    assert name == "lutra"
    return CliRunner().invoke(app, arguments)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("arguments", "code", "items"),
    [
        (("net.ir", "-p", "clean,flip,cse", "--validate"), "P010", "flip"),
        (
            ("net.ir", "-p", "flip", "--validate", "--samples", "3", "--seed", "7"),
            "P010",
            "flip --validate --samples 3 --seed 7",
        ),
        (("model.onnx", "-p", "default"), "C003", "calibrate"),
        (
            ("model.onnx", "-p", "default{rounding=none}", "-c", "data.npz:x_train")
            + ("--lookup-bits", "3", "--backend", "concrete"),
            "B003",
            "fuse --backend concrete --lookup-bits 3 --value-bits 60 --calibration samples.npz",
        ),
    ],
)
def test_a_reproducer_replays(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
    items: str,
) -> None:
    failed = opt(*arguments, "--reproducer", "again")
    again = folder / "again"
    assert items in (again / "command.txt").read_text()
    assert (again / "error.txt").read_text() in failed.stderr
    versions = json.loads((again / "versions.json").read_text())
    assert {"python", "lutra", "numpy"} <= set(versions)
    assert ("faulty" in versions) == ("flip" in items)
    replayed = replay(again, monkeypatch)
    assert f"error[{code}]" in failed.stderr
    assert replayed.stderr.splitlines()[-4:] == failed.stderr.splitlines()[-4:]


@pytest.mark.usefixtures("faulty")
def test_crashes_are_reproduced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = opt("net.ir", "-p", "cse,crash", "--reproducer", "again")
    assert isinstance(failed.exception, AttributeError)
    assert "--pipeline crash" in Path("again/command.txt").read_text()
    assert "AttributeError" in Path("again/error.txt").read_text()
    again = replay(folder / "again", monkeypatch)
    assert repr(again.exception) == repr(failed.exception)


@pytest.mark.usefixtures("faulty")
def test_what_a_pass_leaves_beside_the_ir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = opt("net.ir", "-p", "clean,leave,take", "--reproducer", "again")
    assert isinstance(failed.exception, AssertionError)
    again = folder / "again"
    assert "canonicalize,cse,dce,leave,take" in (again / "command.txt").read_text()
    assert str(read_module(again / "module.lutra-ir")) == TEXT
    assert isinstance(replay(again, monkeypatch).exception, AssertionError)


def test_a_pass_that_is_not_installed_is_named(folder: Path) -> None:
    scope: dict[str, object] = {"__name__": "notebook"}
    exec(FAULTY, scope)
    watching: list[Instrument] = [Validate(), Reproducer(Path("again"))]
    pipeline = Pipeline.of([scope["Flip"]()])  # type: ignore[operator]
    with pytest.raises(Exception, match="P010"):
        pipeline.execute(parse_module(TEXT), Context(), watching)
    remark, command = Path("again/command.txt").read_text().splitlines()
    assert remark.startswith("# notebook.Flip is no installed pass")
    assert command == "lutra opt module.lutra-ir --pipeline flip --validate"


def test_large_arrays_go_with_the_reproducer(folder: Path) -> None:
    wide = (
        f"%x = input : u4[1x40] in [0, 15]\n%0 = add_clear %x, c=[{list(range(40))}]\nreturn %0\n"
    )
    write_module(parse_module(wide), Path("wide.ir"))
    opt("wide.ir", "-p", "calibrate,partition,legalize", "--value-bits", "2", "--reproducer", "r")
    text = Path("r/module.lutra-ir").read_text()
    assert "c=@c0" in text
