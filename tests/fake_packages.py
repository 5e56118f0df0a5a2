"""Packages of one module that provide plugins, as they look once installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

Install = Callable[[str, Mapping[str, str], str], None]
"""install(package, {group: lines of entry points}, source): the fixture `install`."""


def write_package(site: Path, package: str, groups: Mapping[str, str], source: str) -> None:
    """Write a module and the metadata of a package of that name into a folder on `sys.path`."""
    (site / f"{package}.py").write_text(source)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"[{group}]\n{lines}\n" for group, lines in groups.items())
    (info / "entry_points.txt").write_text(points)
