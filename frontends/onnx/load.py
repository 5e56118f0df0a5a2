"""Read an ONNX model from a file, from bytes or from a protobuf, external data included."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from lutra.frontends.onnx.proto import subgraphs
from lutra.ir.errors import ModelError

EXPORT_HELP = "export the model to ONNX, for instance with torch.onnx.export"


def load(source: str | Path | bytes | ModelProto) -> ModelProto:
    """The model behind a path, its serialized bytes, or itself; with all its tensors inside.

    A path's suffix says its format: ONNX's text and JSON forms are read too. Large tensors that
    lie beside the file (external data) are read from the file's own folder and nowhere else.

    Raises `ModelError`: F001 where there is no readable model, F005 where external data are
    missing, too short or outside the model's folder.
    """
    if isinstance(source, ModelProto):
        model, folder = source, None
    elif isinstance(source, bytes):
        model, folder = _parse(source, ".onnx", "the bytes"), None
    elif isinstance(source, str | Path):
        path = Path(source)
        model, folder = _parse(_content(path), path.suffix, str(path)), path.parent
    else:
        raise ModelError(
            "F001",
            f"a model is a path, bytes or an onnx.ModelProto, not {type(source).__name__}",
            help=EXPORT_HELP,
        )
    missing = "graph with outputs" if not model.graph.output else "opset"
    if not (model.graph.output and model.opset_import):
        raise ModelError(
            "F001", f"the model names no {missing}: it may be cut short", help=EXPORT_HELP
        )
    return _with_external_data(model, folder)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError("F001", f"{path} cannot be read: {error.strerror}") from error


def _parse(content: bytes, suffix: str, name: str) -> ModelProto:
    if content[:4] == b"PK\x03\x04":
        raise ModelError("F001", f"{name} is a zip archive, not an ONNX model", help=EXPORT_HELP)
    form = onnx.serialization.registry.get_format_from_file_extension(suffix) or "protobuf"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx calls its own text form experimental
            return onnx.load_model_from_string(content, format=form)
    except Exception as error:  # each format raises exceptions of its own
        raise ModelError(
            "F001",
            f"{name} is not an ONNX model ({form}), or is cut short: {error}",
            help=EXPORT_HELP,
        ) from error


def _with_external_data(model: ModelProto, folder: Path | None) -> ModelProto:
    """The model with all tensors inside; the caller's own protobuf is left as it is."""
    if not any(uses_external_data(tensor) for tensor in _tensors(model)):
        return model
    if folder is None:
        raise ModelError(
            "F005",
            "the model keeps tensors in files beside it, and its folder is not known",
            help="give the model's path instead of its contents",
        )
    for tensor in filter(uses_external_data, _tensors(model)):
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # onnx raises ValidationError, ValueError and OSError here
            raise ModelError(
                "F005",
                f"tensor {tensor.name!r}: {error}",
                help=f"keep the model's data files in {folder}, as the exporter wrote them",
            ) from error
    return model


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: initializers, attributes, and those of subgraphs and functions."""
    yield from model.graph.initializer
    yield from _tensors_of(model.graph.node)
    for function in model.functions:
        yield from _tensors_of(function.node)


def _tensors_of(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for graph in subgraphs(node):
            yield from graph.initializer
            yield from _tensors_of(graph.node)
