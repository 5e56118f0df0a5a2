"""compile, predict and report, on small models and in the clear."""

import numpy as np
import onnx
import pytest

import lutra
from lutra.frontends.onnx import import_model
from lutra.ir.errors import InputError
from lutra.ir.program import wrapped
from lutra.ir.types import Array, Int
from lutra.passes import Pipeline
from lutra.testing.nets import Net
from onnx_models import model_of, run
from small_models import mlp, points, tensor

EIGHT_BITS = "default{rounding=none}"


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(), points(), EIGHT_BITS)


def close(result: Array, expected: Array) -> None:
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, atol=0.05 * np.abs(expected).max(initial=1))


# --- what goes in and out -------------------------------------------------------------------------
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_batches_are_onnxruntimes(model: lutra.Model, count: int) -> None:
    x = points(count, seed=2)
    close(model.predict(x), run(mlp(), {"x": x})[0])


def test_an_axis_for_samples_in_front_stays(model: lutra.Model) -> None:
    x = points(7, seed=2)
    np.testing.assert_array_equal(model.predict(x[:, None]), model.predict(x)[:, None])


def test_batches_larger_than_a_chunk(model: lutra.Model) -> None:
    x = points(2500, seed=3)
    halves = [model.predict(x[:1250]), model.predict(x[1250:])]
    np.testing.assert_array_equal(model.predict(x), np.concatenate(halves))


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int8, np.uint64, bool, list])
def test_numbers_of_other_types_are_cast(model: lutra.Model, kind: type) -> None:
    x = np.array([[0, 1], [1, 0]])
    given = x.tolist() if kind is list else x.astype(kind)
    np.testing.assert_array_equal(model.predict(given), model.predict(x.astype(np.float32)))


def test_model_without_batch_axis() -> None:
    source = mlp(batch="3")
    x = points(300).reshape(100, 3, 2)
    compiled = lutra.compile(source, x, EIGHT_BITS)
    (expected,) = run(source, {"x": x[0]})
    close(compiled.predict(x[0]), expected)
    assert compiled.predict(x).shape == (100, 3, 2)
    np.testing.assert_array_equal(compiled.predict(x)[0], compiled.predict(x[0]))
    assert compiled.predict(x[:0]).shape == (0, 3, 2)


def test_a_batch_axis_of_one_counts_samples_too() -> None:
    compiled = lutra.compile(mlp(batch="1"), points(), EIGHT_BITS)
    np.testing.assert_array_equal(
        compiled.predict(points(5)), lutra.compile(mlp(), points(), EIGHT_BITS).predict(points(5))
    )


def two_inputs() -> onnx.ModelProto:
    w = np.array([[1.0, -0.5], [0.25, 2.0]])
    return model_of(
        f"m (float[N,2] a, float[N,2] b) => (float[N,2] y, float[N,2] s) <{tensor('w', w)}>"
        "{ s = Sub(a, b)  y = MatMul(s, w) }"
    )


def test_several_inputs_and_outputs() -> None:
    a, b = points(seed=1), points(seed=2)
    compiled = lutra.compile(two_inputs(), {"a": a, "b": b}, EIGHT_BITS)
    results = compiled.predict({"b": b[:5], "a": a[:5]})
    for result, expected in zip(results, run(two_inputs(), {"a": a[:5], "b": b[:5]}), strict=True):
        close(result, expected)
    shared = compiled.predict({"a": a[:5], "b": b[:1]})
    whole = compiled.predict({"a": a[:5], "b": np.repeat(b[:1], 5, axis=0)})
    np.testing.assert_array_equal(shared, whole)


def test_open_shapes_are_given_by_name() -> None:
    source = model_of(
        f"m (float[N,K,2] x) => (float[N,K,2] y) <{tensor('w', np.eye(2))}> {{ y = MatMul(x, w) }}"
    )
    x = points(60).reshape(20, 3, 2)
    compiled = lutra.compile(source, x, shapes={"x": (1, 3, 2)})
    close(compiled.predict(x), run(source, {"x": x})[0])


