"""Passes, one file each, and the pipelines that run them."""

from lutra.passes.base import Context, Contract, Exact, Lossy, Pass, Within
from lutra.passes.instruments import Instrument, Record
from lutra.passes.pipeline import Pipeline

__all__ = [
    "Context",
    "Contract",
    "Exact",
    "Instrument",
    "Lossy",
    "Pass",
    "Pipeline",
    "Record",
    "Within",
]
