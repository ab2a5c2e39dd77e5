"""One query over the loopback by psycopg."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.psycopg:PsycopgInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-psycopg"
DDTRACE = "psycopg"
REQUIRES = ("psycopg[binary]",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor of a real server."""
    import psycopg

    cursor = psycopg.connect(host="127.0.0.1", user="root", dbname="test", autocommit=True).cursor()
    return lambda: cursor.execute("SELECT 1 WHERE 1 = %s", (1,))
