"""SQLAlchemy: one span a statement, whether its driver is observed or not; the states of its pools.

Where the driver is observed its span is the statement's, and gets what only SQLAlchemy knows: the pool, and the product
behind a driver that serves several. Where it isn't, SQLAlchemy makes the span. The events of dialects are what all
statements pass, of every engine however early it was made, sync or asyncio. What an engine asks of a new server, and its
pings, make no spans. `db.namespace` and `server.address` of SQLAlchemy's own spans are those of the engine's URL.

Source: OpenTelemetry semantic conventions 1.44, docs/db/sql.md, docs/db/database-metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.engine import Engine

from noops_agent.instrument import Instrumentation, Live, Quiet, db

SYSTEMS = {
    "mssql": db.SQL_SERVER,
    "oracle": db.ORACLE,
    "redshift": "aws.redshift",
    "awsathena": "aws.athena",
    "db2": "ibm.db2",
    "ibm_db_sa": "ibm.db2",
    "firebird": "firebirdsql",
    "hana": "sap.hana",
    "informix": "ibm.informix",
    "spanner": "gcp.spanner",
    "spanner+spanner": "gcp.spanner",
    "teradatasql": "teradata",
}
"""Dialects that are not called like their systems."""


class Engines:
    """What is known of the engines that have run a statement."""

    def __init__(self) -> None:
        self.known: WeakKeyDictionary[Any, db.Database] = WeakKeyDictionary()
        """By dialect: each engine has its own, and shares it with the copies that have other execution options."""
        self.pools = db.Pools()

    def learn(self, dialect: Any, engine: Any) -> db.Database:
        """Work out what the statements of an engine share."""
        url = engine.url
        system = "mariadb" if getattr(dialect, "is_mariadb", False) else SYSTEMS.get(dialect.name, dialect.name)
        address = url.host or url.query.get("unix_socket") or url.query.get("host")
        if not isinstance(address, str):
            address = None  # several hosts: the driver chooses one
        shared = db.connection(system, url.database or (":memory:" if system == db.SQLITE else None), address, url.port)
        name = engine.pool.logging_name or db.pool_name(shared)
        extra = {db.CONNECTION_POOL_NAME: name}
        if system != dialect.name and dialect.name in ("mysql", "postgresql"):
            extra["db.system.name"] = system
        found = self.known[dialect] = db.Database(shared, extra)
        self.pools.add(engine, name, _states)
        return found


def _states(engine: Any) -> db.Pool | None:
    pool = engine.pool
    if not hasattr(pool, "checkedin") or not hasattr(pool, "overflow"):
        return None  # it holds no connections back
    most = -1 if pool._max_overflow < 0 else pool.size() + pool._max_overflow
    return db.Pool(pool.checkedout(), pool.checkedin(), most, pool.size())


def _setup(live: Live) -> Callable[[], None]:
    """Listen to all dialects."""
    enclosing, engines = db.Enclosing(live), Engines()
    known, learn, run = engines.known, engines.learn, enclosing.run

    def do_execute(cursor: Any, statement: Any, parameters: Any, context: Any) -> bool:
        if context is None or not live.on:
            return False
        dialect = context.dialect
        database = known.get(dialect) or learn(dialect, context.root_connection.engine)
        call = _after(dialect.dispatch.do_execute, do_execute, dialect.do_execute)
        run(cursor, database, statement, None, call, (cursor, statement, parameters, context))
        return True

    def do_execute_no_params(cursor: Any, statement: Any, context: Any) -> bool:
        if context is None or not live.on:
            return False
        dialect = context.dialect
        database = known.get(dialect) or learn(dialect, context.root_connection.engine)
        call = _after(dialect.dispatch.do_execute_no_params, do_execute_no_params, dialect.do_execute_no_params)
        run(cursor, database, statement, None, call, (cursor, statement, context))
        return True

    def do_executemany(cursor: Any, statement: Any, parameters: Any, context: Any) -> bool:
        if context is None or not live.on:
            return False
        dialect = context.dialect
        database = known.get(dialect) or learn(dialect, context.root_connection.engine)
        call = _after(dialect.dispatch.do_executemany, do_executemany, dialect.do_executemany)
        run(cursor, database, statement, len(parameters), call, (cursor, statement, parameters, context))
        return True

    listeners = (do_execute, do_execute_no_params, do_executemany)
    for listener in listeners:
        event.listen(Engine, listener.__name__, listener)
    engines.pools.observe(live)

    def undo() -> None:
        for listener in listeners:
            event.remove(Engine, listener.__name__, listener)

    return undo


def _after(listeners: Any, ours: Any, dialect: Any) -> Any:
    """Give what runs after our listener: the dialect, unless one of the program's own listeners does its work."""
    if len(listeners) == 1:
        return dialect

    def rest(*args: Any) -> None:
        waiting = iter(listeners)
        for listener in waiting:
            if listener is ours:
                break
        if not any(listener(*args) for listener in waiting):
            dialect(*args)

    return rest


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

INSTRUMENTATION = Instrumentation(
    "sqlalchemy",
    distribution="sqlalchemy",
    versions=">=1.4",
    hooks=(
        Quiet("sqlalchemy.engine.default:DefaultDialect._do_ping_w_event", optional=True),
        Quiet("sqlalchemy.engine.default:DefaultDialect.do_ping", optional=True),
        *(Quiet(f"sqlalchemy.{place}.initialize", optional=True) for place in INTRODUCTIONS),
    ),
    setup=_setup,
)
