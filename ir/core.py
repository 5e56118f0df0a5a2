"""SSA values, operations, graphs and modules.

An operation is one class declared with `@op("name")`. Its fields annotated `Value` or
`tuple[Value, ...]` are operands, all others attributes; printer, parser, verifier and documentation
derive from that declaration. Graphs change through `lutra.ir.rewriter.Rewriter` alone.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import IntEnum
from operator import attrgetter, is_
from typing import Any, ClassVar, TypeVar

from typing_extensions import dataclass_transform

from lutra.ir.errors import PipelineError, VerifyError
from lutra.ir.types import Int, Type

OPS: dict[str, type[Op]] = {}
"""Every operation declared so far by name; `lutra.ir.registry` loads those of plugins."""

T = TypeVar("T", bound="Op")


class Secrecy(IntEnum):
    """Who knows a value.

    CONSTANT   everybody, at compile time: a constant, or a function of constants alone.
    CLEAR      the server, at run time: a function of inputs that the user chose to leave clear.
    ENCRYPTED  the client alone.
    """

    CONSTANT = 0
    CLEAR = 1
    ENCRYPTED = 2


class Value:
    """The result of an operation. `users` are the operations that read it, each named once."""

    __slots__ = ("__weakref__", "_users", "index", "owner", "secrecy", "type")

    def __init__(
        self, owner: Op, index: int, type: Type, secrecy: Secrecy = Secrecy.ENCRYPTED
    ) -> None:
        self.owner = owner
        self.index = index
        self.type = type
        self.secrecy = secrecy
        self._users: dict[Op, None] = {}

    @property
    def constant(self) -> bool:
        """Whether it is known at compile time."""
        return self.secrecy is Secrecy.CONSTANT

    @property
    def clear(self) -> bool:
        """Whether it is computed at run time from inputs that are clear by the user's choice."""
        return self.secrecy is Secrecy.CLEAR

    @property
    def users(self) -> list[Op]:
        return list(self._users)

    @property
    def used_once(self) -> bool:
        return len(self._users) == 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def int_type(self) -> Int:
        """The type, of which the caller knows that it is an integer type."""
        if not isinstance(self.type, Int):
            raise VerifyError("V001", f"an integer is expected here, got {self.type}")
        return self.type

    def __repr__(self) -> str:
        return f"<{self.owner.opname} result {self.index}: {self.type}>"


