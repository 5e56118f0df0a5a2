"""Operations that move elements: numpy's own meaning, ranges that move along."""

import numpy as np
import pytest

from lutra.ir.errors import TextError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Concat, Movement
from lutra.ir.parser import parse_graph

X = np.arange(2 * 2 * 3).reshape(2, 2, 3)  # two samples


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("reshape %x, shape=[3, 1, 2]", X.reshape(2, 3, 1, 2)),
        ("reshape %x, shape=[6]", X.reshape(2, 6)),
        ("transpose %x, perm=[1, 0]", X.transpose(0, 2, 1)),
        ("slice %x, starts=[0, 2], stops=[2, -4], steps=[1, -1]", X[:, :, ::-1]),
        ("slice %x, starts=[-1, 0], stops=[-3, 3], steps=[-1, 2]", X[:, ::-1, ::2]),
        ("slice %x, starts=[1, 0], stops=[1, 3], steps=[1, 1]", X[:, 1:1]),
        ("gather %x, indices=[[5, 0], [0, 1]]", X.reshape(2, 6)[:, [[5, 0], [0, 1]]]),
        ("gather %x, indices=int64[0]()", X.reshape(2, 6)[:, :0]),
        ("pad %x, before=[0, 1], after=[1, 0], value=-7",
         np.pad(X, ((0, 0), (0, 1), (1, 0)), constant_values=-7)),
        ("pad %x, before=[0, 0], after=[0, 0]", X),
        ("broadcast %x, shape=[2, 2, 3]", np.stack([X, X], 1)),
        ("concat %x, %x, axis=1", np.concatenate([X, X], 2)),
    ],
)  # fmt: skip
def test_meaning(line: str, wanted: np.ndarray) -> None:
    graph = parse_graph(f"%x = input : u4[2x3] in [0, 15]\n%0 = {line}\nreturn %0")
    (y,) = evaluate(graph, [X])
    np.testing.assert_array_equal(y, wanted)
    assert y.shape[1:] == graph.outputs[0].shape


def test_ranges_move_along() -> None:
    graph = parse_graph("""
        %x = input : u4[2x3] in [0, 15]
        %a = assume %x, lo=0, hi=[[0, 1, 2], [3, 4, 5]]
        %0 = transpose %a, perm=[1, 0]
        %1 = gather %a, indices=[5, 0]
        %2 = pad %a, before=[0, 0], after=[0, 1], value=9
        %3 = slice %a, starts=[1, 0], stops=[2, 3], steps=[1, 1]
        %4 = concat %a, %3, axis=0
        %5 = reshape %a, shape=[6]
        %6 = broadcast %a, shape=[2, 2, 3]
        return %0, %1, %2, %3, %4, %5, %6
    """)
    high = [np.broadcast_to(v.int_type.hi, v.shape).tolist() for v in graph.outputs]
    assert high == [
        [[0, 3], [1, 4], [2, 5]],
        [5, 0],
        [[0, 1, 2, 9], [3, 4, 5, 9]],
        [[3, 4, 5]],
        [[0, 1, 2], [3, 4, 5], [3, 4, 5]],
        [0, 1, 2, 3, 4, 5],
        [[[0, 1, 2], [3, 4, 5]]] * 2,
    ]


def test_other_facts_move_as_elements_do() -> None:
    graph = parse_graph("""
        %x = input : u4[2x3] in [0, 15]
        %0 = transpose %x, perm=[1, 0]
        %1 = concat %0, %0, axis=1
        return %1
    """)
    transpose, concat = (op for op in graph.ops if isinstance(op, Movement | Concat))
    assert isinstance(transpose, Movement)
    assert isinstance(concat, Concat)
    scale = np.array([[0.5], [2.0]])  # one for each row
    assert transpose.move(scale).tolist() == [[0.5, 2.0]] * 3
    joined = concat.join([np.array([1.0, 2.0]), np.array([[3.0]])])
    assert joined.tolist() == [[1.0, 2.0, 3.0, 3.0]] * 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reshape %x, shape=[5]", "(2, 3) cannot be reshaped to (5,)"),
        ("reshape %x, shape=[-2, -3]", "cannot be reshaped"),
        ("transpose %x, perm=[0, 0]", "perm=(0, 0) is not a permutation"),
        ("slice %x, starts=[0], stops=[1], steps=[1]", "one number for each axis"),
        ("slice %x, starts=[0, 0], stops=[1, 1], steps=[1, 0]", "a step is 0"),
        ("gather %x, indices=[6]", "indices reach [0, 6], x has 6 elements"),
        ("gather %x, indices=[-1]", "indices reach [-1, -1], x has 6 elements"),
        ("pad %x, before=[0], after=[0, 0]", "one number for each axis"),
        ("pad %x, before=[0, -1], after=[0, 0]", "must not be negative"),
        ("broadcast %x, shape=[2, 4]", "(2, 3) does not broadcast to (2, 4)"),
        ("broadcast %x, shape=[3]", "(2, 3) does not broadcast to (3,)"),
        ("concat axis=0", "nothing to join"),
        ("concat %x, axis=2", "axis 2 is not an axis of (2, 3)"),
        ("concat %x, %y, axis=0", "do not join along axis 0"),
        ("concat %x, %s, axis=0", "do not join along axis 0"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    with pytest.raises(TextError) as error:
        parse_graph(
            "%x = input : u2[2x3] in [0, 3]\n%y = input : u2[2x4] in [0, 3]\n"
            f"%s = input : u2[2] in [0, 3]\n%0 = {line}\nreturn %0"
        )
    assert message in error.value.message
