"""A circuit as a drawing: boxes for operations, coloured by price, and what flows between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lutra.ir.analysis import def_use
from lutra.ir.core import Graph, Input, Op, Return
from lutra.ir.text import text_of_graph
from lutra.ir.types import Int, text_of_shape
from lutra.page.layout import HEIGHT, WIDTH, Layout, Point, layout

if TYPE_CHECKING:
    from lutra.model import Model

LETTERS = 31
"""Of a name that a box shows; its tooltip has all."""
TEXT = 400
"""Letters of an operation's text in its tooltip."""


@dataclass(frozen=True)
class Box:
    """One operation. `heat` is its price relative to the dearest one's, None without look-ups."""

    x: float
    y: float
    title: str
    kind: str
    facts: str
    tooltip: str
    heat: float | None

    @property
    def left(self) -> float:
        return self.x - WIDTH / 2

    @property
    def top(self) -> float:
        return self.y - HEIGHT / 2


@dataclass(frozen=True)
class Drawing:
    """A circuit to look at; notebooks show it as it is."""

    graph: Graph
    prices: Mapping[Op, float]

    @property
    def layout(self) -> Layout[Op]:
        return layout(def_use(self.graph))

    @cached_property
    def _texts(self) -> dict[Op, str]:
        """Each operation's line of the graph's text."""
        return dict(zip(self.graph.ops, text_of_graph(self.graph).splitlines(), strict=True))

    def svg(self) -> str:
        """As an SVG file, for light and dark pages."""
        from lutra.page.templates import render

        placed = self.layout
        return render(
            "circuit.svg",
            boxes=[self._box(op, place) for op, place in placed.places.items()],
            paths=[_path(points) for points in placed.edges],
            layout=placed,
            box=(WIDTH, HEIGHT),
        )

    def dot(self) -> str:
        """In the language of Graphviz."""
        numbers = {op: number for number, op in enumerate(self.graph.ops)}
        lines = ["digraph circuit {", '  node [shape=box, fontname="sans-serif"];']
        for op, number in numbers.items():
            box = self._box(op, (0.0, 0.0))
            label = "\\n".join(_quoted(text) for text in (box.title, box.kind, box.facts) if text)
            colour = ""
            if box.heat is not None:  # hue, saturation, value
                colour = f', style=filled, fillcolor="0.07 {0.1 + 0.7 * box.heat:.2f} 1.0"'
            lines.append(f'  n{number} [label="{label}"{colour}];')
        for op, reader in def_use(self.graph).edges:
            lines.append(f"  n{numbers[op]} -> n{numbers[reader]};")
        return "\n".join([*lines, "}\n"])

    def save(self, path: str | Path) -> None:
        """Write a `.svg` or `.dot` file. Errors I004, I005."""
        from lutra.page.export import export

        export(self, path)

    def _repr_html_(self) -> str:
        return f'<div style="max-height: 40em; overflow: auto">{self.svg()}</div>'

    def _box(self, op: Op, place: Point) -> Box:
        dearest = max(self.prices.values(), default=0.0)
        price = self.prices.get(op)
        name = " + ".join(op.loc)
        kind = op.opname
        if isinstance(op, Input):
            name, kind = op.name, "clear input" if op.clear else kind
        elif isinstance(op, Return):
            name, kind = ", ".join(self.graph.output_names), "output"
        facts = [self._texts[op][:TEXT]]
        if price is not None:
            facts.append(f"price {price:.3g}")
        types = [value.type for value in op.results] or [value.type for value in op.operands]
        return Box(
            *place,
            title=_short(name or kind),
            kind=f"{kind}{f' · {price:.2g}' if price is not None else ''}",
            facts=_short(_facts(types[0]) if types else ""),
            tooltip="\n".join(filter(None, [name, *facts])),
            heat=None if price is None else price / (dearest or 1.0),
        )


def drawing(model: Model) -> Drawing:
    """Of a model's circuit, with prices where the backend tells them. Emits the circuit."""
    from lutra.report import prices_of

    return Drawing(model.module.circuit, prices_of(model)[0])


def _facts(type: object) -> str:
    if not isinstance(type, Int):
        return str(type)
    bits = f"{'i' if type.signed else 'u'}{type.bits}"
    return f"{bits}[{text_of_shape(type.shape)}] {type.min} .. {type.max}"


def _short(text: str) -> str:
    """The end of a long name tells more than its beginning."""
    return text if len(text) <= LETTERS else "…" + text[1 - LETTERS :]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _path(points: Sequence[Point]) -> str:
    """A smooth line: straight past other boxes, curved between ranks."""
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for at, (next_x, next_y) in enumerate(rest):
        if at % 2:
            parts.append(f"L{next_x:.1f} {next_y:.1f}")
        else:
            half = (next_y - y) / 2
            parts.append(f"C{x:.1f} {y + half:.1f} {next_x:.1f} {y + half:.1f}")
            parts.append(f" {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return "".join(parts)
