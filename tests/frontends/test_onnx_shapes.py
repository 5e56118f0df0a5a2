"""Static shapes: the batch, open sizes, operators of vendors, and what shapes depend on data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import load, normalise
from lutra.frontends.onnx.proto import shape_of
from lutra.ir.errors import InputError, ModelError
from onnx_models import model_of, op_types, run


def shapes_of(text: str, shapes: dict[str, tuple[int, ...]] | None = None) -> dict[str, object]:
    """Shapes of inputs and outputs after normalising."""
    normal = normalise(model_of(text), shapes=shapes)
    return {v.name: shape_of(v.type) for v in (*normal.graph.input, *normal.graph.output)}


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ("N, 4", (1, 4)),
        ("?, 4", (1, 4)),
        ("1, 4", (1, 4)),
        ("7, 4", (7, 4)),
        ("4", (4,)),
        ("N", (1,)),
        ("0, 4", (1, 4)),
    ],
)
def test_an_open_first_dimension_is_the_batch(given: str, fixed: tuple[int, ...]) -> None:
    found = shapes_of(f"g (float[{given}] x) => (float[{given}] y) {{ y = Relu(x) }}")
    assert found == {"x": fixed, "y": fixed}


def test_a_scalar_input_stays() -> None:
    assert shapes_of("g (float x) => (float y) { y = Relu(x) }") == {"x": (), "y": ()}


def test_a_symbol_has_one_size_everywhere() -> None:
    found = shapes_of("g (float[N, 4] x, float[4, N] z) => (float[N, N] y) { y = MatMul(x, z) }")
    assert found == {"x": (1, 4), "z": (4, 1), "y": (1, 1)}


OPEN = """
    g (float[N, C, H, W] x, float[N, H] z) => (float[N, C, H, W] y, float[N, H] u) {
      y = Abs(x)
      u = Abs(z)
    }"""


def test_other_open_sizes_are_asked_for_all_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        shapes_of(OPEN)
    assert caught.value.code == "F003"
    for part in ("'x': axis 1 (C)", "'x': axis 2 (H)", "'x': axis 3 (W)", "'z': axis 1 (H)"):
        assert part in caught.value.message
    assert "shapes={'x': (1, ?, ?, ?), 'z': (1, ?)}" in caught.value.help


def test_given_shapes_bind_symbols() -> None:
    found = shapes_of(OPEN, {"x": (2, 3, 8, 9)})
    assert found == {"x": (2, 3, 8, 9), "z": (2, 8), "y": (2, 3, 8, 9), "u": (2, 8)}


def test_given_shapes_replace_static_ones() -> None:
    model = model_of("""
        g (float[1, 1, 8, 8] x) => (float[1, 2, 6, 6] y) <float[2, 1, 3, 3] w> {
          y = Conv(x, w) }""")
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    )
    normal = normalise(model, shapes={"x": (1, 1, 20, 10)})
    assert shape_of(normal.graph.output[0].type) == (1, 2, 18, 8)


def test_an_input_of_unknown_rank() -> None:
    text = "g (float[] x) => (float[] y) { y = Relu(x) }"
    with pytest.raises(ModelError, match="its rank"):
        shapes_of(text)
    assert shapes_of(text, {"x": (2, 3)}) == {"x": (2, 3), "y": (2, 3)}


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="there are: x, z") as caught:
        shapes_of(OPEN, {"image": (1, 2, 3, 4)})
    assert caught.value.code == "I004"
    for wrong in ((1, 2), (1, 2, 0, 4), (1, 2, -1, 4)):
        with pytest.raises(InputError) as caught:
            shapes_of(OPEN, {"x": wrong})
        assert caught.value.code == "I001"


def test_what_the_model_claims_of_inner_shapes_is_not_read() -> None:
    model = model_of("""
        g (float[N, 4] x) => (float[16, 4] y) <float[16, 4] a> { a = Exp(x)
          y = Sin(a) }""")
    assert shape_of(normalise(model).graph.output[0].type) == (1, 4)


def test_shapes_that_depend_on_data() -> None:
    with pytest.raises(ModelError) as caught:
        shapes_of("""
            g (float[1, 4] x) => (float[N, M] y) { [where] i = NonZero(x)
              t = Transpose(i)
              y = Cast<to=1>(t) }""")
    assert caught.value.code == "F003"
    assert caught.value.nodes == ("where",)


def test_a_contradiction_is_told_with_its_node() -> None:
    with pytest.raises(ModelError) as caught:
        shapes_of("""
            g (float[N, 4] x, float[5, 3] w) => (float[N, 3] y) { [fc] y = MatMul(x, w) }""")
    assert caught.value.nodes == ("fc",)
    assert "imension" in str(caught.value)


# --- domains ------------------------------------------------------------------------------------
QONNX = """
    g (float[N, 4] x) => (float[N, 4] y) <float s = {0.5}, float z = {0}, float b = {4}> {
      [q] q = DOMAIN.Quant<signed=1, narrow=0, rounding_mode="ROUND">(x, s, z, b)
      [bipolar] p = DOMAIN.BipolarQuant(q, s)
      h = Shape(p)
      r = Reshape(p, h)
      y = Softmax<axis=1>(r)
    }"""


@pytest.mark.parametrize(
    "domain", ["onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general"]
)
@pytest.mark.parametrize("opset", [9, 21, 24])
def test_fake_quantizers_are_kept_and_typed(domain: str, opset: int) -> None:
    model = model_of(QONNX.replace("DOMAIN", domain), opset)  # without an import of the domain
    normal = normalise(model)
    assert {o.domain: o.version for o in normal.opset_import}[domain] == 1
    assert op_types(normal) == ["Quant", "BipolarQuant", "Reshape", "Softmax"]
    assert [node.domain for node in normal.graph.node] == [domain, domain, "", ""]
    assert [attribute.name for attribute in normal.graph.node[0].attribute] == [
        "signed",
        "narrow",
        "rounding_mode",
    ]
    types = {value.name: shape_of(value.type) for value in normal.graph.value_info}
    assert types["q"] == types["p"] == (1, 4)


def test_weights_behind_a_fake_quantizer_are_not_folded() -> None:
    normal = normalise(
        model_of("""
        g (float[1, 2] x) => (float[1, 2] y)
        <float[2, 2] w = {1, 2, 3, 4}, float s = {0.5}, float z = {0}, float b = {4}> {
          q = onnx.brevitas.Quant<signed=1, narrow=0, rounding_mode="ROUND">(w, s, z, b)
          t = Transpose(q)
          y = MatMul(x, t)
        }""")
    )
    assert op_types(normal) == ["Quant", "Transpose", "MatMul"]


def test_operators_of_onnxruntime_get_their_types_from_it() -> None:
    model = model_of("""
        g (float[N, 4] x) => (float[N, K] y) <float[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {
          a = com.microsoft.FusedMatMul<alpha=0.5>(x, w)
          b = com.microsoft.QuickGelu(a)
          y = Relu(b)
        }""")
    normal = normalise(model)
    assert shape_of(normal.graph.output[0].type) == (1, 3)
    assert [node.domain for node in normal.graph.node] == ["com.microsoft"] * 2 + [""]
    assert run(normal, {"x": np.ones((1, 4), np.float32)})[0].shape == (1, 3)


def test_the_other_spelling_of_onnx_own_domain() -> None:
    model = model_of("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }", 9)
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    normal = normalise(model)
    assert [o.domain for o in normal.opset_import] == [""]
    assert normal.graph.node[0].domain == ""


# --- opsets -------------------------------------------------------------------------------------
@pytest.mark.parametrize("opset", [1, 6, 29, 1000])
def test_opsets_out_of_range(opset: int) -> None:
    model = model_of("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    model.opset_import[0].version = opset
    with pytest.raises(ModelError, match="7 to") as caught:
        normalise(model)
    assert caught.value.code == "F002"


def test_operators_younger_than_the_opset_are_expanded_or_listed() -> None:
    normal = normalise(
        model_of("g (float[N, 4] x) => (float[N, 4] y) { [act] y = Swish<alpha=2.0>(x) }", 24)
    )
    assert op_types(normal) == ["Mul", "Sigmoid", "Mul"]
    assert all(node.name.startswith("act/") for node in normal.graph.node)
    x = np.asarray([[-1, 0, 1, 2]], np.float32)
    np.testing.assert_allclose(run(normal, {"x": x})[0], x / (1 + np.exp(-2 * x)), rtol=1e-5)
    with pytest.raises(ModelError, match="no such operator") as caught:
        normalise(
            model_of(
                """
            g (float[N, 4] x) => (float[N, 4] y) <int64 a = {1}> { [sum] c = CumSum(x, a)
              [product] d = CumProd(c, a)
              [noise] y = RandomNormalLike(d) }""",
                26,
            )
        )
    assert caught.value.code == "F004"
    assert caught.value.nodes == ("product", "noise")


VALID = "g (float[1, 4] x) => (float[1, 4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"


def an_attribute_too_many(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("slope", 2))


def a_value_that_is_nowhere(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "nowhere"


def an_operator_that_is_none(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Multiply"


def a_size_that_the_data_do_not_have(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 5


def a_size_below_zero(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def an_element_type_that_is_none(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 99


INVALID = [
    an_attribute_too_many,
    a_value_that_is_nowhere,
    an_operator_that_is_none,
    a_size_that_the_data_do_not_have,
    a_size_below_zero,
    an_element_type_that_is_none,
]


@pytest.mark.parametrize("spoil", INVALID, ids=lambda spoil: spoil.__name__)
def test_invalid_models(spoil: Callable[[onnx.ModelProto], None]) -> None:
    model = model_of(VALID)
    normalise(model)
    spoil(model)
    with pytest.raises(ModelError, match="not valid ONNX") as caught:
        normalise(model)
    assert caught.value.code == "F001"


def test_names_that_are_no_utf8() -> None:
    content = model_of(VALID).SerializeToString().replace(b"Add", b"\xffdd")
    with pytest.raises(ModelError, match="UTF-8") as caught:
        normalise(load(content))
    assert caught.value.code == "F001"
