"""The Concrete backend as a whole: what it gives, what it refuses, what it costs."""

import gc
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends import concrete
from lutra.backends.base import Measured
from lutra.backends.concrete import Ciphertexts, EvaluationKeys, Options, emit, estimate
from lutra.backends.concrete.emission import program_of
from lutra.ir.analysis import pbs_by_bits
from lutra.ir.errors import BackendError, Error, InputError
from lutra.ir.parser import parse_graph

LINEAR = """
%x = input : u2[3] in [0, 3]
%s = input : i3[] in [-4, 3]
%0 = matmul %x, w=[[1, -2], [3, 0], [-4, 7]]
%1 = add_clear %0, c=[5, 0]
return %1, %s, names=["a", "b"]
"""
TABLE = """
%x = input : u2[3] in [0, 3]
%0 = lookup %x, base=0, table=[3, 1, -2, 0]  loc "/act/Relu"
return %0
"""
WIDE = """
%x = input : u4[4] in [0, 15]
%0 = lookup %x, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
%1 = matmul %0, w=[[100, -90], [-87, 93], [71, 99], [99, 98]]
%2 = assume %1, lo=-128, hi=119
%3 = round %2, lsbs=4
%4 = lookup %3, base=-8, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
return %4
"""


def test_is_a_backend() -> None:
    assert concrete.name == "concrete"
    assert concrete.limits.lookup_bits == 16
    assert concrete.price(4) < concrete.price(5) < concrete.price(13) < concrete.price(16)


