"""Where wrappers go, and that they go again: targets of two libraries, targets in a module that is being imported."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.registry import Handle, Options


def untouched(instance: object, args: Args, kwargs: Kwargs) -> None:
    """Change nothing."""


def enabled(name: str) -> Handle:
    """Enable an integration that patches the same target as all others made here."""
    return Handle(Instrumentation(name, hooks=(Before("textwrap:dedent", untouched),)), Options({}), "")


@pytest.mark.parametrize("first", [0, 1])
def test_a_target_of_two_libraries_is_afterwards_what_it_was(first: int) -> None:
    """Whichever is disabled first: the wrapper of the other one may lie over its own."""
    import textwrap

    before = textwrap.dedent
    handles = [enabled("one"), enabled("two")]
    handles[first].disable()
    assert textwrap.dedent("  a") == "a"
    handles[1 - first].disable()
    assert textwrap.dedent is before


IMPORTS = {
    "django.core.handlers.wsgi": ("django", "django.core.handlers.wsgi:WSGIHandler.__call__"),
    "django.core.handlers.asgi": ("django", "django.core.handlers.asgi:ASGIHandler.__call__"),
    "tornado.websocket": ("tornado", "tornado.websocket:websocket_connect"),
    "psycopg_pool": ("psycopg", "psycopg_pool:ConnectionPool.check"),
}
PROGRAM = """
import importlib, sys
import noops_agent
noops_agent.init(exporters=["none"])
importlib.import_module(sys.argv[1])
from noops_agent.instrument import registry
print(next(report for report in registry.reports() if report.library == sys.argv[2]).targets[sys.argv[3]])
spec = sys.modules[sys.argv[1]].__spec__
assert type(spec).__name__ == "ModuleSpec" and "noops_waiting" not in vars(spec)
"""


@pytest.mark.parametrize("module", IMPORTS)
def test_a_module_is_patched_though_its_own_import_has_brought_the_integration_in(module: str) -> None:
    """Its classes are defined only after it has imported what the integration waits for."""
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} isn't installed")
    words = [sys.executable, "-c", PROGRAM, module, *IMPORTS[module]]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.strip() == "patched", ended.stderr
