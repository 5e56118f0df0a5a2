"""The same integers from two processes over HTTP as from one, on the shipped models.

    python -m benchmarks.apart iris_fc digits_cnn --samples 2

Both compute with the same ciphertexts and the same keys. Rounding is exact: look-ups that round
approximately may differ by a step near the middle between two, since evaluation adds noise, and
another process adds other noise.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import lutra
from lutra.testing.serving import Running

MODELS = Path(__file__).parents[1] / "examples" / "models"
PIPELINE = "default{weights=4,rounding=4,exact=true}"


def compare(name: str, samples: int, folder: Path) -> str:
    """A line on one model."""
    with np.load(MODELS / f"{name}.npz") as data:
        x_train, x = data["x_train"], data["x_test"][:samples]
    model = lutra.compile(MODELS / f"{name}.onnx", x_train, PIPELINE)
    path = folder / f"{name}.lutra"
    model.save(path)
    server = lutra.Server(path)
    client = lutra.Client(server.client_part)
    client.keygen()
    inputs = client.encrypt(x)
    together = client.decrypt_integers(server.run(inputs, client.evaluation_keys))
    running = Running(path, folder / name)
    with lutra.Remote(running.url) as remote:
        remote.register(client)
        apart = client.decrypt_integers(remote.run(inputs))
        remote.forget()
    running.stop()
    equal = sum(int((a == b).sum()) for a, b in zip(apart, together, strict=True))
    count = sum(a.size for a in apart)
    clear = model.evaluate(model.encode(x))
    right = sum(int((a == b).sum()) for a, b in zip(apart, clear, strict=True))
    return (
        f"{name}: {samples} samples, {equal} of {count} integers as in one process, "
        f"{right} as in the clear"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--samples", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            print(compare(name, options.samples, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
