"""What is installed beside us, read from the metadata files alone.

`importlib.metadata` would read the same, but loading it costs as much as a third of our start.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .._diagnostics import say
from .._imports import on_import

OURS = "noops_agent.instrumentation"
THEIRS = "opentelemetry_instrumentor"

MODULES = {
    "aiohttp-client": "aiohttp",
    "aiohttp-server": "aiohttp.web",
    "psycopg2-binary": "psycopg2",
    "grpcio": "grpc",
}
"""Modules of distributions, or of instrumentors, that are not called like them."""


class Entry:
    """One entry point of an installed package."""

    def __init__(self, name: str, place: str, folder: str) -> None:
        self.name = name
        self.place = place
        self._folder = folder

    def load(self) -> Any:
        """Import what it names."""
        module, _, names = self.place.partition(":")
        found: Any = importlib.import_module(module.strip())
        for name in names.strip().split("."):
            found = getattr(found, name)
        return found

    # -- OpenTelemetry's instrumentors

    def target(self) -> str:
        """Name the module that an instrumentor is for: what its package says that it instruments."""
        if self.name in MODULES:
            return MODULES[self.name]
        named = []
        for line in read(os.path.join(self._folder, "METADATA")).splitlines():
            if not line:  # the description follows
                break
            if line.startswith("Requires-Dist:") and "extra" in line and "instruments" in line:
                named.append(distribution(line[14:].strip()))
        if not named or self.name in named:
            return self.name
        return MODULES.get(named[0], named[0].replace("-", "_"))

    def activate(self) -> Callable[[], None]:
        """Activate an instrumentor once its library is imported; gives what undoes it."""
        activated: list[Any] = []

        def arrived(module: object) -> None:
            try:
                instrumentor = self.load()()
                if not instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.instrument()
                    activated.append(instrumentor)
            except Exception as error:
                say("instrumentor.failed", key=self.name, name=self.name, error=repr(error))

        forget = on_import(self.target(), arrived)

        def undo() -> None:
            forget()
            for instrumentor in activated:
                try:
                    instrumentor.uninstrument()
                except Exception as error:
                    say("instrumentor.failed", key=self.name, name=self.name, error=repr(error))

        return undo


_entries: list[tuple[str, Entry]] | None = None


def entries(group: str) -> list[Entry]:
    """Give the entry points of a group; of two with one name the first on the path counts."""
    global _entries
    if _entries is None:
        _entries = list(search())
    found: dict[str, Entry] = {}
    for name, entry in _entries:
        if name == group:
            found.setdefault(entry.name, entry)
    return list(found.values())


def search() -> Iterator[tuple[str, Entry]]:
    """Search the path for entry points of both groups."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                place = os.path.join(folder, name)
                for group, entry, target in parse(read(os.path.join(place, "entry_points.txt"))):
                    yield group, Entry(entry, target, place)


def parse(text: str) -> Iterator[tuple[str, str, str]]:
    """Read the entry points of both groups out of an entry_points.txt."""
    if OURS not in text and THEIRS not in text:
        return
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line[1:-1]
        elif section in (OURS, THEIRS) and "=" in line:
            name, _, place = line.partition("=")
            yield section, name.strip(), place.partition("[")[0].strip()


def forget() -> None:
    """Search anew at the next question, for tests."""
    global _entries
    _entries = None


def is_known(name: str) -> bool:
    """Whether an installed package offers an instrumentation with a name."""
    return any(entry.name == name for group in (OURS, THEIRS) for entry in entries(group))


def distribution(requirement: str) -> str:
    """Give the name that a requirement begins with."""
    for at, character in enumerate(requirement):
        if not (character.isalnum() or character in "._-"):
            return requirement[:at].lower()
    return requirement.lower()


def read(path: str) -> str:
    """Read a metadata file; empty where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ---- versions --------------------------------------------------------------------------------------------


def version_of(distributions: tuple[str, ...]) -> str:
    """Give the version of the first of some distributions that is installed; empty where none is, or none counts."""
    wanted = [normal(name) for name in distributions if name]
    found: dict[str, str] = {}
    for folder in sys.path if wanted else ():
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                title, _, version = name.rpartition(".")[0].partition("-")
                if version and normal(title) in wanted:
                    found.setdefault(normal(title), version.partition("-")[0])
    return next((found[name] for name in wanted if name in found), "")


def normal(name: str) -> str:
    """Write the name of a distribution as all of its spellings are compared."""
    return name.lower().replace("_", "-").replace(".", "-")


def at_least(version: str, bound: str) -> bool:
    """Whether a version satisfies a lower bound such as ">=4.2"; one that can't be read does."""
    return not version or not bound or numbers(version) >= numbers(bound.removeprefix(">="))


def numbers(version: str) -> tuple[int, ...]:
    """Give the numbers that a version begins with."""
    found: list[int] = []
    for part in version.strip().split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)
