"""One query over the loopback by psycopg2."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.psycopg2:Psycopg2Instrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-psycopg2"
DDTRACE = "psycopg"
REQUIRES = ("psycopg2-binary",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor of a real server."""
    import psycopg2

    connection = psycopg2.connect(host="127.0.0.1", user="root", dbname="test")
    connection.autocommit = True
    cursor = connection.cursor()
    return lambda: cursor.execute("SELECT 1 WHERE 1 = %s", (1,))
