"""What reads a weighted layer's result before the next look-up, at the float level."""

from __future__ import annotations

from lutra.ir.core import Op, Value
from lutra.ir.ops import Observe, Onnx
from lutra.ir.traits import WEIGHTED, Trait, trait
from lutra.passes.flow import Flow, affine_constant, is_onnx
from lutra.passes.lower_movement import RESHAPES


def is_fittable(layer: Onnx, flow: Flow) -> bool:
    """Whether `fit-weights` can give a layer's weights another scale.

    It can where look-ups read the sum that the result is part of, reshaped or transposed, and
    where other layers of that kind read it as it is.
    """
    return _fits(layer.results[0], flow, moved=False)


def _fits(value: Value, flow: Flow, moved: bool) -> bool:
    return all(_takes(user, flow, moved) for user in value.users)


def _takes(user: Op, flow: Flow, moved: bool) -> bool:
    if user not in flow.demanded or isinstance(user, Observe) or not isinstance(user, Onnx):
        return True
    if is_onnx(user, *RESHAPES, "Transpose"):
        return _fits(user.results[0], flow, moved=True)
    if is_onnx(user, *WEIGHTED):
        return not moved and not flow.is_product(user) and is_fittable(user, flow)
    if affine_constant(user) is not None:
        return _fits(user.results[0], flow, moved)
    if flow.is_linear(user):
        return not moved and is_onnx(user, "Add", "Sub") and _fits(user.results[0], flow, moved)
    return trait(user) is Trait.ELEMENTWISE and not flow.picks(user)


def meets_itself(layer: Onnx, flow: Flow) -> bool:
    """Whether output channels of a layer are added up before a look-up reads them.

    They need one scale then.
    """
    stack, seen = [layer.results[0]], {layer.results[0]}
    while stack:
        for user in stack.pop().users:
            if not isinstance(user, Onnx) or user not in flow.demanded:
                continue
            if trait(user) is Trait.LINEAR and not is_onnx(
                user, "AveragePool", "GlobalAveragePool"
            ):
                return True
            if trait(user) is Trait.STRUCTURAL or flow.is_linear(user) or affine_constant(user):
                stack += [result for result in user.results if result not in seen]
                seen.update(user.results)
    return False
