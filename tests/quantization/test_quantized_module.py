"""Quantized modules: the same model through Concrete ML's names and through Lutra's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from concrete import fhe

import lutra
from lutra.ir.errors import BackendError, InputError
from lutra.ir.types import Array
from lutra.onnx import compile_onnx_model
from lutra.quantization import (
    FheMode,
    NoEffectWarning,
    NotCompiledError,
    PostTrainingAffineQuantization,
    PostTrainingQATImporter,
    QuantizedModule,
)
from lutra.torch import NumpyModule
from onnx_models import model_of, run
from small_models import mlp, points, tensor

N_BITS = {"op_inputs": 2, "op_weights": 2, "model_inputs": 2}


def quantized(n_bits: Any = 3, rounding: Any = None, model: Any = None) -> QuantizedModule:
    numpy_model = NumpyModule(model or mlp())
    converter = PostTrainingAffineQuantization(n_bits, numpy_model, rounding)
    return converter.quantize_module(points())


@pytest.fixture(scope="module")
def module() -> QuantizedModule:
    made = quantized(N_BITS)
    made.compile(points())
    return made


def two_inputs() -> onnx.ModelProto:
    w = np.array([[1.0, -0.5], [0.25, 2.0]])
    return model_of(
        f"m (float[N,2] a, float[N,2] b) => (float[N,2] y, float[N,2] s) <{tensor('w', w)}>"
        "{ c = Sub(a, b)  s = MatMul(c, w)  y = MatMul(b, w) }"
    )


# --- the model in the clear -----------------------------------------------------------------------
def test_a_numpy_module_computes_what_the_model_does() -> None:
    x = points(7)
    module = NumpyModule(mlp())
    np.testing.assert_allclose(module(x), run(mlp(), {"x": x})[0], rtol=1e-5)
    np.testing.assert_array_equal(module.numpy_forward(x), module(x))
    assert module.pre_processing(x) == (x,)
    assert module.onnx_preprocessing is None
    a, b = points(5), points(5, seed=2)
    for result, expected in zip(
        NumpyModule(two_inputs())(a, b), run(two_inputs(), {"a": a, "b": b}), strict=True
    ):
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_models_that_are_none() -> None:
    with pytest.raises(InputError, match="list"):
        NumpyModule([])
    with pytest.raises(InputError, match="I004"):
        NumpyModule(mlp())(points(), points())
    with pytest.raises(InputError, match="I004"):
        PostTrainingAffineQuantization(3, NumpyModule(mlp())).quantize_module()


# --- pipelines ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n_bits", "rounding", "pipeline"),
    [
        (3, None, "narrow{weights=3,activations=3,inputs=5}"),
        (7, 6, "wide{weights=7,activations=7,inputs=7,rounding=6,exact=true}"),
        (
            {"op_inputs": 4, "op_weights": 3, "model_inputs": 6},
            {"n_bits": 5, "method": fhe.Exactness.APPROXIMATE},
            "wide{weights=3,activations=4,inputs=6,rounding=5}",
        ),
    ],
)
def test_options_become_a_pipeline(n_bits: Any, rounding: Any, pipeline: str) -> None:
    by_name = quantized(n_bits, rounding)
    directly = lutra.compile(mlp(), points(), pipeline)
    assert by_name.model.pipeline == directly.pipeline
    x = points(50, seed=3)
    np.testing.assert_array_equal(by_name.forward(x), directly.predict(x))


def test_converters_say_their_bits() -> None:
    converter = PostTrainingQATImporter({"op_inputs": 3, "op_weights": 2}, NumpyModule(mlp()))
    assert converter.n_bits_model_inputs == converter.n_bits_model_outputs == 5
    assert (converter.n_bits_op_inputs, converter.n_bits_op_weights) == (3, 2)
    assert converter.pipeline.endswith(",find-grids{bits=2},qat{weights=2,activations=3,inputs=5}")


def test_automatic_rounding_takes_no_more_bits_than_it_needs() -> None:
    x, numpy_model = points(1000, seed=4), NumpyModule(mlp())
    rounded, eight = (
        PostTrainingAffineQuantization(7, numpy_model, threshold).quantize_module(x)
        for threshold in ({"n_bits": "auto", "method": "APPROXIMATE"}, 8)
    )
    assert "6 bits" in rounded.model.pipeline
    assert max(_look_up_bits(rounded)) <= max(_look_up_bits(eight))
    errors = [np.abs(m.forward(x) - numpy_model(x)).mean() for m in (rounded, eight)]
    assert errors[0] < errors[1] + 0.05 * numpy_model(x).std()


def _look_up_bits(module: QuantizedModule) -> list[int]:
    from lutra.ir.analysis import look_ups

    return [site.bits for site in look_ups(module.model.module.circuit)]


def test_accumulators_too_wide_for_look_ups() -> None:
    with pytest.raises(BackendError, match="B003"):
        quantized(12)
    assert quantized(12, {"n_bits": 6, "method": "APPROXIMATE"}).model.pbs_count >= 3


# --- predictions ----------------------------------------------------------------------------------
def test_predicting_step_by_step(module: QuantizedModule) -> None:
    x = points(20, seed=5)
    q = module.quantize_input(x)
    assert q.shape == (20, 2)
    assert q.dtype == np.int64
    assert module.quantize_input(x, dtype=np.int8).dtype == np.int8
    results = module.quantized_forward(q)
    assert results.shape == (20, 2)
    y = module.dequantize_output(results)
    np.testing.assert_array_equal(y, module.forward(x))
    np.testing.assert_array_equal(y, module(x))
    np.testing.assert_array_equal(y, module.forward_and_dequant(q))
    np.testing.assert_array_equal(y, module.forward(x, fhe=FheMode.DISABLE))
    np.testing.assert_array_equal(y, module.forward(x, fhe="simulate"))
    np.testing.assert_array_equal(results, module.quantized_forward(q, fhe="simulate"))
    (quantizer,) = module.input_quantizers
    np.testing.assert_array_equal(quantizer.quant(x), q)
    assert quantizer.n_bits == 2


def test_several_inputs_and_outputs() -> None:
    a, b = points(60), points(60, seed=2)
    numpy_model = NumpyModule(two_inputs())
    module = PostTrainingAffineQuantization(6, numpy_model).quantize_module(a, b)
    assert module.ordered_module_input_names == ("a", "b")
    assert module.ordered_module_output_names == ("y", "s")
    q = module.quantize_input(a, b)
    assert [array.shape for array in q] == [(60, 2), (60, 2)]
    results = module.dequantize_output(*module.quantized_forward(*q))
    for result, predicted, exact in zip(
        results, module.forward(a, b), numpy_model(a, b), strict=True
    ):
        np.testing.assert_array_equal(result, predicted)
        np.testing.assert_allclose(result, exact, atol=0.3)


def test_layers_on_the_way(module: QuantizedModule) -> None:
    x = points(6)
    y, layers = module.forward(x, debug=True)
    np.testing.assert_array_equal(y, module.forward(x))
    assert {name: array.shape for name, array in layers.items()} == {
        "fc1": (6, 3), "fc1 + act": (6, 3), "fc2": (6, 2)
    }  # fmt: skip


def test_reports(module: QuantizedModule) -> None:
    report = module.bitwidth_and_range_report()
    assert list(report) == ["fc1", "fc2"]
    for entry in report.values():
        low, high = entry["range"]
        assert low <= high
        assert max(abs(low), high) < 2 ** entry["bitwidth"]
    assert module.fhe_circuit is not None
    graph = module.fhe_circuit.graph
    assert graph.maximum_integer_bit_width() == max(e["bitwidth"] for e in report.values())
    assert graph.maximum_integer_bit_width("fc1") == report["fc1"]["bitwidth"]
    assert graph.integer_range(["fc2"]) == report["fc2"]["range"]
    assert graph.maximum_integer_bit_width("fc") == -1
    assert graph.integer_range("fc") is None
    assert "lookup" in graph.format()


def test_integers_for_floats_and_the_other_way_round(module: QuantizedModule) -> None:
    x = points(3)
    for wrong in (module.forward, module.quantize_input):
        with pytest.raises(InputError, match="quantized_forward"):
            wrong(module.quantize_input(x))
    with pytest.raises(InputError, match="I002"):
        module.quantized_forward(x)
    with pytest.raises(InputError, match="I002"):
        module.dequantize_output(x)
    for method in (module.forward, module.quantized_forward, module.dequantize_output):
        with pytest.raises(InputError, match="I004"):
            method()
    with pytest.raises(InputError, match="did you mean 'execute'"):
        module.forward(x, fhe="exeute")


# --- compiling ------------------------------------------------------------------------------------
def test_what_needs_compiling() -> None:
    module = quantized(2)
    assert not module.is_compiled
    assert module.fhe_circuit is module.forward_fhe is None
    for mode in ("simulate", FheMode.EXECUTE):
        with pytest.raises(NotCompiledError, match="compile"):
            module.forward(points(1), fhe=mode)
    with pytest.raises(AttributeError):
        module.check_model_is_compiled()
    circuit = module.compile(points())
    module.check_model_is_compiled()
    assert module.is_compiled
    assert module.fhe_circuit is module.forward_fhe is circuit
    assert circuit.p_error == 2**-40
    assert circuit.global_p_error == pytest.approx(3 * 2**-40)


def test_probabilities_of_errors() -> None:
    module = quantized(2)
    assert module.compile(p_error=0.01).p_error == 0.01
    assert module.compile(global_p_error=0.01).global_p_error == pytest.approx(0.01)
    assert module.compile(configuration={"strategy": "mono"}).complexity > 0
    with pytest.raises(InputError, match="both"):
        module.compile(p_error=0.01, global_p_error=0.01)
    with pytest.raises(InputError, match="configuration sets p_error"):
        module.compile(configuration=fhe.Configuration(p_error=0.1))


def test_settings_of_concrete() -> None:
    module = quantized(2)
    configuration = fhe.Configuration(
        parameter_selection_strategy="mono", loop_parallelize=False, show_graph=False
    )
    module.compile(configuration=configuration)
    assert module.model.options == {"strategy": "mono", "parallel": False, "p_error": 2**-40}
    with pytest.warns(NoEffectWarning, match="composable"):
        module.compile(configuration=fhe.Configuration(composable=True))


def test_what_compiling_prints(capsys: pytest.CaptureFixture[str]) -> None:
    quantized(2).compile(points(), show_mlir=True, verbose=True)
    printed = capsys.readouterr().out
    assert "func.func @main" in printed
    assert "| fc1 + act |" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"artifacts": object()}, "artifacts"),
        ({"inputs_encryption_status": ["encrypted", "clear"]}, "quantized for encrypted inputs"),
        ({"device": "cuda"}, "CPU"),
    ],
)
def test_arguments_without_effect_say_why(arguments: dict[str, Any], said: str) -> None:
    a, b = points(60), points(60, seed=2)
    module = PostTrainingAffineQuantization(2, NumpyModule(two_inputs())).quantize_module(a, b)
    with pytest.warns(NoEffectWarning, match=said) as caught:
        module.compile((a, b), **arguments)
    assert [warning.filename for warning in caught] == [__file__]


def test_inputs_stay_clear_that_are_to() -> None:
    data = points(60), points(60, seed=2)
    status = ["encrypted", "clear"]
    module = compile_onnx_model(two_inputs(), data, n_bits=2, inputs_encryption_status=status)
    assert [port.clear for port in module.model.signature.inputs] == [False, True]
    floats = run(two_inputs(), dict(zip("ab", data, strict=True)))
    np.testing.assert_allclose(module.forward(*data)[0], floats[0], rtol=1e-5)
    with pytest.raises(InputError, match="b is clear"):
        module.compile(data, inputs_encryption_status=["encrypted", "encrypted"])


def test_other_arguments_without_effect() -> None:
    with pytest.warns(NoEffectWarning, match="weights are signed"):
        PostTrainingAffineQuantization(2, NumpyModule(mlp()), is_signed=False)
    with pytest.warns(NoEffectWarning, match="reduce_sum_copy"):
        compile_onnx_model(mlp(), points(), n_bits=2, reduce_sum_copy=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs_encryption_status": ["encrypted", "encrypted"]},
        {"inputs_encryption_status": ["clear"]},
        {"inputs_encryption_status": ["private"]},
        {"device": "gpu"},
    ],
)
def test_arguments_that_are_wrong(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="I005"):
        quantized(2).compile(points(), **arguments)


def test_calibration_data_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="I001"):
        quantized(2).compile(points()[:, :1])
    with pytest.raises(InputError, match="I004"):
        quantized(2).compile((points(), points()))


# --- under encryption -----------------------------------------------------------------------------
@pytest.mark.encrypted
def test_encrypted_results_are_those_in_the_clear(module: QuantizedModule) -> None:
    x = points(2, seed=6)
    np.testing.assert_array_equal(module.forward(x, fhe="execute"), module.forward(x))
    q = module.quantize_input(x)
    expected = module.quantized_forward(q)
    np.testing.assert_array_equal(module.quantized_forward(q, fhe="execute"), expected)
    circuit = module.fhe_circuit
    assert circuit is not None
    circuit.keygen()
    for run_one in (circuit.encrypt_run_decrypt, circuit.simulate, _by_hand(circuit)):
        np.testing.assert_array_equal(run_one(q[[0]]), expected[[0]])
    with pytest.raises(InputError, match="one sample"):
        circuit.encrypt(q)
    with pytest.raises(InputError, match="I004"):
        circuit.encrypt()


def _by_hand(circuit: Any) -> Callable[[Array], Array]:
    return lambda q: circuit.decrypt(circuit.run(circuit.encrypt(q)))


@pytest.mark.encrypted
def test_several_inputs_under_encryption() -> None:
    a, b = points(60), points(60, seed=2)
    module = compile_onnx_model(two_inputs(), (a, b), n_bits=N_BITS)
    circuit, q = module.fhe_circuit, module.quantize_input(a[:1], b[:1])
    assert circuit is not None
    encrypted = circuit.encrypt(*q)
    assert len(encrypted) == 2
    for results in (circuit.run(*encrypted), circuit.run(encrypted)):
        for result, expected in zip(
            circuit.decrypt(*results), module.quantized_forward(*q), strict=True
        ):
            np.testing.assert_array_equal(result, expected)
