"""`lutra opt`: IR text or a model in, a pipeline, IR text out."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lutra.archive import check_writable
from lutra.ir.errors import InputError

if TYPE_CHECKING:
    from lutra.ir.core import Module
    from lutra.passes import Context, Pipeline
    from lutra.passes.instruments import Instrument

IR_SUFFIXES = ("", ".ir", ".lutra-ir")
IR_BEGINS = re.compile(rb"(\s|#[^\n]*\n)*(%|return\b|graph\s+\w+\s*\{)")


def opt(
    file: Annotated[str, typer.Argument(help="IR text, a model, or - for IR text from stdin")],
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="passes with options, or @FILE that holds them")
    ] = "",
    pipelines: Annotated[
        Path | None, typer.Option(help="a TOML file of pipelines, which may be named then")
    ] = None,
    constants: Annotated[
        Path | None, typer.Option(help="the arrays that the text names; else those in FILE.npz")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", "-c", help="typical inputs: data.npz[:key]")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="shape of an input that a model leaves open: x=1,3,32")
    ] = None,
    clear: Annotated[list[str] | None, typer.Option(help="an input that is not encrypted")] = None,
    backend: Annotated[str | None, typer.Option(help="the backend whose limits hold")] = None,
    lookup_bits: Annotated[int | None, typer.Option(help="limit of look-ups' inputs")] = None,
    value_bits: Annotated[int | None, typer.Option(help="limit of all values")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a file for the text; stdout without")
    ] = None,
    elide: Annotated[
        int | None,
        typer.Option(help="put arrays of more elements into OUTPUT.npz; leave them out on stdout"),
    ] = None,
    stop_after: Annotated[str | None, typer.Option(help="leave out what follows this pass")] = None,
    print_after: Annotated[
        list[str] | None, typer.Option(help="show the IR behind this pass, or behind `all`")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="show what each pass changed")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="show how long each took")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="show operations and rules")] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="hold each pass to its contract on samples")
    ] = False,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="only find the first rewrite that moves the outputs")
    ] = False,
    eps: Annotated[float, typer.Option(help="... by more than this, of the largest")] = 1e-4,
    samples: Annotated[int, typer.Option(min=1, help="for --validate and --bisect")] = 16,
    seed: Annotated[int, typer.Option(help="of samples, where no calibration is given")] = 0,
    reproducer: Annotated[
        Path | None, typer.Option(help="a folder to fill on failure: how to see it again")
    ] = None,
) -> None:
    """Run a pipeline on IR text or a model, and print the IR. All else is shown on stderr."""
    if output is not None:
        check_writable(output)
    passes = _pipeline(pipeline, pipelines, stop_after)
    module = _module(file, constants, shape or [], clear or [])
    context = _context(module, calibration, backend, lookup_bits, value_bits)
    if bisect or print_after:
        passes = passes.decided(module, context)
    if bisect:
        _bisect(passes, module, context, eps, samples, seed)
        return
    from lutra import watch
    from lutra.passes.instruments import Statistics, timing_tree
    from lutra.passes.reproducer import Reproducer
    from lutra.passes.validate import Validate

    validation, statistics = Validate(samples, seed), Statistics()
    show = watch.Show(watch.places(passes, print_after or []), diff, _aside)
    instruments: list[Instrument] = [show] if print_after or diff else []
    instruments += [statistics] * stats + [validation] * validate
    if reproducer is not None:
        instruments.append(Reproducer(reproducer, validation))
    try:
        records = passes.execute(module, context, instruments)
    finally:
        for line in (*watch.compared(validation), *[str(statistics)] * stats):
            _aside(line)
    if timing:
        _aside(timing_tree(records))
    _write(module, output, elide)


def _aside(line: str) -> None:
    typer.echo(line, err=True)


def _pipeline(text: str, file: Path | None, stop_after: str | None) -> Pipeline:
    """The pipeline to run. Errors I004, P001 to P003."""
    from lutra.passes import Pipeline, files

    named = {} if file is None else files.read(file)
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError("I004", f"{text[1:]} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            message = f"{text[1:]} is no text: {error}"
            raise InputError("I002", message, help="name a file of UTF-8 text") from error
    passes = Pipeline.parse(text, named) if text.strip() else Pipeline()
    return passes if stop_after is None else passes.until(stop_after)


def _module(
    file: str, constants: Path | None, shapes: Sequence[str], clear: Sequence[str]
) -> Module:
    """The module in a file, with clear inputs. Errors F..., I..., P006, P007, T001."""
    from lutra.clear import leave_clear

    module = _read(file, constants, shapes)
    leave_clear(module, clear)
    return module


def _read(file: str, constants: Path | None, shapes: Sequence[str]) -> Module:
    from lutra.ir.files import read_arrays, read_module
    from lutra.ir.parser import parse_module

    arrays = None if constants is None else read_arrays(constants)
    if file == "-":
        return parse_module(sys.stdin.read(), arrays)
    path = Path(file)
    if path.suffix in IR_SUFFIXES or _begins_as_ir(path):
        return read_module(path, arrays)
    from lutra import datafile
    from lutra.frontends.registry import import_source

    return import_source(path, shapes=datafile.shapes(shapes))


def _begins_as_ir(path: Path) -> bool:
    try:
        return bool(IR_BEGINS.match(path.read_bytes()))
    except OSError:
        return False


def _context(
    module: Module,
    calibration: str | None,
    backend: str | None,
    lookup_bits: int | None,
    value_bits: int | None,
) -> Context:
    from lutra import datafile
    from lutra.backends import registry
    from lutra.passes import Context
    from lutra.pricing import prices_for
    from lutra.signature import Signature

    found: dict[str, Any] = {}
    if backend is not None:
        chosen = registry.find(backend)
        limits = chosen.limits
        found = {"lookup_bits": limits.lookup_bits, "value_bits": limits.value_bits}
        found.update(backend=backend, prices=prices_for(chosen, {}))
    own = {"lookup_bits": lookup_bits, "value_bits": value_bits}
    found.update((name, bits) for name, bits in own.items() if bits is not None)
    if calibration is not None:
        signature = Signature.of(module)
        data = datafile.read(calibration, [port.name for port in signature.inputs])
        found["samples"] = signature.arrange(data, not_finite="C002").arrays
    return Context(**found)


def _bisect(
    passes: Pipeline, module: Module, context: Context, eps: float, samples: int, seed: int
) -> None:
    """Print the culprit and end with exit code 1, or say that there is none."""
    from lutra import watch
    from lutra.passes.bisect import bisect, same_outputs

    good = same_outputs(module, context, eps, samples, seed)
    culprit = bisect(passes, module, good, context)
    typer.echo(watch.explained(culprit, eps))
    if culprit is not None:
        raise typer.Exit(1)


def _write(module: Module, output: Path | None, elide: int | None) -> None:
    from lutra.ir.files import INLINE, write_module
    from lutra.ir.text import text_of_module

    if output is None:
        typer.echo(text_of_module(module, limit=elide), nl=False)
    else:
        write_module(module, output, limit=INLINE if elide is None else elide)
