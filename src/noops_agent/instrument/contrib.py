"""Activates the `opentelemetry-instrumentation-*` packages that are installed.

Each one is activated when the library that it is for has been imported, so a program pays for what it uses only.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from .._diagnostics import say
from .._imports import on_import

GROUP = "opentelemetry_instrumentor"

MODULES = {
    "aiohttp-client": "aiohttp",
    "aiohttp-server": "aiohttp.web",
    "psycopg2-binary": "psycopg2",
    "grpcio": "grpc",
}
"""Modules of distributions, or of instrumentors, that are not called like them."""

OPTIONS: dict[str, dict[str, Any]] = {
    "fastapi": {"exclude_spans": ["send", "receive"]},
    "starlette": {"exclude_spans": ["send", "receive"]},
}
"""One server span a request, never one for each message."""


class Instrumentor:
    """What an installed package says of an instrumentor, read from its metadata files alone.

    `importlib.metadata` would read the same, but loading it costs as much as a third of our start.
    """

    def __init__(self, name: str, place: str, folder: str) -> None:
        self.name = name
        self.place = place
        self._folder = folder

    def target(self) -> str:
        """Name the module that it is for: what the package says that it instruments."""
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

    def load(self) -> Any:
        """Import the instrumentor's class."""
        module, _, names = self.place.partition(":")
        found: Any = importlib.import_module(module.strip())
        for name in names.strip().split("."):
            found = getattr(found, name)
        return found


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


def instrumentors() -> Iterator[Instrumentor]:
    """Find the instrumentors of all installed packages; of two with one name the first on the path counts."""
    seen: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                place = os.path.join(folder, name)
                for entry, target in entries(read(os.path.join(place, "entry_points.txt"))):
                    if entry not in seen:
                        seen.add(entry)
                        yield Instrumentor(entry, target, place)


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Read the entry points of our group out of an entry_points.txt."""
    if f"[{GROUP}]" not in text:
        return
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == f"[{GROUP}]" and "=" in line:
            name, _, place = line.partition("=")
            yield name.strip(), place.partition("[")[0].strip()


def activate() -> None:
    """Activate each installed instrumentor once its library is imported."""
    disabled = {name.strip() for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    if "*" in disabled:
        return
    for found in list(instrumentors()):
        if found.name not in disabled:
            on_import(found.target(), hook(found))


def hook(found: Instrumentor) -> Any:
    """Make the function that activates an instrumentor after its library was imported."""

    def run(module: object) -> None:
        try:
            instrumentor = found.load()()
            if not instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.instrument(**OPTIONS.get(found.name, {}))
        except Exception as error:
            say("instrumentor.failed", key=found.name, name=found.name, error=repr(error))

    return run
