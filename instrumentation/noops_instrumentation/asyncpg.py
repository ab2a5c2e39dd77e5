"""PostgreSQL by asyncpg: connections, pools, prepared statements, cursors and copies.

`db.namespace` is the database that the connection was made to. A cursor makes one span, for the opening of its portal,
and none for the rows that are fetched later. The statements of `transaction()` and those with which a pool resets a
connection make none.

Source: OpenTelemetry semantic conventions 1.44, docs/db/postgresql.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import CONSUMED, After, Args, Call, Instrumentation, Kwargs, Quiet, db
from noops_agent.instrument.dbapi import Driver, Shared, Targets, quieted, target


def _shared(connection: Any) -> Shared:
    address = connection._addr
    host, port = (address, None) if isinstance(address, str) else address[:2]
    return target(db.POSTGRESQL, connection._params.database, host, port)


def _resource(resource: Any) -> Shared:
    return TARGETS.of(resource._connection)


def _bound(resource: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return BOUND.execute(resource, (resource._query,), kwargs)


def _bound_many(statement: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return BOUND.executemany(statement, (statement._query, *args), kwargs)


def _copied(connection: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return DRIVER.copy(connection, args[0] if args else kwargs.get("table_name"))


TARGETS = Targets(_shared)
UNKNOWN = target(db.POSTGRESQL)
DRIVER = Driver(TARGETS.of, UNKNOWN)
BOUND = Driver(_resource, UNKNOWN)
"""Of statements that are bound to a connection: prepared ones, and cursors."""

CONNECTION = "asyncpg.connection:Connection"
PREPARED = "asyncpg.prepared_stmt:PreparedStatement"
CURSOR = "asyncpg.cursor:BaseCursor"
TRANSACTION = "asyncpg.transaction:Transaction"

INSTRUMENTATION = Instrumentation(
    "asyncpg",
    distribution="asyncpg",
    versions=">=0.22",
    hooks=(
        DRIVER.hook(f"{CONNECTION}.execute", DRIVER.execute),
        DRIVER.hook(f"{CONNECTION}.fetch", DRIVER.execute),
        DRIVER.hook(f"{CONNECTION}.fetchrow", DRIVER.execute),
        DRIVER.hook(f"{CONNECTION}.fetchval", DRIVER.execute),
        DRIVER.hook(f"{CONNECTION}.fetchmany", DRIVER.executemany, optional=True),
        DRIVER.hook(f"{CONNECTION}.executemany", DRIVER.executemany),
        DRIVER.hook(f"{CONNECTION}.copy_from_query", DRIVER.execute, nests=True),
        DRIVER.hook(f"{CONNECTION}.copy_from_table", _copied),
        DRIVER.hook(f"{CONNECTION}.copy_to_table", _copied),
        DRIVER.hook(f"{CONNECTION}.copy_records_to_table", _copied),
        # The coroutine behind all methods of a prepared statement; they themselves are plain functions.
        DRIVER.hook(f"{PREPARED}._PreparedStatement__do_execute", _bound, optional=True),
        DRIVER.hook(f"{PREPARED}.executemany", _bound_many, nests=True, ends=CONSUMED),
        DRIVER.hook(f"{PREPARED}.fetchmany", _bound_many, nests=True, ends=CONSUMED, optional=True),
        DRIVER.hook(f"{CURSOR}._bind", _bound, optional=True),
        DRIVER.hook(f"{CURSOR}._bind_exec", _bound, optional=True),
        After(f"{TRANSACTION}.start", lambda transaction, args, kwargs, returned: quieted(returned)),
        Quiet(f"{TRANSACTION}._Transaction__commit", optional=True),
        Quiet(f"{TRANSACTION}._Transaction__rollback", optional=True),
        Quiet(f"{CONNECTION}.reset"),
    ),
    setup=DRIVER.setup,
    options=("commenter",),
)
