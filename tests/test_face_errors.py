"""What bad input gets: an error with a code, the model's own names, and the way out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import lutra
from onnx_models import model_of
from small_models import mlp, points, tensor


def raised(code: str, call: Callable[[], object]) -> lutra.Error:
    with pytest.raises(lutra.Error) as caught:
        call()
    assert caught.value.code == code, caught.value.render()
    return caught.value


# --- models ---------------------------------------------------------------------------------------
def test_constructs_that_cannot_run_encrypted_are_all_named() -> None:
    w = tensor("w", np.eye(2))
    source = model_of(
        f"m (float[N,2] x) => (float[N,2] y) <{w}> {{ [one] a = MatMul(x, w)"
        " [sort] b = Trilu(a)  [two] c = MatMul(b, w)  [again] d = Trilu(c)"
        " [three] y = MatMul(d, w) }"
    )
    error = raised("F004", lambda: lutra.compile(source, points()))
    assert error.nodes == ("sort", "again")


def test_what_cannot_be_imported_and_what_cannot_be_encrypted_is_one_list() -> None:
    w = tensor("w", np.eye(2))
    source = model_of(
        f"m (float[N,2] x) => (float[N,2] y) <{w}> {{ [one] a = MatMul(x, w)"
        " [sort] b = Trilu(a)  [two] c = MatMul(b, w)  [noise] d = RandomNormalLike(c)"
        " [mine] e = my.ops.Magic(d)  [product] f = CumProd(e, k)"
        " [again] g = Trilu(f)  [three] h = MatMul(g, w)  [last] y = Trilu(h) }",
        26,
        my_ops=1,
    )
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "k"))
    error = raised("F004", lambda: lutra.compile(source, points()))
    assert error.nodes == ("sort", "noise", "mine", "product", "again")
    assert error.lines == (
        "Trilu sort: this operator cannot run on encrypted values",
        "RandomNormalLike noise: it draws random numbers",
        "Magic mine: neither ONNX nor onnxruntime has an operator my.ops::Magic",
        "CumProd product: ONNX opset 21 has no such operator",
        "Trilu again: this operator cannot run on encrypted values",
    )


def test_model_with_nothing_to_encrypt() -> None:
    source = model_of("m (float[N,2] x) => (float[N,2] y) { y = Relu(x) }")
    raised("F004", lambda: lutra.compile(source, points()))


@pytest.mark.parametrize("size", [0, 10, 200])
def test_truncated_model(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.onnx"
    content = mlp().SerializeToString()
    assert size < len(content)
    path.write_bytes(content[:size])
    error = raised("F001", lambda: lutra.compile(path, points()))
    assert "model.onnx" in error.message or not size


def test_missing_model(tmp_path: Path) -> None:
    raised("F001", lambda: lutra.compile(tmp_path / "none.onnx"))


# --- calibration ----------------------------------------------------------------------------------
@pytest.mark.parametrize("data", [[], np.zeros((0, 2)), {"x": points(0)}], ids=["list", "2", "map"])
def test_empty_calibration(data: object) -> None:
    raised("C001", lambda: lutra.compile(mlp(), data))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_calibration_that_is_not_finite(value: float) -> None:
    data = points().astype(np.float64)
    data[7, 1] = value
    error = raised("C002", lambda: lutra.compile(mlp(), data))
    assert "[7, 1]" in error.message


def test_calibration_is_needed() -> None:
    raised("C003", lambda: lutra.compile(mlp()))


# --- inputs ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(), points())


@pytest.mark.parametrize("shape", [(), (2,), (5, 3), (5, 2, 2), (5, 1, 1, 2), (5, 0)], ids=str)
def test_wrong_shape(model: lutra.Model, shape: tuple[int, ...]) -> None:
    error = raised("I001", lambda: model.predict(np.zeros(shape)))
    assert "(samples, 2)" in error.message
    raised("I001", lambda: lutra.compile(mlp(), np.zeros(shape)))


def test_the_shape_that_would_do_is_named(model: lutra.Model) -> None:
    error = raised("I001", lambda: model.predict(np.zeros((5, 2, 1, 1))))
    assert "x.reshape(-1, 2)" in error.help


@pytest.mark.parametrize(
    "data",
    [
        points().astype(str),
        points().astype(object),
        points().astype(complex),
        points().astype("datetime64[s]"),
        [[1, 2], [3]],
        "data.npz",
    ],
)
def test_wrong_data_type(model: lutra.Model, data: object) -> None:
    raised("I002", lambda: model.predict(data))
    raised("I002", lambda: lutra.compile(mlp(), data))


def test_integers_that_the_input_cannot_hold() -> None:
    w = tensor("w", np.eye(2))
    source = model_of(
        f"m (int8[N,2] x) => (float[N,2] y) <{w}> {{ f = Cast<to=1>(x)  y = MatMul(f, w) }}"
    )
    data = np.array([[1, 2], [-3, 100]])
    compiled = lutra.compile(source, data)
    assert compiled.predict(data).shape == (2, 2)
    raised("I002", lambda: compiled.predict(data + 100))
    raised("I002", lambda: compiled.predict(data + 0.5))


def test_input_that_is_not_finite(model: lutra.Model) -> None:
    raised("I003", lambda: model.predict([[1.0, np.nan]]))


def test_names_of_inputs(model: lutra.Model) -> None:
    error = raised("I004", lambda: model.predict({"X": points()}))
    assert "x" in error.help
    raised("I004", lambda: model.predict({}))
    raised("I004", lambda: lutra.compile(mlp(), {"x": points(), "x2": points()}))


def two_inputs() -> object:
    return model_of(
        f"m (float[N,2] a, float[N,2] b) => (float[N,2] y) <{tensor('w', np.eye(2))}>"
        "{ s = Add(a, b)  y = MatMul(s, w) }"
    )


def test_several_inputs() -> None:
    error = raised("I004", lambda: lutra.compile(two_inputs(), points()))
    assert "a: float32[1x2], b: float32[1x2]" in error.help
    raised("I001", lambda: lutra.compile(two_inputs(), {"a": points(5), "b": points(4)}))


# --- options --------------------------------------------------------------------------------------
def test_modes(model: lutra.Model) -> None:
    error = raised("I005", lambda: model.predict(points(), "encrypted"))
    assert "'encrypt'" in error.help


@pytest.mark.parametrize("value", [0, 1, -0.1, 2.0, float("nan"), "1e-5", True])
@pytest.mark.parametrize("name", ["p_error", "global_p_error"])
def test_probabilities(name: str, value: object) -> None:
    raised("I005", lambda: lutra.compile(mlp(), points(), **{name: value}))


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("onnx", {"p_error": 0.1}),
        ("concrete", {"strateg": "best"}),
        ("concrete", {"strategy": "cheapest"}),
        ("concrete", {"strategy": ["best"]}),
    ],
)
def test_options_of_backends(backend: str, options: dict[str, object]) -> None:
    raised("I005", lambda: lutra.compile(mlp(), points(), backend=backend, options=options))


def test_backends() -> None:
    error = raised("B001", lambda: lutra.compile(mlp(), points(), backend="concret"))
    assert "concrete" in error.help
    plain = lutra.compile(mlp(), points(), backend="numpy")
    assert plain.predict(points(3)).shape == (3, 2)
    raised("I005", lambda: plain.predict(points(3), "encrypt"))


# --- pipelines ------------------------------------------------------------------------------------
def test_look_up_beyond_the_backends_limit() -> None:
    wide = mlp(inputs=300, hidden=2)
    pipeline = "default{weights=8,activations=8,rounding=none,margin=none}"
    error = raised("B003", lambda: lutra.compile(wide, points(20, 300), pipeline))
    assert "fc1" in error.nodes
    assert "concrete" in error.message
    assert "round" in error.help


@pytest.mark.parametrize(
    ("pipeline", "code"),
    [
        ("defalt", "P001"),
        ("default{weight=4}", "P002"),
        ("default{weights=4", "P003"),
        ("clean", "P009"),
    ],
)
def test_pipelines(pipeline: str, code: str) -> None:
    raised(code, lambda: lutra.compile(mlp(), points(), pipeline))


@pytest.mark.parametrize("pipeline", [None, ["default"], 5, [mlp]], ids=["none", "texts", "5", "f"])
def test_what_is_no_pipeline(pipeline: object) -> None:
    error = raised("P003", lambda: lutra.compile(mlp(), points(), pipeline))  # type: ignore[arg-type]
    assert "pipeline=" in error.help


@pytest.mark.parametrize("shape", [4, "ab", [2.5], None])
def test_shapes_that_are_none(shape: object) -> None:
    error = raised("I005", lambda: lutra.compile(mlp(), points(), shapes={"x": shape}))  # type: ignore[dict-item]
    assert "shapes={'x': [" in error.help


def test_tensors_that_need_gradients(model: lutra.Model) -> None:
    class Tensor:
        """What torch does where a tensor is part of a graph."""

        def __array__(self, *_: object) -> np.ndarray:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    for call in (lambda: model.predict(Tensor()), lambda: lutra.compile(mlp(), Tensor())):
        error = raised("I002", call)
        assert "x.detach().numpy()" in error.help
