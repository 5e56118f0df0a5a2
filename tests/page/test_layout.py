"""Where drawings put the nodes of a graph."""

import itertools

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from lutra.page.layout import HEIGHT, WIDTH, layout


@st.composite
def graphs(draw: st.DrawFn) -> "nx.DiGraph[int]":
    """Acyclic: edges lead from smaller numbers to larger ones."""
    count = draw(st.integers(1, 12))
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    return graph


@given(graphs())
def test_boxes_stand_apart_and_edges_lead_down(graph: "nx.DiGraph[int]") -> None:
    found = layout(graph)
    assert set(found.places) == set(graph)
    for (x, y), (u, v) in itertools.combinations(found.places.values(), 2):
        assert abs(x - u) >= WIDTH or abs(y - v) >= HEIGHT
    for x, y in found.places.values():
        assert WIDTH / 2 <= x <= found.width - WIDTH / 2
        assert HEIGHT / 2 <= y <= found.height - HEIGHT / 2
    assert len(found.edges) == len(graph.edges)
    for (first, last), points in zip(graph.edges, found.edges, strict=True):
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        (x, y), (u, v) = found.places[first], found.places[last]
        assert points[0] == (x, y + HEIGHT / 2)
        assert points[-1] == (u, v - HEIGHT / 2)


@given(graphs())
def test_edges_pass_boxes_by(graph: "nx.DiGraph[int]") -> None:
    found = layout(graph)
    for points in found.edges:
        for x, y in points[1:-1]:
            assert all(
                abs(x - u) >= WIDTH / 2 or abs(y - v) > HEIGHT / 2 for u, v in found.places.values()
            )
