"""Operators that are not ONNX's own: opset imports, and stand-ins where onnx does not know them."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from lutra.frontends.onnx.proto import with_inner
from lutra.ir.ort import OPSET

QUANTIZED_DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
"""Domains of QONNX (https://github.com/fastmachinelearning/qonnx), by writer."""

FAKE_QUANTIZERS = ("BipolarQuant", "FloatQuant", "IntQuant", "Quant", "Trunc")
"""Their operators: elementwise on the first input, whose type the result has."""

STANDARD_DOMAINS = ("", "ai.onnx.ml")
"""Domains whose operators onnx knows."""


def is_fake_quantizer(node: NodeProto) -> bool:
    return node.domain in QUANTIZED_DOMAINS and node.op_type in FAKE_QUANTIZERS


def complete_imports(model: ModelProto) -> None:
    """Give every domain in use, and no other, one opset import.

    ONNX's own domain is spelled "" everywhere, and imported in any case: at opset `OPSET` if the
    model does not.
    """
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = _plain(entry.domain)
        versions[domain] = max(entry.version, versions.get(domain, 0))
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    del model.opset_import[:]
    for node in with_inner(nodes):
        node.domain = _plain(node.domain)
    for domain in sorted({"", *(node.domain for node in with_inner(nodes))}):
        version = versions.get(domain, 1 if domain else OPSET)
        model.opset_import.append(helper.make_opsetid(domain, version))


def adopt_quantizers(model: ModelProto) -> None:
    """Take onnxruntime's quantizers for ONNX's, which have 4 and 16 bits as well since opset 21."""
    for node in model.graph.node:
        quantizes = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if node.domain == "com.microsoft" and quantizes:
            node.domain = ""


def with_stand_ins(model: ModelProto) -> ModelProto:
    """A copy in which every fake quantizer is an Identity, for onnx and onnxruntime to read.

    Nodes keep their places, names and results.
    """
    twin = ModelProto()
    twin.CopyFrom(model)
    for node in filter(is_fake_quantizer, twin.graph.node):
        stand_in = helper.make_node("Identity", node.input[:1], node.output[:1], node.name)
        node.CopyFrom(stand_in)
    return twin


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
