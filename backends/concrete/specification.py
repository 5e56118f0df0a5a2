"""What client and server of a circuit need, in files.

    client.json    the cryptographic parameters, as Concrete writes them (`fhe.ClientSpecs`)
    circuit.json   inputs, outputs, how the circuit was compiled, and with which version
    server.mlir    the circuit, as Concrete's compiler reads it

The client needs the first two, which say nothing of the circuit's weights. The server compiles the
third: machine code would tie the files to one kind of processor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from lutra.backends.concrete.client import Client
from lutra.backends.concrete.emission import Port, Program
from lutra.backends.concrete.native import Compiled
from lutra.backends.concrete.options import Options
from lutra.backends.concrete.server import Server
from lutra.ir.errors import ArtifactError

PARAMETERS, CIRCUIT, TEXT = "client.json", "circuit.json", "server.mlir"

CLIENT_PARTS = (PARAMETERS, CIRCUIT)
"""What the client needs."""

PACKAGE = "concrete-python"


def specification(program: Program, compiled: Compiled, options: Options) -> dict[str, bytes]:
    """The files of a compiled circuit. Equal circuits give equal files."""
    circuit = {
        PACKAGE: version(PACKAGE),
        "inputs": [asdict(port) for port in program.inputs],
        "outputs": [asdict(port) for port in program.outputs],
        "options": {**asdict(options), "strategy": compiled.strategy},
    }
    return {
        PARAMETERS: bytes(compiled.info.serialize()),
        CIRCUIT: json.dumps(circuit, indent=1, sort_keys=True).encode(),
        TEXT: program.text.encode(),
    }


def client(parts: Mapping[str, bytes]) -> Client:
    """The client of these files. Errors: A002 for damaged ones, A004 for other versions' ones."""
    circuit = _circuit(parts)
    try:
        return Client.of(_ports(circuit, "inputs"), _ports(circuit, "outputs"), parts[PARAMETERS])
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(PARAMETERS, error) from error


def server(parts: Mapping[str, bytes]) -> Server:
    """The server of these files, its code compiled.

    Errors: A002 for damaged files, A004 where other parameters than the client's come out.
    """
    circuit = _circuit(parts)
    try:
        options = Options(**circuit["options"])
        text = parts[TEXT].decode()
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(CIRCUIT, error) from error
    compiled = Compiled(text, options, options.strategy, library=True)
    if compiled.info.serialize() != parts[PARAMETERS]:
        raise ArtifactError(
            "A004",
            f"{PACKAGE} {version(PACKAGE)} derives other parameters for this circuit than "
            f"{circuit.get(PACKAGE)} did when the model was saved",
            help=f"pip install {PACKAGE}=={circuit.get(PACKAGE)}, or save the model again",
        )
    return Server(compiled, len(_ports(circuit, "inputs")))


def _circuit(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """The circuit's description, of this version of Concrete."""
    try:
        circuit: dict[str, Any] = json.loads(parts[CIRCUIT])
        written = circuit[PACKAGE]
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(CIRCUIT, error) from error
    if written != version(PACKAGE):
        raise ArtifactError(
            "A004",
            f"saved with {PACKAGE} {written}, this is {version(PACKAGE)}",
            help=f"pip install {PACKAGE}=={written}, or save the model again",
        )
    return circuit


def _ports(circuit: Mapping[str, Any], key: str) -> Sequence[Port]:
    return [Port(**{**entry, "shape": tuple(entry["shape"])}) for entry in circuit[key]]


def _damaged(name: str, error: Exception) -> ArtifactError:
    return ArtifactError("A002", f"{name} of the circuit is damaged: {error}")
