"""PostgreSQL and CockroachDB by psycopg 3, blocking and asyncio, whichever of its implementations is in use.

`db.namespace` is the database that the connection was made to. In pipeline mode a span is as long as queueing its
statement takes, and a failure shows where the pipeline raises it. The blocks of `transaction()` send their statements
past the cursors and make no spans; nor does the pool's check of a connection.

Source: OpenTelemetry semantic conventions 1.44, docs/db/postgresql.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import CONSUMED, Instrumentation, Quiet, db
from noops_agent.instrument.dbapi import MANY, Driver, Shared, Targets, composed, target


def _shared(connection: Any) -> Shared:
    known = connection.info
    system = "cockroachdb" if known.vendor == "CockroachDB" else db.POSTGRESQL
    return target(system, known.dbname, known.host, known.port)


TARGETS = Targets(_shared)
DRIVER = Driver(lambda cursor: TARGETS.of(cursor.connection), target(db.POSTGRESQL), text=composed)

INSTRUMENTATION = Instrumentation(
    "psycopg",
    distribution="psycopg",
    versions=">=3.1",
    hooks=(
        *DRIVER.hooks("psycopg:Cursor", MANY),
        DRIVER.hook("psycopg:Cursor.stream", DRIVER.execute),
        DRIVER.hook("psycopg:Cursor.copy", DRIVER.execute, ends=CONSUMED),
        DRIVER.hook("psycopg:ServerCursor.execute", DRIVER.execute),
        *DRIVER.hooks("psycopg:AsyncCursor", MANY),
        DRIVER.hook("psycopg:AsyncCursor.stream", DRIVER.execute),
        DRIVER.hook("psycopg:AsyncCursor.copy", DRIVER.execute, ends=CONSUMED),
        DRIVER.hook("psycopg:AsyncServerCursor.execute", DRIVER.execute),
        Quiet("psycopg_pool:ConnectionPool.check", optional=True),
        Quiet("psycopg_pool:ConnectionPool.check_connection", optional=True),
        Quiet("psycopg_pool:AsyncConnectionPool.check", optional=True),
        Quiet("psycopg_pool:AsyncConnectionPool.check_connection", optional=True),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
