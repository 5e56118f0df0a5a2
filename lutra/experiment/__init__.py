"""Experiments: models x pipelines, measured, resumable, one row for each trial."""

from lutra.experiment.metrics import Compiled
from lutra.experiment.run import run_experiment
from lutra.experiment.spec import Experiment, load

__all__ = ["Compiled", "Experiment", "load", "run_experiment"]
