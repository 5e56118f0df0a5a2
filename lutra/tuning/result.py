"""What tuning found: the choice, and price against accuracy of all that was tried."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lutra.figure import figure

if TYPE_CHECKING:
    from lutra.model import Model


@dataclass(frozen=True)
class Candidate:
    """One pipeline at one p_error.

    score: mean on the validation samples, simulated with look-up errors.
    worst: the score that other samples will reach, with the confidence that was asked for.
    changes: share of the given samples that is likely to get another class, where they are few.
    """

    pipeline: str
    p_error: float
    price: float
    score: float
    worst: float
    changes: float = 0.0


@dataclass(frozen=True)
class Tuning:
    """The result of `lutra.tune`.

    model: compiled with the chosen pipeline and p_error.
    choice: the cheapest candidate whose `worst` is at most `max_drop` below `reference`, and whose
        `changes` are no more than that.
    front: the cheapest candidate for every score, cheapest first.
    candidates: all that was simulated.
    reference: the score of the model as it stands, on the same samples.
    samples, given: what was scored on, and how many of these were given, not made of given ones.
    trials, seconds: pipelines tried, and processor time that they took.
    """

    model: Model
    choice: Candidate
    front: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    reference: float
    max_drop: float
    confidence: float
    samples: int
    given: int
    trials: int
    seconds: float

    @property
    def pipeline(self) -> str:
        """The text of the chosen pipeline."""
        return self.choice.pipeline

    @property
    def p_error(self) -> float:
        """The chosen chance that one look-up is off."""
        return self.choice.p_error

    @property
    def price(self) -> float:
        """Predicted price of one sample with the choice."""
        return self.choice.price

    def table(self) -> Table:
        """The front, one candidate a row; the choice is marked."""
        table = Table("", "price", "score", "at worst", "changes", "p_error", "pipeline")
        for found in self.front:
            table.add_row(
                "*" if found == self.choice else "",
                f"{found.price:.3g}",
                f"{found.score:.4f}",
                f"{found.worst:.4f}",
                f"{found.changes:.4f}",
                f"{found.p_error:.2g}",
                found.pipeline,
            )
        return table

    def summary(self) -> list[str]:
        """The choice in words."""
        made = self.samples - self.given
        samples = f"{self.given} validation samples" + (f" and {made} mixtures" if made else "")
        return [
            f"pipeline  {self.pipeline}",
            f"p_error   {self.p_error:.3g}",
            f"price     {self.price:.4g}",
            f"score     {self.choice.score:.4f} simulated, {self.reference:.4f} before, "
            f"on {samples}",
            f"          with {self.confidence:.0%} confidence no more than "
            f"{self.reference - self.choice.worst:.4f} lost on others like them",
            *self._changes(),
            f"trials    {self.trials}, {self.seconds:.0f} s of processor time",
        ]

    def _changes(self) -> list[str]:
        if self.given == self.samples:
            return []
        share = f"{self.choice.changes:.4f} of those that were given"
        return [f"changes   {share} are likely to get another class, {self.max_drop:g} may"]

    def data(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        facts = ["reference", "max_drop", "confidence", "samples", "given", "trials", "seconds"]
        return {
            "choice": asdict(self.choice),
            "front": [asdict(candidate) for candidate in self.front],
            **{name: getattr(self, name) for name in facts},
        }

    def __str__(self) -> str:
        return "\n".join(self.summary())

    def plot(self, path: str | Path) -> None:
        """Draw price against score into a .png, .svg or .pdf file."""
        drawing = figure(6.4, 4.4)
        axes = drawing.add_subplot()
        axes.scatter(
            [c.price for c in self.candidates],
            [c.score for c in self.candidates],
            *(14, "0.7"),
            label="tried",
        )
        prices, scores = [c.price for c in self.front], [c.score for c in self.front]
        axes.plot(prices, scores, "o-", ms=4, label="front")
        axes.plot([self.price], [self.choice.score], "*", ms=14, color="C3", label="choice")
        axes.axhline(self.reference, color="0.4", lw=0.8, ls="--", label="before")
        axes.axhline(self.reference - self.max_drop, color="0.4", lw=0.8, ls=":", label="allowed")
        axes.set_xscale("log")
        axes.set_xlabel("predicted price of one sample")
        axes.set_ylabel("score, simulated")
        lowest = min([*scores, self.reference - self.max_drop])
        axes.set_ylim(bottom=lowest - 0.1 * (max(self.reference - lowest, 0.01)))
        axes.legend(loc="lower right", frameon=False)
        drawing.savefig(path, dpi=150)


def front(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Those that no cheaper one equals in score, cheapest first."""
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.price, -c.score)):
        if not found or candidate.score > found[-1].score:
            found.append(candidate)
    return tuple(found)
