"""Names and arguments beside Concrete ML's own, from signatures recorded of its release 1.9.0.

What is missing or different stands in `MISSING` and `OTHER`, with the reason. The table of
`docs/migration.md` says the same to users.
"""

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RECORDED = json.loads(
    (Path(__file__).parents[1] / "data" / "concrete_ml_signatures.json").read_text()
)

SAVING = {"dump", "dumps", "dump_dict", "load_dict"}

MISSING = {
    "QuantizedArray": {"__call__"},
    # modules are saved, with what their layers were; inputs are quantized where integers are read
    "QuantizedOp": SAVING
    | {"calibrate_analytical_output", "int_input_names"}
    | {"must_quantize_input", "supported_by_linear_backend"},
    # quantizers are frozen, and made by `UniformQuantizer.fitted`
    "UniformQuantizer": {"compute_quantization_stats", "compute_quantization_parameters"}
    | {"is_equal", "quant_stats", "quant_options", "quant_params", "copy_stats", "copy_opts"}
    | {"copy_params"},
    "FHEModelClient": {"get_tfhers_secret_key"},  # no TFHE-rs
}
"""Methods and properties that Lutra does not have."""

MISSING_CLASSES: set[str] = set()

OTHER = {
    # scale and zero point are given as such, not within objects
    ("QuantizedArray", "__init__"): "n_bits values value_is_float is_signed is_symmetric scale "
    "zero_point",
    ("UniformQuantizer", "__init__"): "n_bits scale zero_point is_signed is_symmetric",
    ("UniformQuantizer", "quant"): "values",  # always int64
    # older releases had `is_signed`
    ("PostTrainingAffineQuantization", "__init__"): "n_bits numpy_model rounding_threshold_bits "
    "is_signed",
    # inputs are prepared by the model; `model=` is what converters give
    ("QuantizedModule", "__init__"): "ordered_module_input_names ordered_module_output_names "
    "quant_layers_dict onnx_model",
    ("FHEModelClient", "get_serialized_evaluation_keys"): "",  # no TFHE-rs
}
"""Arguments that are others."""

DEFAULTS = {("QuantizedModule.compile", "inputs"), ("QuantizedOp.__init__", "op_instance_name")}
"""Arguments with other defaults: data and names are not needed."""

SELF = ("self", "cls")

MORE = {"accumulator", "clear", "guaranteed", "inputs_encryption_status", "model"}
"""Keyword-only arguments that Lutra adds."""

CIRCUIT = {
    "keygen", "encrypt", "run", "decrypt", "encrypt_run_decrypt", "simulate", "graph", "p_error",
    "global_p_error", "complexity", "programmable_bootstrap_count", "statistics", "mlir",
}  # fmt: skip
GRAPH = {"maximum_integer_bit_width", "integer_range", "format"}


def entries() -> Iterator[tuple[str, str, Any]]:
    """(module, name, recorded) of functions and methods; of methods with their class's name."""
    for module, names in RECORDED["modules"].items():
        for name, recorded in names.items():
            if name in MISSING_CLASSES:
                continue
            if isinstance(recorded, list):
                yield module, name, recorded
                continue
            for method, parameters in recorded.items():
                if method not in MISSING.get(name, ()):
                    yield module, f"{name}.{method}", parameters


def ours(module: str, name: str) -> Any:
    """What Lutra has where Concrete ML has `name`."""
    found: Any = importlib.import_module(f"lutra.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("module", "name", "recorded"), list(entries()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_names_and_arguments_are_the_same(module: str, name: str, recorded: Any) -> None:
    if name.partition(".")[0] == "QuantizedModule" and recorded == "property":
        _require_attribute(name.partition(".")[2])
        return
    found = ours(module, name)
    if recorded == "property":
        assert not callable(found)
        return
    given = {n.lstrip("*"): default for n, default in recorded if n not in SELF}
    parameters = {n: p for n, p in inspect.signature(found).parameters.items() if n not in SELF}
    for added in (MORE & parameters.keys()) - given.keys():
        assert parameters.pop(added).kind is inspect.Parameter.KEYWORD_ONLY
    other = OTHER.get(tuple(name.split(".")))  # type: ignore[call-overload]
    if other is not None:
        assert list(parameters) == other.split()
        assert list(parameters) != list(given), "no difference any more"
        return
    assert list(parameters) == list(given)
    for argument, default in given.items():
        if (name, argument) in DEFAULTS:
            continue
        own = parameters[argument].default
        written = None if own is inspect.Parameter.empty else own
        text = getattr(written, "__name__", None) or repr(getattr(written, "value", written))
        assert own is inspect.Parameter.empty if default is None else text == default, argument


def _require_attribute(name: str) -> None:
    """An attribute of modules, set when they are made."""
    from lutra.quantization import QuantizedModule

    source = inspect.getsource(QuantizedModule)
    assert hasattr(QuantizedModule, name) or f"self.{name}" in source


def test_what_is_missing_is_missing() -> None:
    """Else the lists above are out of date."""
    for module, names in RECORDED["modules"].items():
        for name in names:
            if name in MISSING_CLASSES:
                assert not hasattr(importlib.import_module(f"lutra.{module}"), name)
            for method in MISSING.get(name, ()):
                assert method in names[name]
                assert not any(method in vars(base) for base in ours(module, name).__mro__)


def test_layers_have_the_same_names() -> None:
    from lutra import quantization

    for name in RECORDED["operators"]:
        assert issubclass(getattr(quantization, name), quantization.QuantizedOp)
        assert getattr(quantization.quantized_ops, name) is getattr(quantization, name)


def test_circuits_have_the_names_that_walkthroughs_use() -> None:
    from lutra.quantization import CircuitGraph, FheCircuit

    assert CIRCUIT - {"graph"} <= RECORDED["circuit"].keys()
    for name in CIRCUIT - {"graph"}:
        assert hasattr(FheCircuit, name), name
    assert RECORDED["graph"].keys() >= GRAPH
    for name in GRAPH:
        assert hasattr(CircuitGraph, name), name
