"""Values keep their names from one text of a module to the next."""

from __future__ import annotations

from lutra.ir.core import Graph, Module, Op
from lutra.ir.naming import Names
from lutra.ir.ops import Add, AddClear, Neg
from lutra.ir.parser import parse_graph, parse_module
from lutra.ir.rewriter import Rewriter

TEXT = """\
%x = input : i4[2] in [-5, 7]
%0 = neg %x : i4[2] in [-7, 5]  loc "first"
%1 = add_clear %0, c=3 : i5[2] in [-4, 8]  loc "second"
%2 = mul_clear %1, c=2 : i6[2] in [-8, 16]  loc "third"
%3 = neg %2 : i5[2] in [-16, 8]
return %3
"""


def module_of(text: str = TEXT) -> tuple[Module, Graph, list[Op]]:
    module = parse_module(text)
    return module, module.main, list(module.main.ops)


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that only one of the texts has."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_the_first_text_is_the_usual_one() -> None:
    module, _, _ = module_of()
    assert Names().text(module) == str(module) == TEXT


def test_names_of_what_stays_outlast_what_goes() -> None:
    module, graph, ops = module_of()
    names = Names()
    before = names.text(module)
    rewriter = Rewriter(graph)
    rewriter.replace(ops[1], ops[0].result)
    gone, come = changed(before, names.text(module))
    assert [line[:2] for line in gone] == [
        "%x",
        "%0",
        "%1",
        "%2",
        "%3",
    ]  # origins and ranges change
    assert [line[:2] for line in come] == ["%x", "%1", "%2", "%3"]


def test_what_comes_in_between_gets_a_new_number() -> None:
    module, graph, ops = module_of()
    names = Names()
    before = names.text(module)
    rewriter = Rewriter(graph)
    once = rewriter.insert_after(ops[1].result, Neg(ops[1].result))
    twice = rewriter.insert_after(once.result, Neg(once.result))
    rewriter.replace_uses(ops[1].result, twice.result, only=[ops[2]])
    gone, come = changed(before, names.text(module))
    assert [line[:2] for line in gone] == ["%1"]
    assert [line[:6] for line in come] == ["%4 = n", "%5 = n", "%1 = a"]


def test_what_is_computed_otherwise_keeps_the_name_of_what_it_replaces() -> None:
    module, graph, ops = module_of()
    names = Names()
    before = names.text(module)
    rewriter = Rewriter(graph)
    ((x,), second) = (ops[1].operands, ops[2])
    rewriter.replace(second, AddClear(Add(second.operands[0], x).result, 3))
    gone, come = changed(before, names.text(module))
    assert {line[:2] for line in come} >= {"%1", "%4"}
    assert not any(line.startswith(("%0", "return")) for line in (*gone, *come))


def test_a_copy_is_named_as_its_original() -> None:
    module, _, _ = module_of()
    names = Names()
    text = names.text(module)
    copy = module.clone()
    ops = list(copy.main.ops)
    assert names.text(copy) == text
    Rewriter(copy.main).replace(ops[4], ops[3].result)
    gone, come = changed(text, names.text(copy))
    assert [gone[0][:2], come] == ["%3", ["return %2"]]


def test_inputs_keep_their_own_names() -> None:
    module, graph, _ = module_of()
    names = Names()
    names.text(module)
    x = Rewriter(graph).input("4", graph.inputs[0].result.type)
    Rewriter(graph).returns([Neg(x).result])
    text = names.text(module)
    assert "%4 = input" in text
    assert str(parse_graph(text)) == str(graph)
