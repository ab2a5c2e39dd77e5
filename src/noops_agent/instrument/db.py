"""Database calls in the words of the conventions: names, attributes, metrics.

A driver's integration works out once per connection what `connection` gives, and describes each statement by `query`,
`batch` or `procedure`. What a layer above the driver knows (an ORM) reaches the driver's span through `enclosing`.

`db.operation.name` and `db.collection.name` are set where a text has exactly one operation, and one collection: there
the ambiguity that makes the conventions advise against reading them from the text can't arise.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md, docs/db/database-metrics.md, docs/db/sql.md
and the documents of the single systems.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .model import Call, Duration
from .sql import described

POSTGRESQL = "postgresql"
MYSQL = "mysql"
MARIADB = "mariadb"
SQLITE = "sqlite"
SQL_SERVER = "microsoft.sql_server"
ORACLE = "oracle.db"
OTHER_SQL = "other_sql"

LAYER = "db"
"""Layer of each hook that observes a database call."""

PORTS = {
    POSTGRESQL: 5432,
    MYSQL: 3306,
    MARIADB: 3306,
    SQL_SERVER: 1433,
    ORACLE: 1521,
    "cockroachdb": 26257,
    "aws.redshift": 5439,
    "clickhouse": 8123,
    "trino": 8080,
    "ibm.db2": 50000,
    "redis": 6379,
    "mongodb": 27017,
    "elasticsearch": 9200,
    "opensearch": 9200,
    "cassandra": 9042,
    "memcached": 11211,
}
"""Default ports; `server.port` is recorded only where it is another one."""

OPERATION_DURATION = Duration(
    "db.client.operation.duration",
    "Duration of database client operations.",
    keys=(
        "db.system.name",
        "db.namespace",
        "db.collection.name",
        "db.operation.name",
        "db.query.summary",
        "db.stored_procedure.name",
        "db.response.status_code",
        "error.type",
        "server.address",
        "server.port",
    ),
    bounds=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)
"""Stable and required. Its value is the duration of the span."""

CONNECTION_COUNT = "db.client.connection.count"
"""Up-down-counter, `{connection}`: connections of a pool by `CONNECTION_STATE`."""
CONNECTION_MAX = "db.client.connection.max"
CONNECTION_IDLE_MAX = "db.client.connection.idle.max"
CONNECTION_IDLE_MIN = "db.client.connection.idle.min"
CONNECTION_PENDING_REQUESTS = "db.client.connection.pending_requests"
CONNECTION_TIMEOUTS = "db.client.connection.timeouts"
CONNECTION_CREATE_TIME = "db.client.connection.create_time"
CONNECTION_WAIT_TIME = "db.client.connection.wait_time"
CONNECTION_USE_TIME = "db.client.connection.use_time"
CONNECTION_POOL_NAME = "db.client.connection.pool.name"
CONNECTION_STATE = "db.client.connection.state"
"""`used` or `idle`."""


# ---- what a connection says ------------------------------------------------------------------------------


def connection(
    system: str, namespace: str | None = None, address: str | None = None, port: int | str | None = None
) -> dict[str, Any]:
    """Give the attributes that all calls of one connection share. Worked out once per connection, never per call.

    Args:
        system: `db.system.name`.
        namespace: The database; with a schema `database|schema`.
        address: Host, or the path of a socket; without the port.
        port: Left out where it is the system's default, or there is no address.
    """
    found: dict[str, Any] = {"db.system.name": system}
    if namespace:
        found["db.namespace"] = str(namespace)
    if address:
        found["server.address"] = str(address)
        number = int(port) if isinstance(port, int) or (isinstance(port, str) and port.isdecimal()) else None
        if number and number != PORTS.get(system) and not str(address).startswith("/"):
            found["server.port"] = number
    return found


def pool_name(shared: dict[str, Any]) -> str:
    """Name a pool that has no name of its own, as the conventions do: `server.address:server.port/db.namespace`."""
    address = str(shared.get("server.address", ""))
    if "server.port" in shared:
        address = f"{address}:{shared['server.port']}"
    return "/".join(part for part in (address, shared.get("db.namespace")) if part) or str(shared["db.system.name"])


# ---- what a layer above the driver says ------------------------------------------------------------------


class Enclosure:
    """A call of a layer above the driver: what it knows, and whether a driver beneath has described it."""

    __slots__ = ("attributes", "spoken")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.spoken = False


enclosing: ContextVar[Enclosure | None] = ContextVar("noops_enclosure", default=None)
"""The one around a call of a driver; `enclosing.Enclosing` sets it."""


# ---- what a call means -----------------------------------------------------------------------------------


def query(system: str, statement: Any, shared: dict[str, Any]) -> Call:
    """Describe one statement.

    Args:
        system: `db.system.name`; it chooses the dialect of the text.
        statement: The text as the driver gets it, str or bytes. What is neither has no text and no summary.
        shared: What `connection` gave; not changed.
    """
    known = described(statement, system)
    attributes = shared | known.attributes
    outer = enclosing.get()
    if outer is not None:
        outer.spoken = True
        attributes.update(outer.attributes)
    return Call(known.summary or system, attributes)


def batch(system: str, statement: Any, shared: dict[str, Any], size: int | None) -> Call:
    """Describe one statement that runs once for each of *size* sets of parameters; None: nobody knows how many.

    One set is no batch, none at all is one.
    """
    call = query(system, statement, shared)
    if size is None or size == 1:
        return call
    attributes = call.attributes
    attributes["db.operation.batch.size"] = size
    if "db.query.summary" in attributes:
        call.name = attributes["db.query.summary"] = _batched(attributes["db.query.summary"])
        if "db.operation.name" in attributes:
            attributes["db.operation.name"] = _batched(attributes["db.operation.name"])
    return call


def _batched(words: str) -> str:
    return "BATCH " + words


def procedure(system: str, name: Any, shared: dict[str, Any]) -> Call:
    """Describe the call of a stored procedure by name (`callproc`), where no text is written."""
    name = str(name)
    operation = "EXECUTE" if system == SQL_SERVER else "CALL"
    summary = f"{operation} {name}"
    attributes = shared | {
        "db.stored_procedure.name": name,
        "db.operation.name": operation,
        "db.query.summary": summary,
    }
    outer = enclosing.get()
    if outer is not None:
        outer.spoken = True
        attributes.update(outer.attributes)
    return Call(summary, attributes)


# ---- what an exception says ------------------------------------------------------------------------------


def failure(call: Call, error: BaseException) -> dict[str, Any] | None:
    """Give `db.response.status_code` of an exception; for the `error` of a hook. `error.type` stays its class."""
    code = status_code(error)
    return None if code is None else {"db.response.status_code": code}


def status_code(error: BaseException) -> str | None:
    """Read the most specific code that a driver's exception has.

    SQLite's name of its code; the number of MySQL, MariaDB and SQL Server; `ORA-00942` of Oracle; SQLSTATE of psycopg,
    psycopg2, asyncpg and ODBC.
    """
    if isinstance(error, OSError):
        return None  # it has a number too, but no database gave it
    first = error.args[0] if error.args else None
    if isinstance(first, tuple) and first:
        first = first[0]
    if isinstance(first, int) and not isinstance(first, bool) and first and of_driver(error):
        return str(first)
    for source in (error, first):
        for name in ("sqlite_errorname", "full_code", "errno", "sqlstate", "pgcode"):
            found = getattr(source, name, None)
            if found and isinstance(found, (str, int)):
                return str(found)
    if isinstance(first, str) and len(first) == 5 and first.isalnum() and first.isupper() and of_driver(error):
        return first
    return None


def of_driver(error: BaseException) -> bool:
    """Whether an exception is one of a driver's: those descend from an `Error` of its module (PEP 249)."""
    return any(kind.__name__ == "Error" for kind in type(error).__mro__)