class Op:
    """Base of all operations.

    A subclass says what its results are (`infer`), what else must hold (`check`) and what it
    computes (`eval`). Arrays given to `eval` have one axis more than the operand's type: the first
    one counts samples. `loc` names the ONNX nodes that the operation comes from.
    """

    opname: ClassVar[str]
    field_types: ClassVar[dict[str, Any]]
    operand_fields: ClassVar[tuple[str, ...]]
    attribute_fields: ClassVar[tuple[str, ...]]
    pure: ClassVar[bool] = True
    """False for the operations that stay even when nothing reads them."""

    operands: tuple[Value, ...]
    """All operands that are present, in order."""

    loc: tuple[str, ...]
    results: tuple[Value, ...]
    graph: Graph | None
    _prev: Op | None
    _next: Op | None
    _basis: tuple[object, ...]
    _derived: tuple[Type, ...]

    def __post_init__(self) -> None:
        self.loc = ()
        self.graph = self._prev = self._next = None
        self._basis = ()
        self.normalise()
        problems = [*self.check()]
        if problems:
            raise VerifyError("V001", f"{self.opname}: " + "; ".join(problems))
        self._make_results(self.result_types())

    def _make_results(self, types: tuple[Type, ...]) -> None:
        secrecy = self.secrecy()
        self.results = tuple([Value(self, i, type, secrecy) for i, type in enumerate(types)])

    # --- what a subclass declares ---------------------------------------------------------------
    def normalise(self) -> None:
        """Bring attributes to their one form (frozen int64 arrays, tuples)."""

    def infer(self) -> Type | tuple[Type, ...]:
        """Types of the results, with exact ranges: from fields and operands' types, no more."""
        raise NotImplementedError(self.opname)

    def is_constant(self) -> bool:
        """Whether the results are known at compile time."""
        return False

    def is_clear(self) -> bool:
        """Whether the results depend on clear inputs, and on constants, alone."""
        secrecies = [value.secrecy for value in self.operands]
        return max(secrecies, default=Secrecy.CONSTANT) is Secrecy.CLEAR

    def check(self) -> Iterator[str]:
        """Yield what is wrong with operands and attributes."""
        return iter(())

    def eval(self, *args: Any, **kwargs: Any) -> Any:
        """The operation's meaning: one array (samples, *shape) for each operand and result."""
        raise NotImplementedError(self.opname)

    def decompose(self) -> Value | tuple[Value, ...] | None:
        """The results computed by other operations, all detached; None if there is no such way.

        What backends do with an operation that they do not know: see `lutra.ir.decompose`.
        """
        return None

    # --- what follows from the declaration ------------------------------------------------------
    def result_types(self) -> tuple[Type, ...]:
        """What `infer` says; asked again only where it has something new to read."""
        basis = self._what_infer_reads()
        if len(basis) != len(self._basis) or not all(map(is_, basis, self._basis)):
            types = self.infer()
            self._derived = types if isinstance(types, tuple) else (types,)
            self._basis = basis
        return self._derived

    def _what_infer_reads(self) -> tuple[object, ...]:
        """Fields and operands' types. All are immutable: the same objects give the same result."""
        types = [value.type for value in self.operands]
        return (type(self), *types, *[getattr(self, name) for name in self.attribute_fields])

    def secrecy(self) -> Secrecy:
        """Who knows the results."""
        if self.is_constant():
            return Secrecy.CONSTANT
        return Secrecy.CLEAR if self.is_clear() else Secrecy.ENCRYPTED

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    @property
    def attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.attribute_fields}

    def copy(self: T, mapping: Mapping[Value, Value], **attributes: Any) -> T:
        """A detached copy that reads `mapping[v]` instead of v, with some attributes changed."""
        operands: dict[str, Any] = {}
        for name in self.operand_fields:
            field = getattr(self, name)
            if isinstance(field, Value):
                operands[name] = mapping.get(field, field)
            else:
                operands[name] = tuple([v if v is None else mapping.get(v, v) for v in field])
        if attributes:
            new = type(self)(**{**self.attributes, **operands, **attributes})
        else:
            new = self._twin(operands)
        new.loc = self.loc
        return new

    def _twin(self: T, operands: dict[str, Any]) -> T:
        """A copy with other operands. Where these have the old ones' types, nothing is derived."""
        new = object.__new__(type(self))
        vars(new).update(self.attributes, **operands)
        basis = new._what_infer_reads()
        if len(basis) == len(self._basis) and all(map(is_, basis, self._basis)):
            new.graph = new._prev = new._next = None
            new._basis, new._derived = basis, self._derived
            new._make_results(self._derived)
        else:
            new.__post_init__()
        return new

    def __repr__(self) -> str:
        from lutra.ir.text import text_of_op

        return text_of_op(self)


