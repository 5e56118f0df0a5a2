"""Pass `partition`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lutra.ir.core import Graph, Input, Module, Op, Return, Secrecy, Value, dependencies
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Dequantize, Quantize
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int
from lutra.passes.base import Context, Exact, Pass


@dataclass(frozen=True)
class Partition(Pass):
    """Split the graph into `encode`, `circuit` and `decode`.

    encode: at the client, from the model's inputs to the integers that are encrypted, or sent as
        they are. All that depends on clear inputs alone is computed here.
    circuit: at the server, integers only.
    decode: at the client, from decrypted integers to the model's outputs: all float work behind
        the last integer operation. It may read the model's inputs too.
    """

    name = "partition"
    contract = Exact
    requires = frozenset({"one graph"})
    provides = frozenset({"partitioned"})
    removes = frozenset({"one graph"})

    def run_module(self, module: Module, context: Context) -> int:
        main = module.main
        kinds = _classify(main)
        sources = (op for op in main.ops if kinds[op] == "encode")
        inputs = _in_order(main, [v for op in sources for v in op.results if _crosses(v, kinds)])
        integers = [op.q for op in main.of(Dequantize) if kinds[op] == "decode"]
        integers += [v for v in main.outputs if kinds[v.owner] == "circuit"]
        outputs = list(dict.fromkeys(integers))
        taken = {node.name for node in main.inputs}
        sent, received = _labels("q", inputs, taken), _labels("r", outputs, taken)
        graphs = [
            _extract("encode", main, {}, inputs, sent, main.inputs),
            _extract("circuit", main, dict(zip(inputs, sent, strict=True)), outputs, received),
            _extract(
                "decode",
                main,
                dict(zip(outputs, received, strict=True)),
                main.outputs,
                main.output_names,
            ),
        ]
        module.graphs = {graph.name: graph for graph in graphs}
        return 1


def _in_order(main: Graph, values: Iterable[Value]) -> list[Value]:
    """Values in the order of the model's inputs that they depend on."""
    places = {op: place for place, op in enumerate(main.inputs)}

    def first(value: Value) -> int:
        return min((places[op] for op in dependencies([value]) if op in places), default=0)

    return sorted(values, key=first)


def _classify(main: Graph) -> dict[Op, str]:
    """encode, circuit or decode for each operation; P008 where float work stands in the circuit."""
    kinds: dict[Op, str] = {}
    for op in main.ops:
        before = {kinds[value.owner] for value in op.operands}
        if isinstance(op, Quantize):
            if before - {"encode"}:
                raise PipelineError(
                    "P008",
                    "a float region between encrypted integers was not turned into a look-up",
                    nodes=op.loc,
                    lines=[repr(op)],
                    help="run `fuse` before `partition`",
                )
            kinds[op] = "encode"
        elif isinstance(op, Return):
            kinds[op] = "decode"
        elif isinstance(op, Input) or op.secrecy() is not Secrecy.ENCRYPTED:
            kinds[op] = "encode"
        elif isinstance(op, Dequantize):
            kinds[op] = "decode"
        elif any(isinstance(value.type, Int) for value in op.results):
            kinds[op] = "circuit"
        else:
            kinds[op] = "decode" if "decode" in before else "encode"
    return kinds


def _crosses(value: Value, kinds: Mapping[Op, str]) -> bool:
    """Whether the circuit or (through it) the decoder reads a quantized or integer input.

    What is clear the decoder can compute from the inputs.
    """
    if not isinstance(value.type, Int) or value.constant:
        return False
    readers = {kinds[user] for user in value.users}
    return "circuit" in readers or ("decode" in readers and not value.clear)


def _extract(
    name: str,
    source: Graph,
    cut: Mapping[Value, str],
    outputs: Sequence[Value],
    labels: Sequence[str],
    inputs: Sequence[Input] = (),
) -> Graph:
    """What `outputs` depend on, with the values in `cut` as inputs of these names.

    Of the source's inputs those stay that are needed, and all in `inputs`.
    """
    graph = Graph(name)
    rewriter = Rewriter(graph)
    mapping = {
        value: rewriter.input(label, _any_value(value), value.clear) for value, label in cut.items()
    }
    needed: set[Op] = set(inputs)
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value not in cut and value.owner not in needed:
            needed.add(value.owner)
            stack += value.owner.operands
    for op in source.ops:
        if op in needed:
            twin = rewriter.insert(op.copy(mapping))
            mapping.update(zip(op.results, twin.results, strict=True))
    rewriter.returns([mapping[value] for value in outputs], labels)
    return graph


def _any_value(value: Value) -> Int:
    """The type of a value that crosses: one range for all elements.

    What comes out of the circuit gets two bits more: wrapped look-ups may have led out of range.
    """
    type = value.int_type
    if isinstance(value.owner, Quantize | Input):
        return type
    if value.clear:
        return Int.of(type.shape, type.min, type.max)
    return Int.bits_of(type.shape, type.bits + 2, signed=True)


def _labels(prefix: str, values: Sequence[Value], taken: Collection[str]) -> list[str]:
    while any(f"{prefix}{i}" in taken for i in range(len(values))):
        prefix += "_"
    return [f"{prefix}{i}" for i in range(len(values))]
