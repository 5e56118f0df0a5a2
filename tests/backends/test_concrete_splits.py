"""Split look-ups under encryption: exact, although their coarse digit is not."""

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.ir.core import Module
from lutra.ir.interpreter import evaluate
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.text import text_of_module
from lutra.passes.base import Context
from lutra.passes.split_lookups import SplitLookUps

pytestmark = pytest.mark.encrypted


def test_results_are_exact(encrypted: Encrypted) -> None:
    text = f"""
        %x = input : i6[12] in [-32, 31]
        %0 = lookup %x, base=-32, table={np.maximum(np.arange(-32, 32) + 17, 0).tolist()}
        return %0
        """
    whole, graph = parse_graph(text), parse_graph(text)
    rewriter = Rewriter(graph)
    SplitLookUps().run(graph, rewriter, Context())
    assert rewriter.changes
    x = np.linspace(-32, 31, 24).astype(np.int64).reshape(2, 12)
    assert np.array_equal(evaluate(graph, [x])[0], evaluate(whole, [x])[0])
    encrypted.check(text_of_module(Module([graph]), limit=None), x)
