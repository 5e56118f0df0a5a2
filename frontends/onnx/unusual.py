"""Cases of operators that onnxruntime lacks, or computes otherwise than ONNX says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from lutra.frontends.onnx.attributes import attributes_of
from lutra.frontends.onnx.body import Body
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import element_type_of, shape_of


def usual(draft: Draft, node: NodeProto) -> GraphProto | None:
    """What stands for a node at opset `OPSET`; None where it can stay."""
    make = _CASES.get(node.op_type) if not node.domain else None
    return make(draft, node) if make else None


def _top_k(draft: Draft, node: NodeProto) -> GraphProto | None:
    """TopK(x) of uint64: i = indices of TopK(x - 2^63), x[i]"""
    x, count = node.input
    if element_type_of(draft.types().get(x)) != TensorProto.UINT64:
        return None
    given = attributes_of(node)
    body = Body()
    shifted = body.node("BitwiseXor", x, body.constant(1 << 63, np.uint64))
    order = body.node("Cast", shifted, to=TensorProto.INT64)
    _, indices = body.results("TopK", 2, order, count, name=node.name, **given)
    values = body.node("GatherElements", x, indices, axis=given.get("axis", -1))
    return body.graph(values, indices)


def _batch_normalization(draft: Draft, node: NodeProto) -> GraphProto | None:
    """BatchNormalization in training mode: by the batch's own mean and variance.

    The running ones are `momentum * old + (1 - momentum) * the batch's`.
    """
    given, types = attributes_of(node), draft.types()
    shape = shape_of(types.get(node.input[0]))
    one_type = len({element_type_of(types.get(name)) for name in node.input}) == 1
    if not given.get("training_mode", 0) or shape is None or not one_type:
        return None
    body = Body()
    x, scale, bias, *running = node.input
    dtype = helper.tensor_dtype_to_np_dtype(element_type_of(types.get(x)))
    axes = body.constant([axis for axis in range(len(shape)) if axis != 1], np.int64)
    wide = body.constant([-1, *[1] * (len(shape) - 2)], np.int64)
    mean = body.node("ReduceMean", x, axes)
    centred = body.node("Sub", x, mean)
    variance = body.node("ReduceMean", body.node("Mul", centred, centred), axes)
    epsilon = body.constant(given.get("epsilon", 1e-5), dtype)
    deviation = body.node("Sqrt", body.node("Add", variance, epsilon))
    scale, bias = (body.node("Reshape", value, wide) for value in (scale, bias))
    scaled = body.node("Mul", body.node("Div", centred, deviation, name=node.name), scale)
    momentum = given.get("momentum", 0.9)
    old, new = (body.constant(part, dtype) for part in (momentum, 1 - momentum))
    flat = body.constant([-1], np.int64)
    statistics = [
        body.node(
            "Add",
            body.node("Mul", before, old),
            body.node("Mul", body.node("Reshape", now, flat), new),
        )
        for before, now in zip(running, (mean, variance), strict=True)
    ]
    return body.graph(body.node("Add", scaled, bias), *statistics)


def _resize(draft: Draft, node: NodeProto) -> GraphProto | None:
    """Resize by scales that give no whole number of pixels, corners aligned.

    Pixel i of the result is pixel i (n - 1) / (scale n - 1) of n in ONNX, and
    i (n - 1) / (floor(scale n) - 1) in onnxruntime: a window that ends at
    (floor(scale n) - 1) / (scale n - 1) of the image is the former.
    """
    given = attributes_of(node)
    shape = shape_of(draft.types().get(node.input[0]))
    tensor = draft.constants().get(node.input[2]) if len(node.input) > 2 else None
    mode = given.get("coordinate_transformation_mode")
    if mode != "align_corners" or shape is None or tensor is None:
        return None
    axes = given.get("axes", range(len(shape)))
    sizes = numpy_helper.to_array(tensor).astype(np.float64) * [shape[axis] for axis in axes]
    whole = np.floor(sizes)
    if len(node.input) > 3 or (sizes == whole).all():
        return None
    ends = np.where(whole > 1, (whole - 1) / np.where(whole > 1, sizes - 1, 1), 0)
    body = Body()
    window = body.constant([*np.zeros(len(ends)), *ends], np.float32)
    given["coordinate_transformation_mode"] = "tf_crop_and_resize"
    return body.graph(
        body.node("Resize", node.input[0], window, node.input[2], name=node.name, **given)
    )


def _reduce_bool(draft: Draft, node: NodeProto) -> GraphProto | None:
    """ReduceMax(x) of no booleans -> bool(ReduceMax(uint8(x))), and ReduceMin alike"""
    type = draft.types().get(node.input[0])
    if element_type_of(type) != TensorProto.BOOL or 0 not in (shape_of(type) or ()):
        return None
    body = Body()
    x = body.node("Cast", node.input[0], to=TensorProto.UINT8)
    found = body.node(node.op_type, x, *node.input[1:], name=node.name, **attributes_of(node))
    return body.graph(body.node("Cast", found, to=TensorProto.BOOL))


def _pool(draft: Draft, node: NodeProto) -> GraphProto | None:
    """A pool that rounds up, where that makes windows that begin behind the image.

    ONNX and onnxruntime leave such windows out, ONNX's shape inference counts them. Along their
    axes rounding down gives what is left; along others padding does what rounding up did.
    """
    given, shape = attributes_of(node), shape_of(draft.types().get(node.input[0]))
    if not given.get("ceil_mode", 0) or given.get("auto_pad", "NOTSET") != "NOTSET" or not shape:
        return None
    size = np.array(shape[2:])
    kernel, ones = np.array(given["kernel_shape"]), [1] * len(size)
    stride = np.array(given.get("strides", ones))
    reach = (kernel - 1) * np.array(given.get("dilations", ones)) + 1
    begin, end = np.reshape(given.get("pads", [0] * (2 * len(size))), (2, -1))
    steps = size + begin + end - reach
    last = -(-steps // stride)
    outside = last * stride >= size + begin
    added = np.where(outside, 0, last * stride - steps)
    if not outside.any() or (added.any() and given.get("count_include_pad", 0)):
        return None
    given |= {"ceil_mode": 0, "pads": [*map(int, begin), *map(int, end + added)]}
    count = len(node.output)
    body = Body()
    return body.graph(*body.results(node.op_type, count, *node.input, name=node.name, **given))


_CASES: dict[str, Callable[[Draft, NodeProto], GraphProto | None]] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_normalization,
    "LpPool": _pool,
    "MaxPool": _pool,
    "ReduceMax": _reduce_bool,
    "ReduceMin": _reduce_bool,
    "Resize": _resize,
    "TopK": _top_k,
}
