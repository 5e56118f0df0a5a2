"""A log of trials, one JSON object a line, from which a search goes on where it stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lutra.experiment.versions import versions
from lutra.tuning.workload import Outcome, Point, Task


class Log:
    """Outcomes by what they depend on: the workload, the software, the pipeline, the p_errors.

    path: the file, None to keep outcomes in memory alone. Lines that are cut off, as by a crash,
    count for nothing.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        self._path = path
        self._key = f"{digest} {versions(())}"
        self._kept: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = _parsed(line)
                if row.get("key") == self._key:
                    self._kept[row["pipeline"]] = row

    def find(self, task: Task) -> Outcome | None:
        """The outcome of a task that was run before, and simulated as far as it now has to be."""
        row = self._kept.get(task.pipeline)
        if row is None:
            return None
        outcome = _outcome(row)
        if outcome.failure:
            return outcome
        points = {point.p_error: point for point in outcome.points}
        for p_error in task.p_errors:
            point = points.get(p_error)
            if point is None:
                return None
            if point.scores is None and math.isfinite(point.price) and point.price <= task.ceiling:
                return None
        return outcome

    def write(self, task: Task, outcome: Outcome) -> None:
        """Keep an outcome."""
        row = {
            "key": self._key,
            "pipeline": task.pipeline,
            "seconds": round(outcome.seconds, 4),
            "failure": outcome.failure,
            "points": [_row(point) for point in outcome.points],
        }
        self._kept[task.pipeline] = row
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _parsed(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {"p_error": point.p_error, "price": point.price}
    row["strategy"] = point.strategy
    if point.scores is not None:
        row.update(
            error=point.error, changes=point.changes, scores=np.round(point.scores, 4).tolist()
        )
    return row


def _outcome(row: dict[str, Any]) -> Outcome:
    points = tuple(
        Point(
            p["p_error"],
            p["price"],
            p["strategy"],
            np.array(p["scores"]) if "scores" in p else None,
            p.get("error", float("inf")),
            p.get("changes", 0.0),
        )
        for p in row["points"]
    )
    return Outcome(row["pipeline"], points, row["seconds"], row["failure"])