def test_sources() -> None:
    content = mlp().SerializeToString()
    np.testing.assert_array_equal(
        lutra.compile(content, points(), EIGHT_BITS).predict(points(5)),
        lutra.compile(mlp(), points(), Pipeline.parse(EIGHT_BITS)).predict(points(5)),
    )
    module = import_model(mlp())
    before = str(module)
    np.testing.assert_array_equal(
        lutra.compile(content, points(), EIGHT_BITS).predict(points(5)),
        lutra.compile(module, points(), EIGHT_BITS).predict(points(5)),
    )
    assert str(module) == before


# --- step by step ---------------------------------------------------------------------------------
def test_predicting_is_encoding_evaluating_and_decoding(model: lutra.Model) -> None:
    x = points(2500, seed=3)
    q = model.encode(x)
    assert [array.shape for array in q] == [(2500, 1, 2)]
    assert all(np.issubdtype(array.dtype, np.integer) for array in q)
    results = model.evaluate(q)
    (y,) = model.decode(results)
    np.testing.assert_array_equal(y.reshape(2500, 2), model.predict(x))


def test_results_that_are_no_results(model: lutra.Model) -> None:
    (q,) = model.encode(points(3))
    with pytest.raises(InputError, match="I001"):
        model.evaluate([q[:, 0]])
    with pytest.raises(InputError, match="I002"):
        model.evaluate([q + 1000])
    with pytest.raises(InputError, match="I004"):
        model.decode([])
    with pytest.raises(InputError, match="I005"):
        model.evaluate([q], mode="execute")  # type: ignore[arg-type]


def test_outputs_that_need_the_inputs_again() -> None:
    source = model_of(
        f"m (float[N,2] x) => (float[N,2] y) <{tensor('w', np.eye(2))}>"
        "{ h = MatMul(x, w)  y = Mul(h, x) }"
    )
    compiled = lutra.compile(source, points())
    x = points(5, seed=2)
    results = compiled.evaluate(compiled.encode(x))
    with pytest.raises(InputError, match="I004"):
        compiled.decode(results)
    (y,) = compiled.decode(results, x)
    np.testing.assert_array_equal(y.reshape(5, 2), compiled.predict(x))


# --- modes ----------------------------------------------------------------------------------------
def test_simulation_errs_with_the_circuits_p_error() -> None:
    x = points(200)
    clear = lutra.compile(mlp(), x, EIGHT_BITS, p_error=0.2)
    assert clear.p_error == 0.2
    assert (clear.predict(x, "simulate") != clear.predict(x)).any()
    rarely = lutra.compile(mlp(), x, EIGHT_BITS, p_error=1e-12)
    np.testing.assert_array_equal(rarely.predict(x, "simulate"), rarely.predict(x))


def test_a_global_p_error_is_shared_by_the_look_ups() -> None:
    shared = lutra.compile(mlp(hidden=3), points(), EIGHT_BITS, global_p_error=0.271)
    assert shared.pbs_count == 3
    assert shared.p_error == pytest.approx(0.1, rel=1e-3)
    both = lutra.compile(mlp(), points(), EIGHT_BITS, p_error=0.01, global_p_error=0.271)
    assert both.p_error == 0.01


def test_violations_are_counted_by_layer(model: lutra.Model) -> None:
    model.predict(points())
    assert model.violations == {}
    narrow = lutra.compile(mlp(), 0.1 * points(), "default{inputs=12}")
    narrow.predict(points())
    assert narrow.violations == {}  # the encoder clamps
    few = lutra.compile(mlp(), np.array([[0.1, 0.1], [-1, 1]]), "default{margin=0.0,split=none}")
    few.predict(np.array([[1, -1], [1, 1], [-1, -1]]))
    assert few.violations.keys() == {"fc1"}
    assert few.violations["fc1"] > 0


def test_outputs_out_of_range_wrap() -> None:
    """They raised an error where violations led further out than the decoder expects."""
    for seed in range(15, 30):
        compiled = lutra.compile(mlp(hidden=9), points(1, seed=seed), "default{margin=0.0}")
        assert np.isfinite(compiled.predict(9 * points(300))).all()
        assert compiled.violations


