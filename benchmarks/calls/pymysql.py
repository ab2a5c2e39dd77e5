"""One query over the loopback by PyMySQL."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.pymysql:PyMySQLInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-pymysql"
DDTRACE = "pymysql"
REQUIRES = ("pymysql",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor of a real server."""
    import pymysql

    cursor = pymysql.connect(host="127.0.0.1", user="root", database="test").cursor()
    return lambda: cursor.execute("SELECT 1")
