"""Where the benchmarks keep the rows of their experiments."""

from __future__ import annotations

from pathlib import Path

from lutra.experiment.spec import Experiment

FOLDER = Path(__file__).parent / "results"


def results_for(experiment: Experiment, ending: str = ".csv") -> Path:
    """A file named like the experiment's, in a folder that the repository does not keep."""
    FOLDER.mkdir(exist_ok=True)
    return FOLDER / experiment.path.with_suffix(ending).name
