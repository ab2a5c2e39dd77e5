"""MySQL and MariaDB by MySQL Connector/Python, in C, in Python, and asyncio.

`db.namespace` is the database that the connection was made to.

While a span is current, the driver sends its context to the server by itself, in an attribute of the query; where the
server knows no such attributes it warns of each statement instead. So there it is told not to (its own setting
`otel_context_propagation`).

Source: OpenTelemetry semantic conventions 1.44, docs/db/mysql.md and docs/db/mariadb.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import After, Args, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import MANY, Driver, Shared, Targets, mysql, numbered, target


def _heard(connection: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    if not getattr(connection, "_query_attrs_supported", True):
        connection.otel_context_propagation = False
    return returned


def _shared(connection: Any) -> Shared:
    _heard(connection, (), {}, None)
    address = connection.unix_socket or connection.server_host
    server = connection.server_info if hasattr(connection, "server_info") else connection.get_server_info()
    return target(mysql(server), connection._database, address, connection.server_port)


TARGETS = Targets(_shared)
# A cursor holds a weak proxy of its connection; `get_self` gives what is behind it.
DRIVER = Driver(lambda cursor: TARGETS.of(cursor._connection.get_self()), target(db.MYSQL), failure=numbered)

# Executing nests: the driver asks the server for its modes when it first has to escape a value.
INSTRUMENTATION = Instrumentation(
    "mysql",
    distribution=("mysql-connector-python", "mysql-connector"),
    versions=">=8.0",
    hooks=(
        After("mysql.connector.connection:MySQLConnection._do_handshake", _heard, optional=True),
        *DRIVER.hooks("mysql.connector.cursor:MySQLCursor", nests=True),
        *DRIVER.hooks("mysql.connector.cursor:MySQLCursorPrepared", MANY, nests=True),
        *DRIVER.hooks("mysql.connector.cursor_cext:CMySQLCursor", nests=True, optional=True),
        *DRIVER.hooks("mysql.connector.cursor_cext:CMySQLCursorPrepared", MANY, nests=True, optional=True),
        *DRIVER.hooks("mysql.connector.aio.cursor:MySQLCursor", nests=True, optional=True),
        *DRIVER.hooks("mysql.connector.aio.cursor:MySQLCursorPrepared", MANY, nests=True, optional=True),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
