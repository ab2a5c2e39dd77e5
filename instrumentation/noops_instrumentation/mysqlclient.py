"""MySQL and MariaDB by mysqlclient (`MySQLdb`).

`db.namespace` and `server.address` are what the connection was asked for; what a `read_default_file` says is not known.

Source: OpenTelemetry semantic conventions 1.44, docs/db/mysql.md and docs/db/mariadb.md.
"""

from __future__ import annotations

import os
from typing import Any

from noops_agent.instrument import After, Args, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import COMPOUND, EXECUTE, Driver, Shared, Targets, mysql, numbered, target

PARAMETERS = ("host", "user", "password", "database", "port", "unix_socket")
"""Of the constructor, in the order in which it takes them."""


def _connected(connection: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    given = {**dict(zip(PARAMETERS, args, strict=False)), **kwargs}
    database = given.get("database") or given.get("db") or None
    address = given.get("unix_socket") or given.get("host") or "localhost"
    system = mysql(connection.get_server_info())
    TARGETS.learn(connection, target(system, database and os.fsdecode(database), address, given.get("port")))
    return returned


def _shared(connection: Any) -> Shared:
    return target(mysql(connection.get_server_info()))


TARGETS = Targets(_shared)
DRIVER = Driver(lambda cursor: TARGETS.of(cursor.connection), target(db.MYSQL), failure=numbered)

INSTRUMENTATION = Instrumentation(
    "mysqlclient",
    distribution="mysqlclient",
    versions=">=1.4",
    hooks=(
        After("MySQLdb.connections:Connection.__init__", _connected),
        *DRIVER.hooks("MySQLdb.cursors:BaseCursor", EXECUTE),
        *DRIVER.hooks("MySQLdb.cursors:BaseCursor", COMPOUND, nests=True),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
