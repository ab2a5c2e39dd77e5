"""PostgreSQL by psycopg2, whose connections and cursors are written in C.

`db.namespace` is the database that the connection was made to. `execute_values` and `execute_batch` are one span each,
of the statement as the program wrote it: the statements that they send have the values in them.

A program that binds `connect` itself (`from psycopg2 import connect`) before the agent is there keeps it as it was; so
do connections that a `connection_factory` makes that is no class, and replication connections.

Source: OpenTelemetry semantic conventions 1.44, docs/db/postgresql.md.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import extensions

from noops_agent.instrument import Args, Call, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import Driver, Shared, composed, target
from noops_agent.instrument.factories import Factory, Native, Parameter, shared_of

UNKNOWN = target(db.POSTGRESQL)


def _shared(connection: Any, args: Args, kwargs: Kwargs) -> Shared:
    known = connection.info
    return target(db.POSTGRESQL, known.dbname, known.host, known.port)


def _copied(cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return DRIVER.copy(cursor, args[1] if len(args) > 1 else kwargs.get("table"))


def _pages(_: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return DRIVER.executemany(args[0] if args else kwargs.get("cur"), args[1:], kwargs)


DRIVER = Driver(shared_of, UNKNOWN, text=composed)
CURSOR = "psycopg2.extensions:cursor"
NATIVE = Native(
    extensions.connection,
    extensions.cursor,
    connecting=Parameter("connection_factory", 1, optional=True),
    opening=Parameter("cursor_factory", 1, optional=True),
    cursors=lambda connection: connection.cursor_factory or extensions.cursor,
    shared=_shared,
    fallback=UNKNOWN,
    hooks=(
        *DRIVER.hooks(CURSOR),
        DRIVER.hook(f"{CURSOR}.copy_expert", DRIVER.execute),
        DRIVER.hook(f"{CURSOR}.copy_from", _copied),
        DRIVER.hook(f"{CURSOR}.copy_to", _copied),
    ),
)

INSTRUMENTATION = Instrumentation(
    "psycopg2",
    distribution=("psycopg2-binary", "psycopg2"),
    versions=">=2.8",
    hooks=(
        Factory("psycopg2:connect", NATIVE),
        DRIVER.hook("psycopg2.extras:execute_values", _pages, nests=True),
        DRIVER.hook("psycopg2.extras:execute_batch", _pages, nests=True),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