def test_importing_it_imports_neither_concrete_nor_torch() -> None:
    code = (
        "import sys, lutra.backends.concrete; print({'concrete', 'mlir', 'torch'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert run.stdout == "set()\n", run.stderr


@pytest.mark.encrypted
def test_samples_are_run_one_by_one() -> None:
    executable = emit(parse_graph(LINEAR), strategy="precision")
    seen: list[tuple[int, int]] = []
    a, b = executable.run(
        np.array([[0, 1, 2], [3, 3, 3], [0, 0, 0]], np.uint8),
        np.array([-4, 3, 0]),
        progress=lambda done, of: seen.append((done, of)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert a.tolist() == [[0, 14], [5, 15], [5, 0]]
    assert b.tolist() == [-4, 3, 0]
    empty = executable.run(np.zeros((0, 3), int), np.zeros(0, int))
    assert [array.shape for array in empty] == [(0, 2), (0,)]
    assert isinstance(executable, Measured)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([np.zeros((1, 3), int)], "I004"),
        ([np.zeros((2, 3), int), np.zeros(1, int)], "I001"),
        ([np.zeros((1, 2), int), np.zeros(1, int)], "I001"),
        ([np.int64(1), np.int64(1)], "I001"),
        ([np.full((1, 3), 4), np.zeros(1, int)], "I002"),
        ([np.zeros((1, 3)), np.zeros(1, int)], "I002"),
    ],
)
@pytest.mark.encrypted
def test_inputs_that_do_not_fit(inputs: list[np.ndarray], code: str) -> None:
    executable = emit(parse_graph(LINEAR), strategy="precision")
    with pytest.raises(InputError) as caught:
        executable.run(*inputs)
    assert caught.value.code == code


@pytest.mark.encrypted
def test_client_and_server_exchange_bytes(encrypted: Encrypted) -> None:
    executable = encrypted.compile(TABLE)
    client = executable.client
    sent = client.encrypt(np.array([0, 1, 2])).to_bytes()
    keys = EvaluationKeys.from_bytes(client.evaluation_keys.to_bytes())
    received = executable.run_encrypted(Ciphertexts.from_bytes(sent), keys).to_bytes()
    (result,) = client.decrypt(Ciphertexts.from_bytes(received))
    assert result.tolist() == [3, 1, -2]


@pytest.mark.encrypted
def test_seeds_give_the_same_secret_keys_again() -> None:
    first, second, other = (emit(parse_graph(LINEAR), strategy="precision") for _ in range(3))
    first.keygen(seed=2**100)
    second.keygen(seed=2**100)
    other.keygen()
    sample = np.array([3, 2, 1]), np.array(-4)
    results = first.run_encrypted(first.client.encrypt(*sample))
    decrypted, garbage = second.client.decrypt(results), other.client.decrypt(results)
    assert decrypted[0].tolist() == [10, 1]
    assert any(a.tolist() != b.tolist() for a, b in zip(decrypted, garbage, strict=True))
    with pytest.raises(InputError, match="seed=0"):
        emit(parse_graph(LINEAR), strategy="precision").keygen(seed=0)


@pytest.mark.parametrize("row", ["max %x, %y", "mul %x, %y", "mul %x, %x", "mul %y, %y"])
def test_bootstraps_are_those_of_the_analysis(row: str) -> None:
    graph = parse_graph(
        "%x = input : i4[5] in [-8, 7]\n%y = input : u3[5] in [0, 7]\n"
        f"%0 = {row}\n%1 = lookup %y, base=0, table=[1, 0, 3, 2, 1, 0, 3, 2]\nreturn %0, %1\n"
    )
    assert estimate(graph, strategy="precision").bootstraps_by_bits == pbs_by_bits(graph)


def test_statistics_tell_what_each_operation_costs() -> None:
    found = estimate(parse_graph(WIDE), strategy="precision")
    assert found.bootstraps_by_bits == {4: 6}
    assert [op.bootstraps for op in found.ops] == [4, 2]
    assert found.ops[0].op.opname == "lookup"
    assert sum(op.price for op in found.ops) == pytest.approx(found.price)
    assert 0 < found.p_error <= 1e-5
    flat = found.flat()
    assert flat["bootstraps"] == 6
    assert flat["bootstraps_4_bits"] == 6
    assert flat["bootstrap_key_bytes"] > 1e6


def test_what_nothing_reads_costs_nothing() -> None:
    unread = TABLE.replace("return %0", "return %x")
    assert estimate(parse_graph(unread), strategy="precision").bootstraps == 0


def test_estimates_are_what_gets_built() -> None:
    built = emit(parse_graph(TABLE))
    assert built.costs.price == estimate(parse_graph(TABLE)).price
    assert built.statistics == built.costs.flat()


def test_needed_widths_cost_less_than_full_ones() -> None:
    needed, full = (
        estimate(parse_graph(WIDE), widths=widths, strategy="precision")
        for widths in ("needed", "full")
    )
    assert needed.price < full.price


def test_the_better_strategy_is_kept() -> None:
    prices = {
        strategy: estimate(parse_graph(WIDE), strategy=strategy).price
        for strategy in ("precision", "precision_and_norm2")
    }
    best = estimate(parse_graph(WIDE))
    assert best.price == min(prices.values())
    assert best.price == prices[best.strategy]


def test_wide_lookups_share_parameters() -> None:
    table = np.random.default_rng(0).integers(0, 8, 2**10).tolist()
    text = f"%x = input : u10[1] in [0, 1023]\n%0 = lookup %x, base=0, table={table}\nreturn %0"
    found = estimate(parse_graph(text))
    assert found.strategy == "mono"
    assert found.bootstrap_key_bytes + found.keyswitch_key_bytes < 1e9


def test_p_errors_are_bounds() -> None:
    assert estimate(parse_graph(TABLE), p_error=1e-12, strategy="precision").p_error <= 1e-12
    found = estimate(parse_graph(TABLE), p_error=None, global_p_error=1e-6, strategy="precision")
    assert found.global_p_error <= 1e-6


@pytest.mark.parametrize(
    "options",
    [{"p_error": 0}, {"global_p_error": 1.5}, {"strategy": "cheap"}, {"widths": "narrow"}],
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        Options(**options)
    assert caught.value.code == "I005"


def error_of(text: str) -> Error:
    with pytest.raises(BackendError) as caught:
        estimate(parse_graph(text), strategy="precision")
    return caught.value


def test_too_wide_a_table_has_no_parameters() -> None:
    error = error_of(
        f"%x = input : u17[1] in [0, 131071]\n"
        f"%0 = lookup %x, base=0, table={[i % 2 for i in range(2**17)]}\nreturn %0"
    )
    assert error.code == "B004"
    assert "round" in error.help


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%0 = round %x, lsbs=1\nreturn %0", "is read by something else than look-ups"),
        ("%0 = slice %x, starts=[0], stops=[0], steps=[1]\nreturn %0", "makes no integers"),
        (
            "%0 = dequantize %x, scale=[0.5], zero_point=[0], offset=[0.0]\nreturn %0",
            "is no operation of integer circuits",
        ),
    ],
)
def test_what_is_no_integer_circuit(body: str, message: str) -> None:
    error = error_of(f"%x = input : u2[3] in [0, 3]\n{body}")
    assert error.code == "B002"
    assert message in error.message
    assert error.lines


def test_locations_number_the_operations() -> None:
    program = program_of(parse_graph(TABLE))
    assert 'loc("1")' in program.text
    assert program.ops[1].loc == ("/act/Relu",)


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    executable = emit(parse_graph(TABLE))
    assert len(list(tmp_path.iterdir())) == 1
    del executable
    gc.collect()
    assert not list(tmp_path.iterdir())
