"""Large nets become legal circuits that bootstrap as often as counted from their ONNX graphs.

    python -m benchmarks.large_nets                   # all nets, each in a process of its own
    python -m benchmarks.large_nets resnet50 vgg19

The nine nets that the onnx package ships without weights (`light_*.onnx`), which get random ones
here, and two of PyTorch for images of 32 x 32. They are lowered with 4-bit weights, 8-bit
activations and look-ups of 5 bits, calibrated on random inputs: what becomes of the structure does
not depend on that. `expected` is the count of benchmarks/expected.py, `circuit` that of the
circuit. `seconds` are from the ONNX model to the legal circuit, `GB` the largest memory meanwhile.
`--shipped` takes the weights that the files state, all of them 0.02: whole channels, and all of
Inception v2, are constant then, and are not looked up.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from benchmarks.expected import expected
from lutra.frontends.onnx import import_model
from lutra.ir.analysis import look_ups
from lutra.ir.core import Module
from lutra.ir.types import Array, Tensor
from lutra.passes import Context, Pipeline

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
ROAD = (
    "import-quantized,clean,check-support,calibrate,quantize{weights=4},lower-quantized,"
    "round{bits=5},center,fuse,simplify-lookups,clean,partition,legalize"
)
"""The wide road with weights as they are: what becomes of the structure does not depend on them."""
NAMES = (
    *("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet"),
    *("squeezenet", "vgg19", "zfnet512"),
)
TORCH = ("resnet18_32", "vgg11_32")
POSITIVE = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)}
"""Operators and their operands that scale."""


def light(name: str, *, shipped: bool = False) -> ModelProto:
    """A light model of the onnx package, with random weights in the place of the shipped ones."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    if not shipped:
        _randomise(model)
    return model


def _randomise(model: ModelProto) -> None:
    """Random numbers in the place of all weights."""
    graph, rng = model.graph, np.random.default_rng(0)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    kept: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            (dims,) = (t for t in graph.initializer if t.name == node.input[0])
            shapes[node.output[0]] = tuple(int(size) for size in numpy_helper.to_array(dims))
        else:
            kept.append(node)
    stands_for = {n.output[0]: n.input[0] for n in kept if n.op_type in ("Reshape", "Unsqueeze")}
    weights: dict[str, TensorProto] = {}
    for node in kept:
        for place, name in enumerate(node.input):
            name = stands_for.get(name, name)
            if place and name in shapes and node.op_type not in ("Reshape", "Unsqueeze"):
                array = _random(shapes[name], (node.op_type, place), rng)
                weights[name] = numpy_helper.from_array(array, name)
    others = [tensor for tensor in graph.initializer if tensor.name not in weights]
    inputs = [value for value in graph.input if value.name not in shapes]
    model.ir_version = max(model.ir_version, 4)  # before, every initializer was an input, too
    for field, values in (
        (graph.node, kept),
        (graph.initializer, [*others, *weights.values()]),
        (graph.input, inputs),
    ):
        del field[:]
        field.extend(values)


def _random(shape: tuple[int, ...], role: tuple[str, int], rng: np.random.Generator) -> Array:
    if role in POSITIVE:
        return np.asarray(rng.uniform(0.5, 2.0, shape), np.float32)
    if len(shape) < 2 or role[0] in ("Add", "BatchNormalization"):
        return np.asarray(rng.normal(size=shape) / 10, np.float32)
    w = rng.normal(size=shape)
    if role[0] == "Conv":  # of both signs for each output, which is never cut off for all inputs
        w -= w.mean(tuple(range(1, w.ndim)), keepdims=True)
    return np.asarray(w * (2 / np.prod(shape[1:])) ** 0.5, np.float32)


def torch_net(name: str) -> ModelProto:
    """A PyTorch net for images of 32 x 32, with random weights, as ONNX."""
    from benchmarks.torch_nets import exported, resnet18, vgg11  # which imports torch

    return exported({"resnet18_32": resnet18, "vgg11_32": vgg11}[name]())


def bootstraps(module: Module) -> Counter[str]:
    """Bootstraps of the circuit that a module becomes, by operation."""
    rng = np.random.default_rng(0)
    feeds = {
        node.name: rng.normal(size=(2, *node.type.shape)).astype(np.float32)
        for node in module.main.inputs
        if isinstance(node.type, Tensor)
    }
    Pipeline.parse(ROAD).execute(module, Context(samples=feeds))
    counts: Counter[str] = Counter()
    for site in look_ups(module.circuit):
        counts[site.op.opname] += site.count
    return counts


def row(name: str, *, shipped: bool) -> str:
    """One line of the table."""
    model = torch_net(name) if name in TORCH else light(name, shipped=shipped)
    wanted = expected(model)
    start = perf_counter()
    found = bootstraps(import_model(model))
    seconds = perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    kinds = " ".join(f"{wanted[kind]:>11,}{found[kind]:>11,}" for kind in KINDS)
    return f"{name:14}{kinds} {'yes' if wanted == found else 'NO':>6}{seconds:8.1f}{memory:7.2f}"


KINDS = ("lookup", "max", "mul")
COUNTS = " ".join(f"{kind:>11}{'circuit':>11}" for kind in KINDS)
HEAD = f"{'net':14}{COUNTS}  equal seconds     GB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_nets", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("nets", nargs="*", help=f"of {', '.join((*NAMES, *TORCH))}")
    parser.add_argument("--shipped", action="store_true", help="the weights that the files state")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.nets or [*NAMES, *TORCH]
    if unknown := set(names) - {*NAMES, *TORCH}:
        parser.error(f"no net {', '.join(sorted(unknown))}")
    if options.alone:
        print(row(names[0], shipped=options.shipped), flush=True)
        return
    print(HEAD, flush=True)
    for name in names:
        flags = ["--alone", *(["--shipped"] if options.shipped else [])]
        subprocess.run([sys.executable, "-m", "benchmarks.large_nets", name, *flags])


if __name__ == "__main__":
    main()
