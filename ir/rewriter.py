"""The one door through which graphs change.

The rewriter keeps use-lists, types and locations right and counts the changes, so that nobody has
to report by hand whether a pass changed anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lutra.ir.core import Graph, Input, Op, Return, T, Value
from lutra.ir.errors import VerifyError
from lutra.ir.types import Type


class Rewriter:
    """Builds and changes one graph.

    `changes` counts insertions, replacements and erasures; `created` and `erased` count operations.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.changes = 0
        self.created = 0
        self.erased = 0
        self._listener: Callable[[Op], None] | None = None

    @contextmanager
    def listening(self, listener: Callable[[Op], None]) -> Iterator[None]:
        """Call `listener` with every operation that is inserted or whose surroundings change."""
        before, self._listener = self._listener, listener
        try:
            yield
        finally:
            self._listener = before

    def _touch(self, *ops: Op) -> None:
        if self._listener is not None:
            for op in ops:
                self._listener(op)

    # --- building -------------------------------------------------------------------------------
    def input(self, name: str, type: Type, clear: bool = False) -> Value:
        """Add a parameter behind the ones there are."""
        first = next((node for node in self.graph.ops if not isinstance(node, Input)), None)
        return self.insert(Input(name, type, clear), before=first).result

    def insert(self, node: T, *, before: Op | None = None, loc: tuple[str, ...] = ()) -> T:
        """Insert an operation, and first the detached ones that it reads; returns it.

        Without `before` it goes to the end, in front of the `return` if there is one.
        """
        if before is None and isinstance(self.graph._last, Return):
            before = self.graph._last
        if node.graph is not None:
            raise VerifyError("V001", f"{node.opname} is in a graph already")
        self._own(before)
        for value in node.operands:
            if value.owner.graph is None:
                self.insert(value.owner, before=before, loc=loc)
        node.loc = node.loc or loc
        self.graph._link(node, before)
        self.changes += 1
        self.created += 1
        self._touch(node)
        return node

    def returns(self, values: Sequence[Value], names: Sequence[str] = ()) -> None:
        """Set the graph's results."""
        for value in values:
            if value.owner.graph is None:
                self.insert(value.owner)
        last = self.graph._last
        if isinstance(last, Return):
            self.graph._unlink(last)
        self.graph._link(Return(tuple(values), tuple(names)), None)
        self.changes += 1

    # --- changing -------------------------------------------------------------------------------
    def replace(self, node: Op, new: Op | Value | Sequence[Value]) -> None:
        """Put `new` (inserted here if detached) in the place of `node`, and erase `node`.

        The new operation takes over the origins of the old one, and of those that stood before it
        and die with it.
        """
        values = new.results if isinstance(new, Op) else (new,) if isinstance(new, Value) else new
        for value in values:
            if value.owner.graph is None:
                self.insert(value.owner, before=node, loc=node.loc)
        for old, value in zip(node.results, values, strict=True):
            self.replace_uses(old, value)
        origins = merge(_absorbed(node, {value.owner for value in values}), node.loc)
        self.erase(node)
        for value in values:
            if value.owner is not node:
                value.owner.loc = merge(origins, value.owner.loc)

    def replace_uses(self, old: Value, new: Value, *, only: Sequence[Op] | None = None) -> None:
        """Let the users of `old` (all, or `only` these) read `new` instead."""
        if old is new:
            return
        users = (
            old.users
            if only is None
            else [user for user in dict.fromkeys(only) if user in old._users]
        )
        for user in users:
            self._substitute(user, old, new)
        same = new.type is old.type or new.type == old.type
        if not same or new.secrecy != old.secrecy:
            self._retype(new.owner, users)
        self.changes += 1
        self.graph.version += 1
        if self._listener is not None:
            self._touch(new.owner, old.owner, *users, *_sole_readers((old,)))

    def insert_after(self, value: Value, node: T) -> T:
        """Insert `node` right behind the definition of `value`."""
        following = value.owner._next
        while isinstance(following, Input):
            following = following._next
        return self.insert(node, before=following, loc=value.owner.loc)

    def erase(self, node: Op) -> None:
        """Take an operation out. An error names its users if there are any."""
        self._own(node)
        users = [user for value in node.results for user in value._users]
        if users:
            raise VerifyError(
                "V003",
                f"{node.opname} is erased but still used",
                nodes=node.loc,
                lines=[repr(user) for user in users],
            )
        self.graph._unlink(node)
        self.changes += 1
        self.erased += 1
        if self._listener is not None:
            self._touch(*[value.owner for value in node.operands], *_sole_readers(node.operands))

    def _own(self, node: Op | None) -> None:
        if node is not None and node.graph is not self.graph:
            raise VerifyError("V001", f"{node.opname} is not in graph {self.graph.name!r}")

    def _substitute(self, user: Op, old: Value, new: Value) -> None:
        for name in user.operand_fields:
            field = getattr(user, name)
            if field is old:
                setattr(user, name, new)
            elif type(field) is tuple and old in field:
                setattr(user, name, tuple([new if value is old else value for value in field]))
        old._users.pop(user, None)
        new._users[user] = None

    def _retype(self, start: Op, users: Sequence[Op]) -> None:
        """Infer again, from `users` on, as long as something changes; all stand behind `start`.

        In the graph's order, so that no operation sees an operand of old type beside one of new.
        """
        pending = set(users)
        node: Op | None = start
        while pending and node is not None:
            if node in pending:
                pending.remove(node)
                secrecy = node.secrecy()
                for value, type in zip(node.results, _types(node), strict=True):
                    if value.type != type or value.secrecy != secrecy:
                        value.type, value.secrecy = type, secrecy
                        pending.update(value.users)
                self._touch(node, *pending)
            node = node._next


def _sole_readers(values: Sequence[Value]) -> list[Op]:
    """Those that now read a value alone."""
    return [next(iter(value._users)) for value in values if value.used_once]


def _absorbed(node: Op, kept: set[Op]) -> tuple[str, ...]:
    """Origins of the operations before `node` that nothing else reads: they die with it.

    Constants do not count: one may serve several layers.
    """
    origins: tuple[str, ...] = ()
    dying, stack = {node}, [value.owner for value in node.operands]
    while stack:
        op = stack.pop()
        dies = all(user in dying for value in op.results for user in value._users)
        if dies and op.pure and op not in kept and op not in dying:
            dying.add(op)
            if op.operands:
                origins = merge(op.loc, origins)
            stack += [value.owner for value in op.operands]
    return origins


def _types(node: Op) -> tuple[Type, ...]:
    """The types that a node derives; an error where its operands' new types make no sense to it."""
    try:
        return node.result_types()
    except (VerifyError, ValueError, IndexError) as error:
        message = error.message if isinstance(error, VerifyError) else str(error)
        raise VerifyError(
            error.code if isinstance(error, VerifyError) else "V001",
            f"{node.opname} does not take its operands' new types: {message}",
            nodes=node.loc,
            lines=[*(repr(value.owner) for value in node.operands), repr(node)],
        ) from error


def merge(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Origins of a value that stands for both."""
    return first + tuple(name for name in second if name not in first)
