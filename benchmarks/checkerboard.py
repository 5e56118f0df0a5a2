"""Small nets on a checkerboard, quantized after training to 3 bits: accuracy and accumulators.

    python -m benchmarks.checkerboard [--runs 10] [--output results.csv]

The experiment of Concrete ML's guide to models that are friendly to encryption: a net of two
hidden layers tells the colours of a noisy 100 x 100 checkerboard apart, 9,500 points to train on
and 500 to test with. Some nets are pruned, so that a neuron reads only a few others. For each, over
some runs: accuracy in floats, accuracy at 3 bits of weights and activations or less, and the width
of accumulators: bits of the widest integer that a look-up reads or that is decrypted, as reached
on the training data, which is what Concrete ML's compiler looks at; and the bits that it is encoded
in, margins and guarantees included. Nothing is rounded. Which bits of weights and inputs, and which
bound on accumulators, is decided on the training data.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lutra.ir.analysis import look_ups
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array, Int
from lutra.quantization import CircuitGraph, QuantizedModule
from lutra.torch import build_quantized_module

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

WEIGHTS, INPUTS, ACCUMULATORS = (2, 3), (3, 4, 5), (None, 7, 8)
"""What is tried."""

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
    neurons: int
    active: int | None
    seed: int
    float_accuracy: float
    accuracy: float
    bits: int
    encoded: int
    n_bits: str


def reached(module: QuantizedModule, x: Array) -> int:
    """Bits of the widest accumulator that inputs x lead to."""
    circuit = module.model.module.circuit
    read = [site.op.operands[0] for site in look_ups(circuit)]
    arrays = Interpreter(circuit, [*read, *circuit.outputs]).run(module.model.encode(x))
    return max(Int.of((), array.min(), array.max()).bits for array in arrays)


def quantized(net: SimpleNet, data: Data, most: int) -> tuple[str, QuantizedModule]:
    """The best on training data, of accumulators that reach `most` bits there."""
    x, y = data.x[:CALIBRATED], data.y[:CALIBRATED]
    found = []
    for weights, inputs, accumulator in itertools.product(WEIGHTS, INPUTS, ACCUMULATORS):
        bits = {"op_inputs": 3, "op_weights": weights, "model_inputs": inputs}
        module = build_quantized_module(net, x, n_bits=bits, accumulator=accumulator)
        if reached(module, x) <= most:
            accuracy = float((module(x).argmax(1) == y).mean())
            found.append((accuracy, f"{weights}/3/{inputs}, accumulator={accumulator}", module))
    _, name, module = max(found, key=lambda entry: entry[0])
    return name, module


def measured(neurons: int, active: int | None, seed: int, net: SimpleNet, data: Data) -> Row:
    with torch.no_grad():
        floats = net(torch.tensor(data.x_test)).numpy()
    name, module = quantized(net, data, int(DOCUMENTED[neurons, active][2]))
    encoded = CircuitGraph(module.model.module.circuit).maximum_integer_bit_width()
    accuracies = [
        float(100 * (y.argmax(1) == data.y_test).mean()) for y in (floats, module(data.x_test))
    ]
    return Row(neurons, active, seed, *accuracies, reached(module, data.x), encoded, name)


def rows(runs: int) -> Iterator[Row]:
    for neurons, active in DOCUMENTED:
        for seed in range(runs):
            data = checkerboard(seed)
            net = trained(neurons, active, data, seed)
            yield measured(neurons, active, seed, net, data)


def table(found: Sequence[Row]) -> str:
    """Means over the runs, beside what Concrete ML documents."""
    lines = [
        "| neurons | active | float | 3 bits | accumulator | encoded "
        "| Concrete ML: float | 3 bits | accumulator |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (neurons, active), documented in DOCUMENTED.items():
        of = [row for row in found if (row.neurons, row.active) == (neurons, active)]
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
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in rows(options.runs):
        print(row, flush=True)
        found.append(row)
    print(table(found))
    if options.output:
        with options.output.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, asdict(found[0]))
            writer.writeheader()
            writer.writerows(map(asdict, found))


if __name__ == "__main__":
    main()
