"""Files for client and server, of Lutra and of Concrete ML 1.9: sizes, seconds to save and load.

    python -m benchmarks.deployment iris_fc digits_cnn

Both sides quantize at the same settings; Concrete ML runs in an environment of its own, which the
first run creates (`benchmarks.versus.environment`). Seconds are processor time, the best of five.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import lutra
from benchmarks.versus import environment
from benchmarks.versus.configurations import DEFAULT_P_ERROR, Configuration
from benchmarks.versus.ours import best, same_settings, shaped
from benchmarks.versus.peer import CALIBRATION, Peer, Request
from benchmarks.versus.subjects import Subject, subjects
from lutra.artifact import Artifact
from lutra.message import Message

SETTINGS = {"iris_fc": "n5_r5A", "digits_cnn": "n4_r5A_p0.01"}
"""Of both sides, as `benchmarks.versus` names them; with 5 bits left by rounding keys are small."""

TIMEOUT = 3600.0


@dataclass(frozen=True)
class Deployed:
    """Sizes in bytes: files of both sides, evaluation keys, one sample's inputs. Seconds."""

    server: int
    client: int
    keys: int
    inputs: int
    save: float
    load_server: float
    load_client: float


def ours(subject: Subject, configuration: Configuration) -> Deployed:
    """Lutra's side. `precision` is Concrete ML's strategy, too."""
    model = lutra.compile(
        subject.model,
        subject.train.x[:CALIBRATION],
        same_settings(configuration),
        p_error=configuration.p_error or DEFAULT_P_ERROR,
        options={"strategy": "precision"},
    )
    _ = model.executable  # compiling is not saving
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.lutra"
        model.save(path)
        part = Artifact.read(path).client_part()
        client = lutra.Client(part)
        client.keygen()
        inputs = client.encrypt(shaped(model, subject.test)[:1])
        return Deployed(
            server=path.stat().st_size,
            client=len(part),
            keys=len(Message(client.evaluation_keys).keys()),
            inputs=len(inputs),
            save=best(lambda: model.save(path), 5.0, 5),
            load_server=best(lambda: lutra.Server(path), 5.0, 5),
            load_client=best(lambda: lutra.Client(part), 5.0, 5),
        )


def compare(subject: Subject, peer: Peer) -> list[str]:
    """Rows of the table in docs/serving.md."""
    label = SETTINGS[subject.name]
    configuration = Configuration.parse(label)
    answer = peer.ask(Request.of("deploy", subject, configuration))
    if "error" in answer:
        raise SystemExit(f"Concrete ML: {answer['error']}")
    sides = {"Lutra": ours(subject, configuration), "Concrete ML": Deployed(**answer)}
    return [
        f"| {subject.name} | {name} | {_kb(d.server)} | {_kb(d.client)} | {d.keys / 1e6:.1f} MB "
        f"| {_kb(d.inputs)} | {d.save:.3f} s | {d.load_server:.2f} s | {d.load_client:.3f} s |"
        for name, d in sides.items()
    ]


def _kb(size: int) -> str:
    return f"{size / 1000:.1f} kB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(SETTINGS))
    asked = parser.parse_args().models
    where = environment.folder()
    os.environ["PYTHONPATH"] = str(environment.deployment(where))
    peer = Peer(where, TIMEOUT)
    columns = ("model", "side", "server's file", "client's file", "evaluation keys", "one input")
    times = ("saving", "loading, server", "loading, client")
    print("| " + " | ".join(columns + times) + " |")
    print("|" + " --- |" * (len(columns) + len(times)))
    for subject in subjects():
        if subject.name in asked:
            for row in compare(subject, peer):
                print(row, flush=True)
    peer.close()


if __name__ == "__main__":
    main()
