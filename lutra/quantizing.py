"""Quantized models as ONNX, for other tools: `lutra.quantize`, and the command of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from onnx import ModelProto
from rich.console import Console

from lutra.archive import check_writable, write_atomically
from lutra.backends import registry
from lutra.backends.onnx import FORMS, quantized_model
from lutra.bars import bars
from lutra.compiler import imported, samples_of
from lutra.ir.errors import InputError, PipelineError, did_you_mean
from lutra.model import silent
from lutra.passes import Context, Pass, Pipeline
from lutra.passes.base import Progress
from lutra.pricing import prices_for

BEHIND = ("center", "fuse", "partition")
"""Passes that begin what ONNX has no words for: look-ups, and the client's part."""


def quantize(
    model: Any,
    calibration: Any = None,
    pipeline: str | Pass | Sequence[Pass] = "default",
    *,
    form: Literal["qdq", "qonnx"] = "qdq",
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> ModelProto:
    """The model that `compile` would quantize with the same arguments, as a quantized ONNX model.

    Its quantized values and weights are the integers of the circuit, up to float rounding where a
    value lies in the middle between two steps. Compiled by the pipeline `qat`, it gives that
    circuit's integers again.

    form: `qdq` for QuantizeLinear and DequantizeLinear, with a Clip between for fewer bits than
        their types have, which onnxruntime and others run; `qonnx` for the operator Quant of
        https://github.com/fastmachinelearning/qonnx.

    Errors: those of `compile`; I005 for another form; B002 where integers have more bits than ONNX
    has types for; P009 where the pipeline does not quantize.
    """
    if form not in FORMS:
        raise InputError("I005", f"form={form!r}", help=did_you_mean(str(form), list(FORMS)))
    module = imported(model, calibration, shapes)
    backend = registry.find("concrete")
    context = Context(
        samples=None if calibration is None else samples_of(module, calibration),
        lookup_bits=backend.limits.lookup_bits,
        value_bits=backend.limits.value_bits,
        backend=backend.name,
        prices=prices_for(backend, {}),
        progress=progress or silent,
    )
    passes = Pipeline.of(pipeline).decided(module, context).flat()
    front = tuple(takewhile(lambda item: item.name not in BEHIND, passes))
    if not any("quantized" in item.provides for item in front):
        raise PipelineError(
            "P009",
            "the pipeline does not quantize",
            lines=[str(Pipeline.of(pipeline))],
            help="take one that compiles the model, such as `default` or `qat`",
        )
    Pipeline(front).execute(module, context)
    return quantized_model(module.main, form)


def command(
    model: Annotated[Path, typer.Argument(help="an ONNX model")],
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", "-c", help="typical inputs: data.npz:key, or data.npz"),
    ] = None,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="as for `compile`")] = "default",
    form: Annotated[
        str, typer.Option("--form", "-f", help=f"format: {' or '.join(FORMS)}")
    ] = "qdq",
    shape: Annotated[
        list[str] | None,
        typer.Option(help="shape of an input that the model leaves open: name=1,3,32,32"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="where to write the quantized model")
    ] = None,
) -> None:
    """Quantize an ONNX model as `compile` does, and write it as ONNX for other tools."""
    from lutra import datafile
    from lutra.frontends.registry import import_source

    target = output or Path(f"{model.stem}.{form}.onnx")
    check_writable(target)
    module = import_source(model, shapes=datafile.shapes(shape or []))
    names = [node.name for node in module.main.inputs]
    data = None if calibration is None else datafile.read(calibration, names)
    with bars(Console(stderr=True)) as progress:
        found = quantize(module, data, pipeline, form=form, progress=progress)  # type: ignore[arg-type]
    write_atomically(target, found.SerializeToString())
    typer.echo(f"written   {target}")
