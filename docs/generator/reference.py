"""Operators, error codes and metrics."""

from __future__ import annotations

import ast
import inspect
import runpy
from collections.abc import Callable
from pathlib import Path

from generator.markdown import fenced, first_paragraph, table
from lutra.experiment import metrics
from lutra.ir import errors, traits
from lutra.passes.lower_joins import JOINS
from lutra.passes.lower_quantized import LOWERINGS
from lutra.passes.rules_float import FLOAT_RULES

ROOT = Path(__file__).parents[2]


def operators() -> str:
    traits_ = table(("trait", "meaning"), *((t.name.lower(), t.value) for t in traits.Trait))
    rows = [
        (f"`{name}`", found.name.lower(), _treatment(name, found))
        for name, found in sorted(traits.TRAITS.items())
    ]
    return f"{traits_}\n\n{table(('operator', 'trait', 'what becomes of it'), *rows)}"


DEFAULTS = {
    traits.Trait.ELEMENTWISE: "part of a table look-up",
    traits.Trait.STRUCTURAL: "integers are moved alike",
}


def _treatment(name: str, trait: traits.Trait) -> str:
    """The equations of what rewrites an operator, and of what makes integers of it."""
    rules = [rule for rule in FLOAT_RULES if name in getattr(rule, "op_types", ())]
    found = [*rules, *(lowering[name] for lowering in (LOWERINGS, JOINS) if name in lowering)]
    equations = [f"`{inspect.getdoc(function).splitlines()[0]}`" for function in found]
    own = [e for e in equations if f"{name}(" in e.partition("->")[0]]
    if trait in DEFAULTS:
        return "; ".join([DEFAULTS[trait], *own])
    return "; ".join(own or equations)


def node_cases() -> str:
    """How ONNX's own node tests fare, as tests/frontends/test_onnx_nodes.py sees to it."""
    declared = runpy.run_path(str(ROOT / "tests" / "node_cases.py"))
    reasons = declared["EXCEPTIONS"]
    cases = declared["CASES"]
    client = ", ".join(f"`{name}`" for name in declared["CLIENT"])
    rows = [
        (reason, ", ".join(f"`{name}`" for name, why in reasons.items() if why == reason))
        for reason in dict.fromkeys(reasons.values())
    ]
    return (
        f"Of the {cases} cases of these operators and of {client}, the expanded ones among them, "
        f"{cases - len(reasons)} give what ONNX says, and {len(reasons)} are refused:\n\n"
        + table(("because of", "refused cases"), *rows)
    )


def nondecreasing() -> str:
    return ", ".join(f"`{name}`" for name in sorted(traits.NONDECREASING))


def error_codes() -> str:
    helps = _helps()
    ways_out = {code: "; ".join(helps.get(code, [])) for code in errors.CODES}
    rows = [
        (f"`{code}`", meaning, ways_out[code] or errors.WAYS_OUT[code])
        for code, meaning in errors.CODES.items()
    ]
    return table(("code", "meaning", "way out"), *rows)


def error_classes() -> str:
    found = [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.Error) and cls is not errors.Error
    ]
    return table(("class", "stands for"), *((f"`{c.__name__}`", first_paragraph(c)) for c in found))


def _helps() -> dict[str, list[str]]:
    """What the sources offer as `help` with each code; computed parts as an ellipsis."""
    found: dict[str, list[str]] = {}
    for folder in ("ir", "passes", "frontends", "backends", "lutra"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    _note(node, found)
    return found


def _note(function: ast.FunctionDef, found: dict[str, list[str]]) -> None:
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, ast.Constant) and first.value in errors.CODES:
            known = found.setdefault(str(first.value), [])
            for keyword in (k for k in node.keywords if k.arg == "help"):
                name = getattr(keyword.value, "id", "")
                texts = map(_literal, assigned.get(name, [keyword.value]))
                known += [text for text in texts if text and text not in known]


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "…"
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "did_you_mean":
        return "the nearest name that there is"
    if isinstance(node, ast.IfExp):
        return "; ".join(filter(None, (_literal(node.body), _literal(node.orelse))))
    return ""


def metric_table() -> str:
    rows = [(f"`{name}`", first_paragraph(metric)) for name, metric in metrics.OWN.items()]
    return table(("metric", "measures"), *rows)


def example_error(run: Callable[[], object]) -> str:
    """What a failure prints."""
    try:
        run()
    except errors.Error as error:
        return fenced(error.render())
    raise AssertionError("nothing failed")