@dataclass_transform(eq_default=False)
def op(name: str) -> Callable[[type[T]], type[T]]:
    """Declare an operation class under its textual name. Error P006 if another module has it."""

    def declare(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(eq=False, repr=False)(cls)
        cls.field_types = _field_types(cls)
        cls.operand_fields = tuple(n for n, t in cls.field_types.items() if _is_operand(t))
        cls.attribute_fields = tuple(n for n in cls.field_types if n not in cls.operand_fields)
        cls.operands = property(_reader(cls))  # type: ignore[assignment]
        if name in OPS and OPS[name].__module__ != cls.__module__:
            raise PipelineError(
                "P006", f"{OPS[name].__module__} and {cls.__module__} both declare an op {name!r}"
            )
        cls.opname = name
        OPS[name] = cls
        return cls

    return declare


def _field_types(cls: type) -> dict[str, Any]:
    """The dataclass fields of a class and their annotations, evaluated where they were written."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _reader(cls: type[Op]) -> Callable[[Op], tuple[Value, ...]]:
    """What gives an operation's operands. It is called most of all: single fields go fast."""
    names = cls.operand_fields
    if not names:
        return lambda op: ()
    get: Callable[[Op], Any] = attrgetter(*names)
    if all(cls.field_types[name] is Value for name in names):
        return get if len(names) > 1 else lambda op: (get(op),)
    if len(names) == 1:
        return lambda op: _present(get(op))
    return lambda op: _present(
        tuple([v for f in get(op) for v in ((f,) if isinstance(f, Value) else f)])
    )


def _present(values: tuple[Any, ...]) -> tuple[Value, ...]:
    return tuple([v for v in values if v is not None]) if None in values else values


def _is_operand(hint: Any) -> bool:
    return hint is Value or any(_is_operand(arg) for arg in typing.get_args(hint))


class Graph:
    """A list of operations in topological order, ended by one `return`."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self._first: Op | None = None
        self._last: Op | None = None
        self.version = 0
        """Changes with every change of the graph; analyses are kept under it."""

    @property
    def ops(self) -> Iterator[Op]:
        """The operations in order. The one just given may be erased while iterating."""
        node = self._first
        while node is not None:
            following = node._next
            yield node
            node = node._next if node.graph is self else following
            while node is not None and node.graph is not self:
                node = node._next

    @property
    def inputs(self) -> list[Input]:
        return [node for node in self.ops if isinstance(node, Input)]

    @property
    def terminator(self) -> Return:
        if not isinstance(self._last, Return):
            raise VerifyError("V001", f"graph {self.name!r} does not end with `return`")
        return self._last

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.terminator.values

    @property
    def output_names(self) -> tuple[str, ...]:
        end = self.terminator
        return end.names or tuple(f"output_{i}" for i in range(len(end.values)))

    def of(self, kind: type[T]) -> Iterator[T]:
        """The operations of one class, in order."""
        return (node for node in self.ops if isinstance(node, kind))

    def clone(self) -> Graph:
        new = Graph(self.name)
        mapping: dict[Value, Value] = {}
        for node in self.ops:
            twin = node.copy(mapping)
            new._link(twin, None)
            mapping.update(zip(node.results, twin.results, strict=True))
        return new

    def _link(self, node: Op, before: Op | None) -> None:
        """Put a detached operation in front of `before`, or at the end."""
        self.version += 1
        node.graph = self
        node._next = before
        node._prev = self._last if before is None else before._prev
        if node._prev is None:
            self._first = node
        else:
            node._prev._next = node
        if before is None:
            self._last = node
        else:
            before._prev = node
        for value in node.operands:
            value._users[node] = None

    def _unlink(self, node: Op) -> None:
        self.version += 1
        for value in node.operands:
            value._users.pop(node, None)
        if node._prev is None:
            self._first = node._next
        else:
            node._prev._next = node._next
        if node._next is None:
            self._last = node._prev
        else:
            node._next._prev = node._prev
        node.graph = None

    def __str__(self) -> str:
        from lutra.ir.text import text_of_graph

        return text_of_graph(self)

    __repr__ = __str__


@op("input")
class Input(Op):
    """A graph's parameter. Unless it is `clear`, the server never sees it."""

    pure = False
    name: str
    type: Type
    clear: bool = False

    def infer(self) -> Type:
        return self.type

    def is_clear(self) -> bool:
        return self.clear

    def check(self) -> Iterator[str]:
        if isinstance(self.type, Int) and self.type.lo.size > 1:
            yield "an input has one range for all its elements; narrow it by `assume`"


@op("return")
class Return(Op):
    """The graph's results. They are uses like any other."""

    pure = False
    values: tuple[Value, ...]
    names: tuple[str, ...] = ()

    def infer(self) -> tuple[Type, ...]:
        return ()

    def check(self) -> Iterator[str]:
        if self.names and len(self.names) != len(self.values):
            yield f"{len(self.names)} names for {len(self.values)} values"


def dependencies(values: Iterable[Value], given: Collection[Value] = ()) -> set[Op]:
    """The operations that compute these values, directly or through others, from those `given`."""
    found: set[Op] = set()
    stack = [value for value in values if value not in given]
    while stack:
        op = stack.pop().owner
        if op not in found:
            found.add(op)
            stack += [value for value in op.operands if value not in given]
    return found


class Module:
    """The graphs of one program: `main`, or after partitioning `encode`, `circuit`, `decode`."""

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self.graphs = {graph.name: graph for graph in graphs}

    @property
    def partitioned(self) -> bool:
        return "circuit" in self.graphs

    @property
    def main(self) -> Graph:
        return self.graphs["main"]

    @property
    def encode(self) -> Graph:
        return self.graphs["encode"]

    @property
    def circuit(self) -> Graph:
        return self.graphs["circuit"]

    @property
    def decode(self) -> Graph:
        return self.graphs["decode"]

    @property
    def encrypted(self) -> Graph:
        """The graph that is computed under encryption, which is `main` until it is partitioned."""
        return self.circuit if self.partitioned else self.main

    def clone(self) -> Module:
        return Module(graph.clone() for graph in self.graphs.values())

    def __str__(self) -> str:
        from lutra.ir.text import text_of_module

        return text_of_module(self)
