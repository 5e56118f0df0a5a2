"""Small nets on a checkerboard, quantized after training to 3 bits: accuracy and accumulators.

    python -m benchmarks.checkerboard [--runs 10] [--neurons 10 30] [--output results.csv]

The experiment of Concrete ML's guide to models that are friendly to encryption: a net of two
hidden layers tells the colours of a noisy 100 x 100 checkerboard apart, 9,500 points to train on
and 500 to test with. Some nets are pruned, so that a neuron reads only a few others. For each, over
some runs: accuracy in floats, accuracy at 3 bits of weights and activations, and the width of
accumulators: bits of the widest integer that a look-up reads or that is decrypted, as reached on
the training data, which is what Concrete ML's compiler looks at; and the bits that it is encoded
in, margins and guarantees included. Nothing is rounded.

All is decided on training data: how inputs and activations are quantized, and which runs may take
the one bit more that the mean width which Concrete ML documents leaves to some of them.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import lutra
from lutra.ir.analysis import look_ups
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array, Int
from lutra.quantization import CircuitGraph, NumpyModule, QuantizedModule

SIDE, CLUSTERS, TESTED = 100, 3, 500
NOISE = 0.01

DOCUMENTED = {
    (10, None): (68.7, 56.4, 6.6),
    (30, None): (83.3, 55.5, 6.9),
    (100, None): (88.1, 56.5, 7.4),
    (100, 10): (82.5, 57.7, 6.6),
    (100, 30): (88.1, 57.8, 6.8),
}
"""By neurons and those that are not pruned: accuracy in floats and at 3 bits, bits of accumulators,
as Concrete ML documents them."""

INPUTS, METHODS, BALANCES = (4, 5), ("mse", "minmax"), (0.0, 0.5, 1.0)
"""What is tried: bits of inputs, how activations are calibrated, and equalized."""

CALIBRATED = 2000
"""Samples for calibration."""


@dataclass(frozen=True)
class Data:
    x: Array
    y: Array
    x_test: Array
    y_test: Array


def checkerboard(seed: int = 0) -> Data:
    """Points in a square and the colours of their fields, in random order."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, 1, SIDE)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    y = (np.rint(points * CLUSTERS).astype(np.int64) % 2).sum(1) % 2
    x = (points + rng.normal(size=points.shape) * NOISE).astype(np.float32)
    order = rng.permutation(len(x))
    x, y = x[order], y[order]
    return Data(x[TESTED:], y[TESTED:], x[:TESTED], y[:TESTED])


