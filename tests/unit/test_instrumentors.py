"""Finding and activating the `opentelemetry-instrumentation-*` packages that are installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noops_agent import _imports
from noops_agent._config import load
from noops_agent.instrument import installed, registry

from .conftest import Messages

INSTRUMENTOR = """
class Instrumentor:
    is_instrumented_by_opentelemetry = {already}

    def instrument(self, **options):
        import builtins
        builtins.instrumented.append(({name!r}, options))
        {body}
"""


class Packages:
    """A folder on the path in which packages can be put."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_library(self, name: str, body: str = "") -> None:
        """Put a module there."""
        (self.folder / f"{name}.py").write_text(body)

    def add(self, name: str, requires: str = "", already: bool = False, body: str = "pass", module: str = "") -> None:
        """Put the package of an instrumentor there."""
        module = module or f"instrumentor_of_{name.replace('-', '_')}"
        info = self.folder / f"opentelemetry_instrumentation_{name}-1.dist-info"
        info.mkdir()
        info.joinpath("entry_points.txt").write_text(
            "[console_scripts]\nx = y:z\n\n[opentelemetry_instrumentor]\n"
            f"{name} = {module}:Instrumentor\n\n[other]\na = b:c\n"
        )
        lines = [f"Requires-Dist: {line}" for line in ["opentelemetry-api~=1.5", *filter(None, requires.split(";;"))]]
        description = ["", "Requires-Dist: words; extra == 'instruments'"]
        info.joinpath("METADATA").write_text("\n".join(["Name: x", *lines, *description]))
        (self.folder / f"{module}.py").write_text(INSTRUMENTOR.format(name=name, already=already, body=body))


activated: list[Any] = []


def activate() -> None:
    """Activate all that the settings allow."""
    activated.append(registry.activate(load()))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Nothing but what the test puts there is on the path; what it imported is forgotten afterwards."""
    import builtins

    before = set(sys.modules)
    monkeypatch.setattr(builtins, "instrumented", [], raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    installed.forget()
    monkeypatch.setattr(registry, "LIBRARIES", {"ours": ("ours",)})
    yield Packages(tmp_path)
    for undo in activated:
        undo()
    activated.clear()
    installed.forget()
    _imports._watch.waiting.clear()
    _imports._watch.settle()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def instrumented() -> list[Any]:
    """Which instrumentors have been activated, with their options."""
    import builtins

    return builtins.instrumented  # type: ignore[attr-defined,no-any-return]


def test_an_instrumentor_is_activated_once_its_library_is_imported(packages: Packages) -> None:
    """Not before: a program pays for what it uses only. And once."""
    packages.add_library("shoplib")
    packages.add("shoplib")
    activate()
    assert instrumented() == []
    assert "instrumentor_of_shoplib" not in sys.modules
    importlib.import_module("shoplib")
    assert instrumented() == [("shoplib", {})]
    del sys.modules["shoplib"]
    importlib.import_module("shoplib")
    assert instrumented() == [("shoplib", {})]


def test_a_library_that_is_there_already_is_instrumented_at_once(packages: Packages) -> None:
    """`init` may come late."""
    packages.add_library("shoplib")
    packages.add("shoplib")
    importlib.import_module("shoplib")
    activate()
    assert instrumented() == [("shoplib", {})]


TARGETS = {
    "its own name": ("shoplib", "", "shoplib"),
    "what it instruments": ("shop", "shop-lib>=2 ; extra == 'instruments'", "shop_lib"),
    "in double quotes": ("shop", 'shop-lib[tls]<3,>=2; extra == "instruments"', "shop_lib"),
    "its own name among them": ("shop", "other>1; extra == 'instruments';;shop>1; extra == 'instruments'", "shop"),
    "any of several": ("shop", "Other; extra == 'instruments-any';;more; extra == 'instruments-any'", "other"),
    "other extras say nothing": ("shop", "pytest; extra == 'test'", "shop"),
    "named unlike its package": ("postgres", "psycopg2-binary>=2; extra == 'instruments'", "psycopg2"),
    "a module of a package": ("aiohttp-server", "aiohttp~=3.0; extra == 'instruments'", "aiohttp.web"),
}


@pytest.mark.parametrize("case", list(TARGETS))
def test_the_library_of_an_instrumentor_is_found_in_its_metadata(packages: Packages, case: str) -> None:
    """By what its package says that it instruments."""
    name, requires, expected = TARGETS[case]
    packages.add(name, requires)
    (found,) = installed.entries(installed.THEIRS)
    assert (found.name, found.target()) == (name, expected)


OWN = """
from noops_agent.instrument import Before, Instrumentation
sell = Before("shoplib:sell", lambda instance, args, kwargs: (("dear",), kwargs))
INSTRUMENTATION = Instrumentation("shoplib", distribution="shoplib", hooks=(sell,))
"""


def test_a_package_adds_an_instrumentation_of_its_own(packages: Packages, tmp_path: Path) -> None:
    """By an entry point of our group, named by the module whose import brings it in."""
    packages.add_library("shoplib", "def sell(price): return price")
    (tmp_path / "shoplib_telemetry.py").write_text(OWN)
    info = tmp_path / "shoplib-3.1.dist-info"
    info.mkdir()
    entry = "[noops_agent.instrumentation]\nshoplib = shoplib_telemetry:INSTRUMENTATION\n"
    info.joinpath("entry_points.txt").write_text(entry)
    activate()
    assert "shoplib_telemetry" not in sys.modules
    shoplib = importlib.import_module("shoplib")
    assert shoplib.sell("cheap") == "dear"
    (report,) = registry.reports()
    assert (report.library, report.version, report.state) == ("shoplib", "3.1", registry.PATCHED)
    activated.pop()()
    assert shoplib.sell("cheap") == "cheap"


def test_what_is_installed_here_is_found_as_importlib_finds_it() -> None:
    """The metadata files are read right: `importlib.metadata` reads the same."""
    from importlib.metadata import entry_points

    expected = {entry.name: entry.value for entry in entry_points(group="opentelemetry_instrumentor")}
    assert {found.name: found.place for found in installed.entries(installed.THEIRS)} == expected


def test_the_first_of_two_packages_counts(packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with imports."""
    packages.add("shoplib")
    second = tmp_path / "second"
    second.mkdir()
    Packages(second).add("shoplib", module="never")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(second)])
    (found,) = installed.entries(installed.THEIRS)
    assert found.place == "instrumentor_of_shoplib:Instrumentor"


