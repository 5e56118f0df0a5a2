"""Any ONNX model -> one that the IR can hold node by node."""

from __future__ import annotations

from onnx import ModelProto

from lutra.frontends.onnx.batch import free_batch
from lutra.frontends.onnx.classical import expand_classical
from lutra.frontends.onnx.cleanup import (
    drop_dead_nodes,
    drop_identities,
    fix_masks,
    fold_branches,
)
from lutra.frontends.onnx.convert import checked, convert, inline_functions
from lutra.frontends.onnx.domains import adopt_quantizers
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.expand import expand_newer, expand_stuck, write_defaults
from lutra.frontends.onnx.fold import fold_constants, lift_constants
from lutra.frontends.onnx.names import name_nodes
from lutra.frontends.onnx.results import trim_results
from lutra.frontends.onnx.rewrites import write_plainer
from lutra.frontends.onnx.shapes import Shapes, fix_inputs, infer, require_static
from lutra.frontends.onnx.support import (
    Further,
    reject_refused,
    require_runnable,
    set_aside_newer,
    set_aside_unsupported,
)
from lutra.frontends.onnx.young import hold_young
from lutra.ir.ort import OPSET

STEPS = (
    expand_classical,
    lift_constants,
    write_plainer,
    fold_constants,
    fold_branches,
    fix_masks,
    drop_identities,
    drop_dead_nodes,
)


def normalise(
    model: ModelProto, *, shapes: Shapes | None = None, further: Further | None = None
) -> ModelProto:
    """The same function as `model`, on one sample, as a flat graph at opset `lutra.ir.ort.OPSET`.

    - A symbolic first dimension of an input is the batch and becomes 1; a static one stays.
      `shapes` maps an input's name to its shape where other dimensions are open.
    - Every value has a known element type and a static shape.
    - Initializers are constants, also where the model lists them as inputs. What depends on
      constants and shapes alone is folded, except that quantized weights stay quantized.
    - Linear models and tree ensembles of `ai.onnx.ml` are layers, and ensembles of sums of trees.
    - Local functions and decided branches are inlined; Identity and Dropout are gone.
    - A node's results are those that are read, and those in front of them.
    - Every node has a name of its own: the model's where it gives one, else like `Conv_3`.

    further: where nodes cannot be imported, says what else is in the way, so that one error can
    tell all; it is given the model with stand-ins for them, in the domain `support.REFUSED`.

    Raises `ModelError`: F001 invalid model, F002 opset, F003 open shapes, F004 unsupported nodes
    (all of them), F006 refused by onnxruntime; `InputError` I001 or I004 where `shapes` does not
    fit. The argument is not changed.
    """
    draft = checked(model)
    fix_inputs(draft, shapes)
    name_nodes(draft)
    inline_functions(draft)
    if draft.version <= OPSET:
        simplify(draft)  # what the converter then sees has its shapes
    else:
        hold_young(draft)
        expand_newer(draft)
        set_aside_newer(draft)
    convert(draft)
    adopt_quantizers(draft.model)
    simplify(draft)
    while expand_stuck(draft) or set_aside_unsupported(draft):
        simplify(draft)
    reject_refused(draft, further)
    require_static(draft)
    free_batch(draft)
    require_runnable(draft)
    return draft.finish()


def simplify(draft: Draft) -> None:
    """Infer, fold and clean up until nothing changes."""
    changed = True
    while changed:
        name_nodes(draft)
        write_defaults(draft)
        trim_results(draft)
        infer(draft)
        changed = False
        for step in STEPS:
            changed |= step(draft)