class SimpleNet(nn.Module):
    """2 - neurons - neurons - 2, with ReLU between."""

    def __init__(self, neurons: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, neurons)
        self.fc2 = nn.Linear(neurons, neurons)
        self.fc3 = nn.Linear(neurons, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        y: Tensor = self.fc3(x)
        return y

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        return (self.fc1, self.fc2, self.fc3)

    def prune(self, active: int) -> None:
        """Leave, on average, `active` inputs to each neuron."""
        for layer in self.layers:
            surplus = (layer.in_features - active) * layer.out_features
            if surplus > 0:
                prune.l1_unstructured(layer, "weight", amount=surplus)

    def unprune(self) -> None:
        for layer in self.layers:
            if prune.is_pruned(layer):
                prune.remove(layer, "weight")


def trained(
    neurons: int,
    active: int | None,
    data: Data,
    seed: int = 0,
    epochs: int = 80,
    batch: int = 100,
    rate: float = 0.03,
) -> SimpleNet:
    """A net of so many neurons in each hidden layer, of which a neuron reads `active`."""
    torch.manual_seed(seed)
    net = SimpleNet(neurons)
    if active is not None:
        net.prune(active)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))[: len(x) // batch * batch]
        for chosen in order.split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
            schedule.step()
    net.unprune()
    return net.eval()


@dataclass(frozen=True)
class Row:
    """Accuracies in percent. in_training: of the quantized net, on the samples it was chosen by."""

    neurons: int
    active: int | None
    seed: int
    float_accuracy: float
    accuracy: float
    in_training: float
    bits: int
    encoded: int
    pipeline: str


def reached(module: QuantizedModule, x: Array) -> int:
    """Bits of the widest accumulator that inputs x lead to."""
    circuit = module.model.module.circuit
    read = [site.op.operands[0] for site in look_ups(circuit)]
    arrays = Interpreter(circuit, [*read, *circuit.outputs]).run(module.model.encode(x))
    return max(Int.of((), array.min(), array.max()).bits for array in arrays)


def quantized(net: SimpleNet, data: Data, most: int) -> tuple[float, QuantizedModule]:
    """The best on training data, of accumulators that reach `most` bits there."""
    x, y = data.x[:CALIBRATED], data.y[:CALIBRATED]
    onnx_model = NumpyModule(net, x).onnx_model
    found = []
    for inputs, method, balance in itertools.product(INPUTS, METHODS, BALANCES):
        before = f"clean,equalize{{activations={balance}}}," if balance else ""
        options = f"weights=3,activations=3,inputs={inputs},method={method}"
        text = f"{before}narrow{{{options},accumulator={most},guaranteed=false}}"
        module = QuantizedModule(model=lutra.compile(onnx_model, x, text))
        if reached(module, data.x) <= most:
            found.append((percent(module(x), y), module))
    return max(found, key=lambda entry: entry[0])


def percent(outputs: Array, y: Array) -> float:
    """How many of the classes are right."""
    return float(100 * (outputs.argmax(1) == y).mean())


def measured(
    neurons: int, active: int | None, seed: int, net: SimpleNet, data: Data, most: int
) -> Row:
    with torch.no_grad():
        floats = percent(net(torch.tensor(data.x_test)).numpy(), data.y_test)
    in_training, module = quantized(net, data, most)
    encoded = CircuitGraph(module.model.module.circuit).maximum_integer_bit_width()
    accuracy, bits = percent(module(data.x_test), data.y_test), reached(module, data.x)
    text = module.model.pipeline
    return Row(neurons, active, seed, floats, accuracy, in_training, bits, encoded, text)


def rows(cases: Iterable[tuple[int, int | None]], runs: int) -> Iterator[Row]:
    for neurons, active in cases:
        mean = DOCUMENTED[neurons, active][2]
        pairs = []
        for seed in range(runs):
            data = checkerboard(seed)
            net = trained(neurons, active, data, seed)
            few, more = (
                measured(neurons, active, seed, net, data, int(mean) + extra) for extra in (0, 1)
            )
            pairs.append((few, more))
            print(few, more, sep="\n", flush=True)
        yield from chosen(pairs, mean)


def chosen(pairs: Sequence[tuple[Row, Row]], mean: float) -> list[Row]:
    """Of each run with fewer and with more bits, one: more where that gains most in training.

    mean: bits that the runs may have on average.
    """
    left = mean * len(pairs) - sum(few.bits for few, _ in pairs)
    found = {few.seed: few for few, _ in pairs}
    for few, more in sorted(pairs, key=lambda p: p[0].in_training - p[1].in_training):
        if more.in_training > few.in_training and more.bits - few.bits <= left + 1e-9:
            found[few.seed] = more
            left -= more.bits - few.bits
    return list(found.values())


def table(found: Sequence[Row]) -> str:
    """Means over the runs, beside what Concrete ML documents."""
    lines = [
        "| neurons | active | float | 3 bits | accumulator | encoded "
        "| Concrete ML: float | 3 bits | accumulator |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (neurons, active), documented in DOCUMENTED.items():
        of = [row for row in found if (row.neurons, row.active) == (neurons, active)]
        if not of:
            continue
        means = [
            float(np.mean([getattr(row, name) for row in of]))
            for name in ("float_accuracy", "accuracy", "bits", "encoded")
        ]
        cells = [neurons, active or "all", *(f"{v:.1f}" for v in (*means, *documented))]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--neurons", type=int, nargs="*", help="only nets of so many")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in DOCUMENTED if not options.neurons or case[0] in options.neurons]
    found = list(rows(cases, options.runs))
    print(table(found))
    if options.output:
        with options.output.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, asdict(found[0]))
            writer.writeheader()
            writer.writerows(map(asdict, found))


if __name__ == "__main__":
    main()
