"""How fast this machine bootstraps, measured once."""

from __future__ import annotations

import json
import os
import platform
import time
from functools import cache

import numpy as np

from lutra.archive import write_atomically
from lutra.cache import folder
from lutra.ir import ops
from lutra.ir.core import Graph
from lutra.ir.errors import Error
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int

LOOK_UPS = 32
BITS = 5


@cache
def price_per_second() -> float:
    """Price that this machine works off in a second of encrypted evaluation, on all its threads.

    Measured by really running a small circuit (some seconds, once), and kept in the user's cache
    folder for this machine, its number of processors and OMP_NUM_THREADS.
    """
    file = folder() / "speed.json"
    key = f"{platform.node()} {platform.processor()} {os.cpu_count()} {_threads()}"
    try:
        kept: dict[str, float] = json.loads(file.read_text())
    except (OSError, ValueError):
        kept = {}
    if not kept.get(key):
        kept[key] = _measured()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(kept).encode())
        except (Error, OSError):  # a read-only home: measured again by the next process
            pass
    return float(kept[key])


def _threads() -> str:
    return os.environ.get("OMP_NUM_THREADS", "")


def _measured() -> float:
    from lutra.backends import concrete

    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Int.of((1, LOOK_UPS), 0, (1 << BITS) - 1))
    rewriter.returns([ops.Lookup(x, 0, np.arange(1 << BITS)).result])
    executable = concrete.emit(graph)
    executable.keygen()
    sample = np.zeros((1, 1, LOOK_UPS), dtype=np.int64)
    executable.run(sample)  # the first run of a key set also unpacks it
    start = time.perf_counter()
    executable.run(sample)
    return float(executable.costs.price) / (time.perf_counter() - start)
