"""The virtual environment in which Concrete ML runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("concrete_ml.txt")
DEPLOYMENT = Path(__file__).with_name("deployment.txt")
PYTHON = "python3.11"


def folder() -> Path:
    """Where the environment and the results are kept, below the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lutra" / "versus"


def version() -> str:
    """Changes with what is installed."""
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]


def interpreter(where: Path) -> Path:
    """Python of the environment, which is created on first use. RuntimeError where it fails."""
    home = where / f"concrete-ml-{version()}"
    python = home / "bin" / "python"
    if not python.exists():
        _create(home)
    return python


def deployment(where: Path) -> Path:
    """A folder with what Concrete ML's deployment imports as well; filled on first use.

    RuntimeError where that fails.
    """
    python = interpreter(where)
    target = where / f"deployment-{version()}"
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial)]
        try:
            subprocess.run([str(python), *install, "-r", str(DEPLOYMENT)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"{DEPLOYMENT.name} cannot be installed: {error}") from error
        partial.rename(target)
    return target


def _create(home: Path) -> None:
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which(PYTHON)
    if base is None:
        raise RuntimeError(f"Concrete ML 1.9.0 is compared in {PYTHON}, which is not installed")
    print(f"installing Concrete ML into {home}", file=sys.stderr)
    partial = home.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "-r", str(REQUIREMENTS)]
    try:
        subprocess.run([base, "-m", "venv", str(partial)], check=True)
        subprocess.run([str(partial / "bin" / "python"), *install], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"Concrete ML cannot be installed: {error}") from error
    partial.rename(home)
