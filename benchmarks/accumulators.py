"""How wide accumulators get, by bits of activations and weights and by active neurons.

    python -m benchmarks.accumulators [--seeds 10] [--output FOLDER]

For models of quantization-aware training, Concrete ML documents how many neurons may be active,
that is, have weights other than 0, if accumulators are to keep to a target width. Here a dense net
with so many inputs to each neuron and normally distributed weights is quantized after training to
these bits, and the accumulators behind its second layer are looked at: the bits that calibration
data reach, the bits that look-ups read, with a margin, and the bits that no input exceeds. Writes a
table and, with --output, accumulators.csv and accumulators.png.
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

SAMPLES = 500


@dataclass(frozen=True)
class Row:
    """Bits of accumulators of one net: reached, read by look-ups, guaranteed."""

    activations: int
    weights: int
    active: int
    target: int
    seed: int
    reached: int
    read: int
    guaranteed: int


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


def measured(activations: int, weights: int, active: int, target: int, seed: int) -> Row:
    x = np.random.default_rng(seed + 1000).normal(size=(SAMPLES, active)).astype(np.float32)
    bits = {"op_inputs": activations, "op_weights": weights, "model_inputs": activations}
    bits["model_outputs"] = target
    module = PostTrainingAffineQuantization(bits, NumpyModule(net(active, seed)))
    model = module.quantize_module(x).model
    circuit = model.module.circuit
    read = look_ups(circuit)[-1].op.operands[0]
    (array,) = Interpreter(circuit, [read]).run(model.encode(x))
    widest = read.owner.x if isinstance(read.owner, Assume) else read
    reached = Int.of((), array.min(), array.max()).bits
    return Row(
        activations, weights, active, target, seed, reached, read.int_type.bits,
        widest.int_type.bits,
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Means over the seeds."""
    lines = [
        "| activations | weights | active | documented target | reached | read | guaranteed |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in DOCUMENTED:
        of = [row for row in rows if (row.activations, row.weights, row.active) == case[:3]]
        means = [np.mean([getattr(r, n) for r in of]) for n in ("reached", "read", "guaranteed")]
        cells = [*map(str, case), *(f"{mean:.1f}" for mean in means)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    places = range(len(DOCUMENTED))
    axes.plot(places, [case[3] for case in DOCUMENTED], "k_", ms=40, label="documented target")
    for shift, (name, mark) in enumerate((("reached", "o"), ("read", "s"), ("guaranteed", "^"))):
        for place, case in enumerate(DOCUMENTED):
            of = [row for row in rows if (row.activations, row.weights, row.active) == case[:3]]
            bits = [getattr(row, name) for row in of]
            x = place + 0.15 * (shift - 1) + np.linspace(-0.04, 0.04, len(bits))
            axes.plot(x, bits, mark, color=f"C{shift}", ms=4, label=None if place else name)
    axes.set_xticks(places, [f"{a}b x {w}b\n{n} neurons" for a, w, n, _ in DOCUMENTED])
    axes.set_ylabel("bits of accumulators")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = [measured(*case, seed) for case in DOCUMENTED for seed in range(options.seeds)]
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
