"""The first example runs as the README shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def comparable(text: str) -> list[str]:
    """What does not differ between runs: no seconds, and no single flower's result."""
    head = re.sub(r"\d+\.\d s", "... s", text).split("\nflower")[0]
    return [line.rstrip() for line in head.strip().splitlines()]


@pytest.mark.encrypted
def test_readme_shows_what_the_quickstart_prints() -> None:
    shown = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py"],
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "2"},
    )
    assert comparable(result.stdout) == comparable(shown[1])
    assert len(re.findall("versicolor|virginica|setosa", result.stdout)) == 15
