"""The tests run against the installed package, not against the folders beside them."""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from encrypted import Encrypted
from fake_packages import Install, write_package

settings.register_profile(
    "lutra",
    derandomize=True,  # the same examples on every run
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "lutra-long", settings.get_profile("lutra"), derandomize=False, max_examples=3000
)
settings.load_profile("lutra")

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "lutra" / "__init__.py"


def installed_editable() -> bool:
    origins = (found.read_text("direct_url.json") for found in metadata.distributions(name="lutra"))
    return any(json.loads(text).get("dir_info", {}).get("editable") for text in origins if text)


def pytest_configure() -> None:
    spec = find_spec("lutra")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("lutra is not installed here: see CONTRIBUTING.md")
    if Path(spec.origin) == SOURCE and not installed_editable():
        raise pytest.UsageError(
            "the folder lutra/ hides the installed package: "
            "run `pytest`, not `python -m pytest`, and leave the repository out of PYTHONPATH"
        )
    benchmarks = spec_from_file_location("benchmarks", ROOT / "benchmarks" / "__init__.py")
    assert benchmarks is not None
    sys.modules["benchmarks"] = module_from_spec(benchmarks)  # found without the root on the path


@pytest.fixture(scope="session")
def installed_files() -> set[str]:
    """Paths in the installed wheel, relative to site-packages."""
    if installed_editable():
        pytest.skip("an editable install copies no files")
    return {str(path) for path in metadata.files("lutra") or ()}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes packages that provide plugins. Operations that they declare vanish again."""
    from lutra.ir.core import OPS

    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = dict(OPS)

    def make(package: str, groups: Mapping[str, str], source: str) -> None:
        write_package(site, package, groups, source)
        monkeypatch.delitem(sys.modules, package, raising=False)

    yield make
    OPS.clear()
    OPS.update(before)


def pytest_report_header() -> str:
    spec = find_spec("lutra")
    return f"lutra: {spec.origin if spec else None}"


@pytest.fixture(scope="session")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Encrypted:
    return Encrypted(tmp_path_factory.mktemp("keys"))