@pytest.mark.parametrize(("lo", "hi", "modulus"), [(0, 0, 2), (-3, 4, 8), (-3, 5, 16), (7, 11, 8)])
def test_wrapping(lo: int, hi: int, modulus: int) -> None:
    type = Int.of((), lo, hi)
    inside = np.arange(lo, hi + 1)
    np.testing.assert_array_equal(wrapped(type, inside), inside)
    np.testing.assert_array_equal(wrapped(type, inside + 5 * modulus), inside)
    assert len(np.unique(wrapped(type, np.arange(-99, 99)))) == modulus


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []
    compiled = lutra.compile(
        mlp(), points(), EIGHT_BITS, progress=lambda *event: seen.append(event)
    )
    compiled.predict(points(3))
    assert ("samples", 3, 3) in seen
    assert len({what for what, _, _ in seen}) > 1
    assert all(0 <= done <= total for _, done, total in seen)


# --- reports --------------------------------------------------------------------------------------
def test_report_without_prices(model: lutra.Model) -> None:
    report = model.report(price=False)
    (layer,) = report.layers
    assert layer.names == ("fc1", "act")
    assert (layer.pbs, layer.price, layer.rounded) == (3, None, None)
    assert (report.pbs, report.price) == (3, None)
    text = str(report)
    assert "fc1 + act" in text
    assert "price" not in text
    assert EIGHT_BITS in text


def test_report_of_rounded_look_ups() -> None:
    compiled = lutra.compile(mlp(), points(), "default{rounding=4}")
    (layer,) = compiled.report(price=False).layers
    assert (layer.rounded, layer.exact, layer.pbs) == (4, False, 3)
    assert layer.type.bits > 4
    exact = lutra.compile(mlp(), points(), "default{rounding=4,exact=true}")
    (layer,) = exact.report(price=False).layers
    dropped = exact.pbs_count // 3 - 1
    assert layer.rounding == "to 4 bits, exact"
    assert dropped >= 1  # one 1-bit bootstrap more for each bit dropped


def test_report_of_a_backend_that_refuses_the_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    from lutra.backends import concrete
    from lutra.ir.errors import BackendError

    def emit(circuit: object) -> None:
        raise BackendError("B004", "no parameters")

    monkeypatch.setattr(concrete, "emit", emit)
    report = lutra.compile(mlp(), points(), EIGHT_BITS).report()
    assert report.price is None
    assert "no prices: error[B004]: no parameters" in str(report)


def test_report_of_a_linear_circuit() -> None:
    report = lutra.compile(two_inputs(), {"a": points(), "b": points()}).report(price=False)
    assert report.layers == ()
    assert "no look-ups" in str(report)


def test_names_are_lazy_and_listed() -> None:
    assert set(lutra.__all__) <= set(dir(lutra))
    assert lutra.__version__
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        _ = lutra.compil  # type: ignore[attr-defined]


def test_a_model_shows_what_it_is(model: lutra.Model) -> None:
    assert repr(model) == (
        "<lutra.Model x: float32[1x2] -> y: float32[1x2], 3 PBS, backend concrete>"
    )


def test_the_report_names_what_the_client_has_the_weights_of() -> None:
    net = Net(x=(1, 4, 2))
    weights = [net.weights(1, 12, 2), net.weights(1, 12, 3)]
    state = net.add("LSTM", net.x[0], *weights, hidden_size=3)
    flat = net.add("Reshape", state, np.array([1, 12]))
    model = lutra.compile(net.returns(net.dense(flat, 2)), net.samples(64), "wide")
    (line,) = [line for line in model.report(price=False).lines() if line.startswith("client")]
    assert line.startswith("client    has the weights of LSTM")


def test_the_report_warns_of_circuits_without_parameters() -> None:
    net = Net(x=(1, 64))
    hidden = net.add("Relu", net.dense(net.x[0], 64))
    module = net.returns(net.dense(hidden, 2))
    wide = "wide{weights=8,inputs=8,rounding=16,split=none,margin=none}"
    model = lutra.compile(module, net.samples(64), wide, p_error=2.0**-60)
    assert "will find no parameters" in model.report(price=False).note
    few = lutra.compile(net.returns(net.dense(hidden, 2)), net.samples(64), "wide")
    assert not few.report(price=False).note
