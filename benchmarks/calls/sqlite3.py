"""One query of an SQLite database in memory."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.sqlite3:SQLite3Instrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-sqlite3"
DDTRACE = "sqlite3"
REQUIRES: tuple[str, ...] = ()


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor."""
    import sqlite3

    execute = sqlite3.connect(":memory:").cursor().execute
    return lambda: execute("SELECT 1 WHERE 1 = ?", (1,))
