"""One query over the loopback by MySQL Connector/Python."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.mysql:MySQLInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-mysql"
DDTRACE = "mysql"
REQUIRES = ("mysql-connector-python",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement on an open cursor of a real server."""
    import mysql.connector

    connection = mysql.connector.connect(host="127.0.0.1", user="root", database="test", use_pure=True)
    cursor = connection.cursor(buffered=True)

    def call() -> object:
        return connection and cursor.execute("SELECT 1")  # a cursor doesn't keep its connection

    return call
