"""One query over the loopback by mysqlclient."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.mysqlclient:MySQLClientInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-mysqlclient"
DDTRACE = "mysqldb"
REQUIRES = ("mysqlclient",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor of a real server."""
    import MySQLdb

    cursor = MySQLdb.connect(host="127.0.0.1", user="root", database="test").cursor()
    return lambda: cursor.execute("SELECT 1")
