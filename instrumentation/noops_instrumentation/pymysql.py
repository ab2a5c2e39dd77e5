"""MySQL and MariaDB by PyMySQL.

`db.namespace` is the database that the connection was made to, or was last switched to by `select_db` before its first
statement.

Source: OpenTelemetry semantic conventions 1.44, docs/db/mysql.md and docs/db/mariadb.md.
"""

from __future__ import annotations

import os
from typing import Any

from noops_agent.instrument import Instrumentation, db
from noops_agent.instrument.dbapi import COMPOUND, EXECUTE, Driver, Shared, Targets, mysql, numbered, target


def _shared(connection: Any) -> Shared:
    database = os.fsdecode(connection.db) if connection.db else None
    address = connection.unix_socket or connection.host
    return target(mysql(connection.get_server_info()), database, address, connection.port)


TARGETS = Targets(_shared)
DRIVER = Driver(lambda cursor: TARGETS.of(cursor.connection), target(db.MYSQL), failure=numbered)

INSTRUMENTATION = Instrumentation(
    "pymysql",
    distribution="pymysql",
    versions=">=0.9",
    hooks=(
        *DRIVER.hooks("pymysql.cursors:Cursor", EXECUTE),
        *DRIVER.hooks("pymysql.cursors:Cursor", COMPOUND, nests=True),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
