"""Random circuits under encryption, against the interpreter."""

import pytest
from hypothesis import given, settings

from encrypted import Encrypted
from lutra.ir.core import Graph
from lutra.testing.graphs import few_bits_graphs
from lutra.testing.properties import Trial, check_encrypted

pytestmark = pytest.mark.encrypted


@settings(max_examples=40)
@given(graph=few_bits_graphs(bootstraps=False))
def test_levelled_circuits(graph: Graph, encrypted: Encrypted) -> None:
    check_encrypted(Trial(graph), encrypted.keys)


@settings(max_examples=10)
@given(graph=few_bits_graphs())
def test_circuits_with_bootstraps(graph: Graph, encrypted: Encrypted) -> None:
    check_encrypted(Trial(graph), encrypted.keys)