def test_one_that_is_active_already_is_left_alone(packages: Packages) -> None:
    """The application did it by itself."""
    packages.add_library("shoplib")
    packages.add("shoplib", already=True)
    activate()
    importlib.import_module("shoplib")
    assert instrumented() == []


@pytest.mark.parametrize("value", ["shoplib", "other, shoplib ", "*"])
def test_instrumentors_can_be_switched_off(packages: Packages, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """By `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`, some or all."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value)
    packages.add_library("shoplib")
    packages.add("shoplib")
    activate()
    importlib.import_module("shoplib")
    assert instrumented() == []


def test_one_for_a_library_of_our_own_list_is_left_alone(packages: Packages) -> None:
    """Ours speaks; two of them would record each call twice."""
    packages.add_library("ours")
    packages.add("ours")
    activate()
    importlib.import_module("ours")
    assert instrumented() == []


@pytest.mark.parametrize("body", ["raise RuntimeError('no luck')", "import no_such_module_at_all"])
def test_an_instrumentor_that_fails_does_not_fail_the_import(packages: Packages, said: Messages, body: str) -> None:
    """It is said once, with its name; the others are activated."""
    packages.add_library("shoplib")
    packages.add_library("other")
    packages.add("shoplib", body=body)
    packages.add("other")
    activate()
    importlib.import_module("shoplib")
    importlib.import_module("other")
    assert [name for name, _ in instrumented()] == ["shoplib", "other"]
    assert len(said) == 1
    assert "shoplib" in said


def test_one_whose_class_is_gone_does_not_fail_the_import(packages: Packages, said: Messages) -> None:
    """A package that is half removed."""
    packages.add_library("shoplib")
    packages.add("shoplib", module="gone")
    (packages.folder / "gone.py").write_text("")
    activate()
    importlib.import_module("shoplib")
    assert "shoplib" in said


def test_broken_metadata_is_passed_over(packages: Packages, tmp_path: Path) -> None:
    """Empty, binary, half-written and missing files, and folders on the path that are none."""
    section = b"[opentelemetry_instrumentor"
    for number, content in enumerate([b"", b"\xff\xfe\x00", section, section + b"]\nx\n= y\n"]):
        info = tmp_path / f"broken{number}-1.dist-info"
        info.mkdir()
        info.joinpath("entry_points.txt").write_bytes(content)
    (tmp_path / "file.egg-info").write_text("not a folder")
    sys.path[:] = [str(tmp_path), "/no/such/folder", str(tmp_path / "file.egg-info"), ""]
    packages.add("good")
    assert "good" in [found.name for found in installed.entries(installed.THEIRS)]
    activate()


def test_an_import_that_fails_fails_as_without_us(packages: Packages) -> None:
    """With its own error; a later try that works is instrumented."""
    packages.add_library("shoplib", "raise KeyError('mine')")
    packages.add("shoplib")
    activate()
    with pytest.raises(KeyError, match="mine"):
        importlib.import_module("shoplib")
    assert instrumented() == []
    packages.add_library("shoplib", "fine = True  # longer than before")
    importlib.invalidate_caches()
    assert importlib.import_module("shoplib").fine
    assert instrumented() == [("shoplib", {})]


def test_the_real_packages_trace_a_request() -> None:
    """Flask under `start_injected`, with the packages that are installed here: one server span."""
    pytest.importorskip("opentelemetry.instrumentation.flask")
    program = """
from noops_agent import _lifecycle
import noops_agent
_lifecycle.start_injected()
from flask import Flask
app = Flask("shop")
app.route("/pay/<int:number>")(lambda number: "paid")
assert app.test_client().get("/pay/7").data == b"paid"
print(noops_agent.stats()["otel.sdk.processor.span.processed"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
