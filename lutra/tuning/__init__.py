"""Finds the cheapest pipeline that keeps a model's accuracy: `lutra.tune`, in `api`."""
