"""SQLAlchemy: one span a statement, whether its driver is observed or not; the states of its pools.

Where the driver is observed its span is the statement's, and gets what only SQLAlchemy knows: the pool, and the product
behind a driver that serves several. Where it isn't, SQLAlchemy makes the span. The events of dialects are what all
statements pass, of every engine however early it was made, sync or asyncio. What an engine asks of a new server, and
its pings, make no spans. `db.namespace` and `server.address` of SQLAlchemy's own spans are those of the engine's URL.

Source: OpenTelemetry semantic conventions 1.44, docs/db/sql.md, docs/db/database-metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from noops_agent.instrument import After, Args, Instrumentation, Kwargs, Live, Quiet, db
from noops_agent.instrument.dbapi import sqlite
from noops_agent.instrument.enclosing import Database, Enclosing, quiet
from noops_agent.instrument.pools import Pool, Pools

SYSTEMS = {
    "mssql": db.SQL_SERVER,
    "oracle": db.ORACLE,
    "redshift": "aws.redshift",
    "ibm_db_sa": "ibm.db2",
    "firebird": "firebirdsql",
    "hana": "sap.hana",
    "informix": "ibm.informix",
    "spanner+spanner": "gcp.spanner",
    "teradatasql": "teradata",
}
"""Dialects that are not called like their systems."""
TOLD = (db.POSTGRESQL, db.MYSQL, db.MARIADB, db.SQLITE)
"""Systems that their drivers tell themselves; behind some drivers there may be others."""
LISTENED = ("do_execute", "do_execute_no_params", "do_executemany")


def _database(dialect: Any, engine: Any) -> Database:
    """Say what the statements of an engine share."""
    url = engine.url
    system = "mariadb" if getattr(dialect, "is_mariadb", False) else SYSTEMS.get(dialect.name, dialect.name)
    if system == db.SQLITE:
        shared = dict(sqlite(url.database or ":memory:"))
    else:
        address = url.host or url.query.get("unix_socket") or url.query.get("host")
        # Of several hosts the driver chooses one.
        shared = db.connection(system, url.database, address if isinstance(address, str) else None, url.port)
    extra = {db.CONNECTION_POOL_NAME: engine.pool.logging_name or db.pool_name(shared)}
    if system not in TOLD:
        extra["db.system.name"] = system
    return Database(shared, extra)


def _state(engine: Any) -> Pool | None:
    """Read the pool of an engine."""
    pool = engine.pool
    if not hasattr(pool, "checkedin") or not hasattr(pool, "_max_overflow"):
        return None  # it keeps no connections, or one for each thread
    most = -1 if pool._max_overflow < 0 else pool.size() + pool._max_overflow
    return Pool(pool.checkedout(), pool.checkedin(), most, pool.size())


def _setup(live: Live) -> Callable[[], None]:
    """Listen to all dialects."""
    pools = Pools(live, _state)

    def learn(dialect: Any, context: Any) -> Database:
        engine = context.root_connection.engine
        database = _database(dialect, engine)
        pools.add(engine, database.extra[db.CONNECTION_POOL_NAME])
        return database

    enclosing = Enclosing(live, learn, "sqlalchemy")
    listeners = {name: _listener(name, enclosing) for name in LISTENED}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)

    def undo() -> None:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)

    return undo


def _listener(name: str, enclosing: Enclosing) -> Callable[..., bool]:
    """Make what listens to one of the ways in which a dialect executes."""
    many, run = name == "do_executemany", enclosing.run

    def listener(cursor: Any, statement: Any, *more: Any) -> bool:
        context = more[-1]
        if context is None:
            return False
        dialect = context.dialect
        call = getattr(dialect, name)
        listeners = getattr(dialect.dispatch, name)
        if len(listeners) > 1:
            call = _after(listeners, listener, call)
        size = len(more[0]) if many else None
        run(dialect, context, statement, size, call, (cursor, statement, *more))
        return True

    return listener


def _after(listeners: Any, ours: Any, call: Any) -> Callable[..., None]:
    """Give what runs after our listener: the program's own ones, and the dialect unless one of them does its work."""

    def rest(*args: Any) -> None:
        waiting = iter(listeners)
        for listener in waiting:
            if listener is ours:
                break
        if not any(listener(*args) for listener in waiting):
            call(*args)

    return rest


PINGS = (
    "engine.default:DefaultDialect._do_ping_w_event",
    # before 2.0.5
    "engine.default:DefaultDialect.do_ping",
    "dialects.postgresql.psycopg2:PGDialect_psycopg2.do_ping",
    "dialects.postgresql._psycopg_common:_PGDialect_common_psycopg.do_ping",
    "dialects.postgresql.asyncpg:PGDialect_asyncpg.do_ping",
)
"""What asks whether a connection is still there."""
INTRODUCTIONS = (
    "engine.default:DefaultDialect",
    "dialects.mssql.base:MSDialect",
    "dialects.mysql.base:MySQLDialect",
    "dialects.oracle.base:OracleDialect",
    "dialects.oracle.cx_oracle:OracleDialect_cx_oracle",
    "dialects.postgresql.base:PGDialect",
    "dialects.postgresql.psycopg2:PGDialect_psycopg2",
    "dialects.postgresql.psycopg:PGDialect_psycopg",
)
"""What asks a new server for its version and settings."""
PREPARATIONS = (
    "mysql.mysqldb:MySQLDialect_mysqldb",
    "mysql.pyodbc:MySQLDialect_pyodbc",
    "mssql.pyodbc:MSDialect_pyodbc",
    "oracle.cx_oracle:OracleDialect_cx_oracle",
    "postgresql.asyncpg:PGDialect_asyncpg",
    "postgresql.pg8000:PGDialect_pg8000",
    "postgresql.psycopg:PGDialect_psycopg",
    "postgresql.psycopg2:PGDialect_psycopg2",
    "sqlite.pysqlite:SQLiteDialect_pysqlite",
)
"""What prepares each new connection, by a function that it gives. The program's own listeners stay to be seen."""


def _prepare(dialect: Any, args: Args, kwargs: Kwargs, prepare: Any) -> Any:
    """Have a connection be prepared quietly."""
    return prepare if prepare is None else quiet(prepare)


INSTRUMENTATION = Instrumentation(
    "sqlalchemy",
    distribution="sqlalchemy",
    versions=">=1.4",
    hooks=(
        *(Quiet(f"sqlalchemy.{place}", optional=True) for place in PINGS),
        *(Quiet(f"sqlalchemy.{place}.initialize", optional=True) for place in INTRODUCTIONS),
        *(After(f"sqlalchemy.dialects.{place}.on_connect", _prepare, optional=True) for place in PREPARATIONS),
    ),
    setup=_setup,
)
