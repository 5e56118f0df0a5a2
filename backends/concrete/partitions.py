"""Which look-ups share parameters, and what their noise must stay below.

A *partition* is a set of look-ups with one bootstrapping key. Levelled operations that are
connected form a block, whose ciphertexts are under the key of one partition; look-ups of another
one convert their results. Every look-up switches from its block's key to the short key of its own
partition, and there its noise must be small against half a step. So as Concrete does it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from lutra.backends.concrete.noise import Node, NoiseGraph
from lutra.ir.types import Array

Pair = tuple[int, int]


@dataclass(frozen=True)
class Bound:
    """The variance that must stay below 1, as a sum of what partitions contribute.

    fresh, rotated: factors on the variance of inputs and of bootstraps, [partitions].
    converted: factors on the variance of conversions from one partition's key to another's.
    switch: source and target of the key switch before a bootstrap, whose variance, with that of
        the target's modulus switch, counts `scale` times; None at an output.
    """

    fresh: tuple[float, ...]
    rotated: tuple[float, ...]
    converted: tuple[tuple[Pair, float], ...]
    switch: Pair | None
    scale: float


@dataclass(frozen=True)
class Problem:
    """Partitions, their look-ups, and the bounds on noise.

    bootstraps: number of them, [partitions]; switches, conversions: by source and target.
    sites: partition, source of the switch, target of a conversion and operation of each look-up.
    """

    partitions: int
    bounds: tuple[Bound, ...]
    bootstraps: tuple[int, ...]
    switches: Mapping[Pair, int]
    conversions: Mapping[Pair, int]
    sites: tuple[Site, ...] = field(compare=False)

    def merged(self) -> Problem:
        """The same look-ups as one partition."""
        bounds = {
            Bound(
                (sum(b.fresh),),
                (sum(b.rotated),),
                (),
                None if b.switch is None else (0, 0),
                b.scale,
            )
            for b in self.bounds
        }
        total = sum(self.bootstraps)
        sites = tuple(Site(0, 0, None, site.op, site.count) for site in self.sites)
        return Problem(1, _binding(bounds), (total,), {(0, 0): total}, {}, sites)


@dataclass(frozen=True)
class Site:
    """`count` look-ups of operation `op`: partition, key they read under, key they convert to."""

    partition: int
    source: int
    converted: int | None
    op: int
    count: int


def problem_of(graph: NoiseGraph, strategy: str, p_error: float) -> Problem:
    """What there is to optimize: strategy `precision`, `precision_and_norm2` or `mono`."""
    own = _partitions(graph, strategy)
    count = max(own.values(), default=0) + 1
    home = _homes(graph.nodes, own)
    noise = _Noise(graph.nodes, own, home, count)
    half_step = -1 / NormalDist().inv_cdf(p_error / 2)

    bounds, sites = set(), []
    for number, node in enumerate(graph.nodes):
        if node.kind == "look-up":
            (read,) = node.inputs
            source = own.get(read, home[read])
            scale = (2.0 ** -(graph.nodes[read].bits + 2) * half_step) ** -2
            bounds.add(noise.bound(noise.under(read, source), scale, (source, own[number])))
            target = home[number] if home[number] != own[number] else None
            sites.append(Site(own[number], source, target, node.op, node.count))
    for number in graph.outputs:
        scale = (2.0 ** -(graph.nodes[number].bits + 2) * half_step) ** -2
        key = own.get(number, home[number])
        bounds.add(noise.bound(noise.under(number, key), scale, None))

    bootstraps, switches, conversions = (
        [0] * count,
        defaultdict[Pair, int](int),
        defaultdict[Pair, int](int),
    )
    for site in sites:
        bootstraps[site.partition] += site.count
        switches[site.source, site.partition] += site.count
        if site.converted is not None:
            conversions[site.partition, site.converted] += site.count
    return Problem(count, _binding(bounds), tuple(bootstraps), switches, conversions, tuple(sites))


class _Noise:
    """Variance of each step's result, as factors on what partitions contribute."""

    def __init__(
        self, nodes: Sequence[Node], own: Mapping[int, int], home: Mapping[int, int], count: int
    ) -> None:
        self._count = count
        self._own = own
        self._factors: list[Array] = []
        size = 2 * count + count * count
        for number, node in enumerate(nodes):
            row = np.zeros(size)
            if node.kind == "input":
                row[home[number]] = 1
            elif node.kind == "look-up":
                partition = own[number]
                row[count + partition] = 1
                if home[number] != partition:
                    row[2 * count + partition * count + home[number]] = 1
            elif node.kind == "max":
                row = np.maximum.reduce([self._factors[i] for i in node.inputs])
            elif node.inputs:
                row = node.growth * np.add.reduce([self._factors[i] for i in node.inputs])
            self._factors.append(row)

    def under(self, number: int, key: int) -> Array:
        """Factors of a result under a partition's key: a look-up's own is not converted."""
        row = self._factors[number]
        if self._own.get(number) == key:
            row = row.copy()
            row[2 * self._count :] = 0
        return row

    def bound(self, row: Array, scale: float, switch: Pair | None) -> Bound:
        n = self._count
        scaled = (row * scale).tolist()
        converted = tuple(
            (divmod(i, n), factor) for i, factor in enumerate(scaled[2 * n :]) if factor
        )
        return Bound(tuple(scaled[:n]), tuple(scaled[n : 2 * n]), converted, switch, scale)


