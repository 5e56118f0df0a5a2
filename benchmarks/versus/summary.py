"""The README's table: accuracy and price of both sides, and how much cheaper Lutra's circuit is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.versus.figures import STRICT, Point, Row

HEADER = (
    *("model", "float", "Concrete ML 1.9", "Lutra", "cheaper"),
    *("Concrete ML, any p_error", "Lutra, any p_error", "cheaper"),
)


def summary(rows: Sequence[Row]) -> str:
    """Markdown. What does not keep the accuracy is `none`."""
    lines = [HEADER, ("---",) * len(HEADER), *map(tuple, map(_cells, rows))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: Row) -> Iterator[str]:
    yield row.model
    yield _percent(row.accuracy)
    for limit in (STRICT, None):
        yield _offer(row.best(row.peer, limit))
        yield _offer(row.best(row.lutra, limit))
        gain = None if row.linear else row.gain(limit)
        yield "" if gain is None else f"{gain:.1f} x"


def _offer(point: Point | None) -> str:
    if point is None or point.accuracy is None or point.price is None:
        return "none"
    return f"{_percent(point.accuracy)}, {_price(point.price) if point.pbs else 'no look-up'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _price(price: float) -> str:
    """Such as `4.3e10`."""
    digits, exponent = f"{price:.1e}".split("e")
    return f"{digits}e{int(exponent)}"
