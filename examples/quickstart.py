"""Compile a small classifier of iris flowers and let it classify flowers that it cannot see.

Takes about half a minute on two cores, keys included.
"""

from pathlib import Path
from time import perf_counter

import numpy as np

import lutra

MODELS = Path(__file__).parent / "models"
SPECIES = ("setosa", "versicolor", "virginica")
FLOWERS = 5


def main() -> None:
    with np.load(MODELS / "iris_fc.npz") as data:
        x_train, x_test, labels = data["x_train"], data["x_test"], data["y_test"]

    print(f"Compiling iris_fc.onnx, calibrated on {len(x_train)} flowers:\n")
    model = lutra.compile(
        MODELS / "iris_fc.onnx",
        calibration=x_train,
        pipeline="default{weights=4,rounding=4}",
    )
    print(model.report())

    clear = model.predict(x_test, mode="clear").argmax(axis=1)
    print(f"\nIn the clear it names {np.mean(clear == labels):.0%} of {len(labels)} flowers right.")

    print("Generating keys ...", end=" ", flush=True)
    start = perf_counter()
    model.keygen()
    print(f"{perf_counter() - start:.1f} s")

    print(f"Encrypting {FLOWERS} flowers, classifying them, decrypting ...", end=" ", flush=True)
    start = perf_counter()
    encrypted = model.predict(x_test[:FLOWERS], mode="encrypt").argmax(axis=1)
    print(f"{perf_counter() - start:.1f} s\n")

    print(f"{'flower':>6}  {'encrypted':12}{'in the clear':14}in truth")
    for i, guesses in enumerate(zip(encrypted, clear, labels, strict=False)):
        under_encryption, in_the_clear, truth = (SPECIES[guess] for guess in guesses)
        print(f"{i + 1:>6}  {under_encryption:12}{in_the_clear:14}{truth}")


if __name__ == "__main__":
    main()
