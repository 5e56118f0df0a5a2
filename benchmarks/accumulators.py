"""How wide accumulators get, by bits of activations and weights and by active neurons.

    python -m benchmarks.accumulators [--seeds 10] [--output FOLDER]

For models of quantization-aware training, Concrete ML documents how many neurons may be active,
that is, have weights other than 0, if accumulators are to keep to a target width. Here a dense net
with so many inputs to each neuron and normally distributed weights is quantized after training to
these bits: freely; with `accumulator` set to the target, for calibration data; and guaranteed. The
accumulators behind its second layer are looked at: the bits that calibration data reach, the bits
that look-ups read, with a margin, and the bits that no input exceeds; and what is lost, as a share
of the variance of the net's output. Writes a table and, with --output, accumulators.csv and
accumulators.png.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lutra.ir.analysis import look_ups
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Assume
from lutra.ir.types import Int
from lutra.quantization import NumpyModule, PostTrainingAffineQuantization

DOCUMENTED = ((3, 3, 80, 8), (4, 3, 90, 10), (5, 5, 110, 12), (6, 6, 110, 14), (7, 6, 120, 16))
"""Bits of activations and weights, active neurons, and the width that they are to keep to."""

BOUNDS = ("free", "on calibration data", "guaranteed")

SAMPLES = 500


@dataclass(frozen=True)
class Row:
    """One net under one bound: bits of accumulators that are reached, read by look-ups, and that no
    input exceeds; the share of the output's variance that is lost."""

    activations: int
    weights: int
    active: int
    target: int
    seed: int
    bound: str
    reached: int
    read: int
    widest: int
    lost: float


def net(active: int, seed: int) -> ModelProto:
    """active - active - active - 1 with ReLU between, of normally distributed weights."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (active, active), "w2": (active, active), "w3": (active, 1)}
    weights = [
        numpy_helper.from_array((rng.normal(size=s) / np.sqrt(active)).astype(np.float32), name)
        for name, s in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a1"], name="layer1"),
        helper.make_node("Relu", ["a1"], ["h1"], name="relu1"),
        helper.make_node("MatMul", ["h1", "w2"], ["a2"], name="layer2"),
        helper.make_node("Relu", ["a2"], ["h2"], name="relu2"),
        helper.make_node("MatMul", ["h2", "w3"], ["y"], name="layer3"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", active])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measured(
    activations: int, weights: int, active: int, target: int, seed: int, bound: str
) -> Row:
    x = np.random.default_rng(seed + 1000).normal(size=(SAMPLES, active)).astype(np.float32)
    bits = {"op_inputs": activations, "op_weights": weights, "model_inputs": activations}
    numpy_model = NumpyModule(net(active, seed))
    accumulator = None if bound == "free" else target
    quantization = PostTrainingAffineQuantization(
        bits, numpy_model, accumulator=accumulator, guaranteed=bound == "guaranteed"
    )
    module = quantization.quantize_module(x)
    circuit = module.model.module.circuit
    read = look_ups(circuit)[-1].op.operands[0]
    (array,) = Interpreter(circuit, [read]).run(module.model.encode(x))
    reached = Int.of((), array.min(), array.max()).bits
    widest = read.owner.x if isinstance(read.owner, Assume) else read
    y = numpy_model(x)
    lost = float(np.mean((module(x) - y) ** 2) / y.var())
    return Row(
        activations, weights, active, target, seed, bound, reached, read.int_type.bits,
        widest.int_type.bits, lost,
    )  # fmt: skip


def cell(rows: Sequence[Row], case: tuple[int, int, int, int], bound: str) -> list[Row]:
    """The rows of all seeds."""
    return [r for r in rows if (r.activations, r.weights, r.active, r.bound) == (*case[:3], bound)]


def table(rows: Sequence[Row]) -> str:
    """Means over the seeds."""
    lines = [
        "| activations | weights | active | documented target | bound | reached | at most | read "
        "| by any input | variance lost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in DOCUMENTED:
        for bound in BOUNDS:
            of = cell(rows, case, bound)
            reached, read, widest = (
                np.mean([getattr(r, n) for r in of]) for n in ("reached", "read", "widest")
            )
            most, lost = max(r.reached for r in of), np.mean([r.lost for r in of])
            bits = f"{reached:.1f} | {most} | {read:.1f} | {widest:.1f} | {100 * lost:.1f} %"
            lines.append(f"| {' | '.join(map(str, case))} | {bound} | {bits} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    places = range(len(DOCUMENTED))
    axes.plot(places, [case[3] for case in DOCUMENTED], "k_", ms=40, label="documented target")
    for shift, (bound, mark) in enumerate(zip(BOUNDS, "os^", strict=True)):
        for place, case in enumerate(DOCUMENTED):
            bits = [row.reached for row in cell(rows, case, bound)]
            x = place + 0.15 * (shift - 1) + np.linspace(-0.04, 0.04, len(bits))
            axes.plot(x, bits, mark, color=f"C{shift}", ms=4, label=None if place else bound)
    axes.set_xticks(places, [f"{a}b x {w}b\n{n} neurons" for a, w, n, _ in DOCUMENTED])
    axes.set_ylabel("bits of accumulators reached")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = [
        measured(*case, seed, bound)
        for case in DOCUMENTED
        for bound in BOUNDS
        for seed in range(options.seeds)
    ]
    print(table(rows))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        with (options.output / "accumulators.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, asdict(rows[0]))
            writer.writeheader()
            writer.writerows(map(asdict, rows))
        plot(rows, options.output / "accumulators.png")


if __name__ == "__main__":
    main()