def _binding(bounds: set[Bound]) -> tuple[Bound, ...]:
    """Those that no other bound implies."""
    kept: list[Bound] = []
    for bound in sorted(
        bounds, key=lambda b: (-b.scale, -sum(b.rotated), -sum(b.fresh), b.converted)
    ):
        if not any(_implies(other, bound) for other in kept):
            kept.append(bound)
    return tuple(kept)


def _implies(a: Bound, b: Bound) -> bool:
    if b.switch is not None and (a.switch != b.switch or a.scale < b.scale):
        return False
    converted = dict(a.converted)
    return (
        all(x >= y for x, y in zip(a.rotated, b.rotated, strict=True))
        and all(x >= y for x, y in zip(a.fresh, b.fresh, strict=True))
        and all(converted.get(pair, 0.0) >= factor for pair, factor in b.converted)
    )


def _partitions(graph: NoiseGraph, strategy: str) -> dict[int, int]:
    """The partition of each look-up."""
    nodes = graph.nodes
    sites = [i for i, node in enumerate(nodes) if node.kind == "look-up"]
    bits = {i: nodes[nodes[i].inputs[0]].bits for i in sites}
    if strategy == "mono":
        return dict.fromkeys(sites, 0)
    if strategy == "precision":
        kinds = {key: i for i, key in enumerate(sorted(set(bits.values())))}
        return {i: kinds[bits[i]] for i in sites}
    growth = _growth(graph)
    classes: dict[int, tuple[int, float]] = {}
    roundings: dict[int, float] = {}
    for i in sites:
        relative = 0.5 * math.log2(growth[i]) + nodes[i].bits - bits[i] if growth[i] else 0.0
        noise = float(math.ceil(relative))
        if nodes[i].rounding:  # all look-ups of one rounding go together
            noise = roundings.setdefault(nodes[i].rounding, noise)
        classes[i] = (bits[i], noise)
    cuts = sorted(set(classes.values()))[:-1]
    found = {}
    for i, (width, noise) in classes.items():
        fits = (j for j, cut in enumerate(cuts) if width <= cut[0] and noise <= cut[1])
        found[i] = next(fits, len(cuts))
    used = {old: new for new, old in enumerate(sorted(set(found.values())))}
    return {i: used[partition] for i, partition in found.items()}


def fits_large_precision(graph: NoiseGraph) -> bool:
    """Whether look-ups may be built of several bootstraps: where no precision changes."""
    return not any(node.kind == "cast" for node in graph.nodes)


def worst_growth(graph: NoiseGraph) -> float:
    """The most that the variance of noise grows on its way to any look-up."""
    factor, _ = _factors(graph.nodes)
    reads = (factor[node.inputs[0]] for node in graph.nodes if node.kind == "look-up")
    return max(reads, default=1.0)


def _factors(nodes: Sequence[Node]) -> tuple[list[float], list[frozenset[int]]]:
    """For each step the growth of variance since look-ups and inputs, and which these are."""
    factor: list[float] = []
    origins: list[frozenset[int]] = []
    for number, node in enumerate(nodes):
        if node.kind in ("input", "look-up", "zero"):
            factor.append(0.0 if node.kind == "zero" else 1.0)
            origins.append(frozenset([number]))
        else:
            inputs = [factor[i] for i in node.inputs]
            factor.append(max(inputs) if node.kind == "max" else node.growth * sum(inputs))
            origins.append(frozenset().union(*(origins[i] for i in node.inputs)))
    return factor, origins


def _growth(graph: NoiseGraph) -> dict[int, float]:
    """The most that the noise of a look-up's result grows on its way to look-ups and outputs."""
    nodes = graph.nodes
    factor, origins = _factors(nodes)
    growth: dict[int, float] = defaultdict(float)
    ends = [node.inputs[0] for node in nodes if node.kind == "look-up"] + list(graph.outputs)
    for end in ends:
        for origin in origins[end]:
            growth[origin] = max(growth[origin], factor[end])
    return growth


def _homes(nodes: Sequence[Node], own: Mapping[int, int]) -> dict[int, int]:
    """The partition whose key each step's result is under: one for each block."""
    leader = list(range(len(nodes)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    for number, node in enumerate(nodes):
        if node.kind != "look-up":
            for i in node.inputs:
                a, b = find(i), find(number)
                leader[max(a, b)] = min(a, b)
    enters, leaves = defaultdict[int, set[int]](set), defaultdict[int, set[int]](set)
    for number, partition in own.items():
        enters[find(number)].add(partition)
        leaves[find(nodes[number].inputs[0])].add(partition)
    found = {}
    for number in range(len(nodes)):
        block = find(number)
        inside, outside = enters[block], leaves[block]
        found[number] = min(inside) if inside else min(outside) if len(outside) == 1 else 0
    return found
