"""Passes, one file each, and the pipelines that run them."""

from lutra.passes.base import Context, Contract, Exact, Lossy, Pass, Within
from lutra.passes.pipeline import Pipeline, Record

__all__ = ["Context", "Contract", "Exact", "Lossy", "Pass", "Pipeline", "Record", "Within"]
