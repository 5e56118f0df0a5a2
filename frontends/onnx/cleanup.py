"""Remove nodes that do nothing at inference, and branches that are decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import rename, shape_of, unused


def drop_dead_nodes(draft: Draft) -> bool:
    """Remove nodes of which nothing is read, and constants that nothing reads."""
    before = len(draft.graph.node)
    while True:
        used = draft.used()
        kept = [node for node in draft.graph.node if used.intersection(node.output)]
        if len(kept) == len(draft.graph.node):
            break
        draft.set_nodes(kept)
    draft.drop_unused()
    return len(draft.graph.node) < before


def drop_identities(draft: Draft) -> bool:
    """Identity(x), Cast(x) to its own type, Dropout(x) outside training -> x.

    One between a graph's input and its output stays, as Identity: both names are the caller's.
    """
    constants = draft.constants()
    used, types = draft.used(), draft.types()
    outputs = {output.name for output in draft.graph.output}
    fixed = {*draft.inputs, *constants}
    kept, names = [], dict[str, str]()
    for node in draft.graph.node:
        rename([node], names)
        if not (_casts_nothing(node, types) or _does_nothing(node, constants, used)):
            kept.append(node)
            continue
        source, target = node.input[0], node.output[0]
        if target not in outputs:
            names[target] = source
        elif source in fixed or source in outputs:
            kept.append(helper.make_node("Identity", [source], [target], node.name))
        else:  # the producer writes the output's name instead
            rename(kept, {source: target})
            names = {k: target if v == source else v for k, v in names.items()}
            names[source] = target
    changed = len(kept) < len(draft.graph.node)
    draft.set_nodes(kept)
    return changed


def fix_masks(draft: Draft) -> bool:
    """The mask of a Dropout outside training, which drops nothing -> a constant."""
    constants, used, types = draft.constants(), draft.used(), draft.types()
    changed = False
    for node in draft.graph.node:
        shape = shape_of(types.get(node.input[0])) if node.op_type == "Dropout" else None
        read = len(node.output) > 1 and node.output[1] in used
        if shape is not None and read and _drops_nothing(node, constants):
            draft.add_constant(numpy_helper.from_array(np.ones(shape, bool), node.output[1]))
            del node.output[1:]
            changed = True
    return changed


def _does_nothing(node: NodeProto, constants: dict[str, TensorProto], used: set[str]) -> bool:
    if node.domain or node.op_type not in ("Identity", "Dropout"):
        return False
    return not any(mask in used for mask in node.output[1:]) and _drops_nothing(node, constants)


def _drops_nothing(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Whether a node passes its operand on, as Dropout does outside training or at ratio 0."""
    if len(node.input) < 3 or not node.input[2]:
        return True
    ratio, training = (constants.get(name) for name in node.input[1:3])
    return any(t is not None and not numpy_helper.to_array(t).any() for t in (ratio, training))


def _casts_nothing(node: NodeProto, types: Mapping[str, TypeProto]) -> bool:
    if node.domain or node.op_type != "Cast" or node.input[0] not in types:
        return False
    to: int = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    return bool(types[node.input[0]].tensor_type.elem_type == to)


def fold_branches(draft: Draft) -> bool:
    """If(constant) -> the nodes of the branch that it takes."""
    constants, taken = draft.constants(), draft.names()
    nodes: list[NodeProto] = []
    changed = False
    for node in draft.graph.node:
        decided = node.op_type == "If" and not node.domain and node.input[0] in constants
        if decided:
            holds = numpy_helper.to_array(constants[node.input[0]]).any()
            wanted = "then_branch" if holds else "else_branch"
            branch = next(a.g for a in node.attribute if a.name == wanted)
            nodes.extend(splice(draft, branch, node, node.output, taken))
            changed = True
        else:
            nodes.append(node)
    draft.set_nodes(nodes)
    return changed


def splice(
    draft: Draft, graph: GraphProto, node: NodeProto, results: Sequence[str], taken: set[str]
) -> Iterator[NodeProto]:
    """The nodes of `graph`, which reads the values around it, to stand in `node`'s place.

    `results` names the graph's outputs outside; an empty name is an output that nobody wants.
    Values that the graph defines, and nodes without names, get names that begin with the node's
    and are not among those `taken`.
    """
    body = GraphProto()
    body.CopyFrom(graph)
    made = [name for inner in body.node for name in inner.output if name]
    made += [tensor.name for tensor in body.initializer]
    names = {name: unused(f"{node.name}/{name}", taken) for name in made}
    rename(body.node, names)
    for tensor in body.initializer:
        tensor.name = names[tensor.name]
        draft.add_constant(tensor)
    for inner in body.node:
        inner.name = inner.name or f"{node.name}/{inner.op_type}"
    yield from body.node
    for result, output in zip(results, body.output, strict=False):
        if result:
            yield helper.make_node("Identity", [names.get(output.name, output.name)], [result])
