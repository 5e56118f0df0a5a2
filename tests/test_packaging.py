"""What the installed wheel holds: every source file of the repository, under `lutra` alone."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("backends", "frontends", "ir", "passes")


def test_wheel_holds_every_source_file_and_no_other(installed_files: set[str]) -> None:
    face = {str(path.relative_to(ROOT)) for path in (ROOT / "lutra").rglob("*.py")}
    layers = {
        f"lutra/{path.relative_to(ROOT)}" for name in LAYERS for path in (ROOT / name).rglob("*.py")
    }
    found = {name for name in installed_files if name.endswith(".py")}
    assert sorted(face | layers) == sorted(found), (
        "missing: list the folder under [tool.setuptools] packages in pyproject.toml; "
        "too many: remove build/ and install again"
    )


def test_wheel_is_typed(installed_files: set[str]) -> None:
    assert "lutra/py.typed" in installed_files


def test_wheel_puts_nothing_beside_lutra(installed_files: set[str]) -> None:
    top = {name.split("/")[0] for name in installed_files if not name.startswith("../")}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lutra"}
