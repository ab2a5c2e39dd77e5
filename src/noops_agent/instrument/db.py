"""Database calls in the words of the conventions: names, attributes, metrics.

A driver's integration works out once per connection what `connection` gives, and describes each statement by `query`,
`batch` or `procedure`. What a layer above the driver knows (an ORM) reaches the driver's span through `Enclosing`.

`db.operation.name` and `db.collection.name` are set where a text has exactly one operation, and one collection: there
the ambiguity that makes the conventions advise against reading them from the text can't arise.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md, docs/db/database-metrics.md, docs/db/sql.md
and the documents of the single systems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanKind

from .model import Args, Call, Duration
from .operation import Operation, layer_bit, speaks
from .sql import described

if TYPE_CHECKING:
    from .live import Live

Run = Callable[..., object]

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
    return f"{address}/{shared['db.namespace']}" if "db.namespace" in shared else address or shared["db.system.name"]


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
    outer = _enclosure.get()
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
    outer = _enclosure.get()
    if outer is not None:
        outer.spoken = True
        attributes.update(outer.attributes)
    return Call(summary, attributes)


def parameters(given: Any) -> dict[str, str]:
    """Give `db.query.parameter.<key>` of each parameter of one statement. Opt-in: these are the user's data."""
    if isinstance(given, dict):
        return {f"db.query.parameter.{key}": str(value) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return {f"db.query.parameter.{index}": str(value) for index, value in enumerate(given)}
    return {}


# ---- what an exception says ------------------------------------------------------------------------------


def failure(call: Call, error: BaseException) -> dict[str, Any] | None:
    """Give `db.response.status_code` of an exception; for the `error` of a hook. `error.type` stays its class."""
    code = status_code(error)
    return None if code is None else {"db.response.status_code": code}


def status_code(error: BaseException) -> str | None:
    """Read the most specific code that a driver's exception has.

    SQLSTATE of psycopg, psycopg2 and asyncpg; SQLite's name of its code; the number of MySQL, MariaDB and SQL Server;
    `ORA-00942` of Oracle; the SQLSTATE that ODBC puts first.
    """
    for name in ("sqlite_errorname", "full_code", "errno", "sqlstate", "pgcode"):
        found = getattr(error, name, None)
        if found and isinstance(found, (str, int)):
            return str(found)
    first = error.args[0] if error.args else None
    if isinstance(first, tuple) and first:
        first = first[0]
    if isinstance(first, int) and not isinstance(first, bool):
        return str(first)
    if isinstance(first, str):
        return first if len(first) == 5 and first.isalnum() and first.isupper() else None
    full = getattr(first, "full_code", None)
    return full if isinstance(full, str) and full else None


# ---- pools -----------------------------------------------------------------------------------------------


class Pool(NamedTuple):
    """The state of a pool of connections, in connections."""

    used: int
    idle: int
    most: int
    """How many there can be; negative: without limit."""
    most_idle: int


class Pools:
    """Pools of connections, read when metrics are collected: a query pays nothing for them."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, tuple[str, Callable[[Any], Pool | None]]] = WeakKeyDictionary()

    def add(self, owner: Any, name: str, state: Callable[[Any], Pool | None]) -> None:
        """Add a pool.

        Args:
            owner: What it belongs to; kept weakly.
            name: Name of the pool.
            state: Reads the pool of an owner; None: there is nothing to count.
        """
        self._known[owner] = name, state

    def observe(self, live: Live) -> None:
        """Offer the metrics of the pools while a library is enabled."""
        self._live = live
        counter = live.meter.create_observable_up_down_counter
        counter(CONNECTION_COUNT, [self._counts], "{connection}", "Connections that are in the state of the attribute.")
        counter(CONNECTION_MAX, [self._limits], "{connection}", "Connections that the pool may open.")
        counter(CONNECTION_IDLE_MAX, [self._idle], "{connection}", "Connections that the pool keeps while idle.")

    def _states(self) -> Iterator[tuple[dict[str, str], Pool]]:
        if not self._live.on:
            return
        for owner, (name, read) in list(self._known.items()):
            state = read(owner)
            if state is not None:
                yield {CONNECTION_POOL_NAME: name}, state

    def _counts(self, options: CallbackOptions) -> Iterator[Observation]:
        for named, state in self._states():
            yield Observation(state.used, {**named, CONNECTION_STATE: "used"})
            yield Observation(state.idle, {**named, CONNECTION_STATE: "idle"})

    def _limits(self, options: CallbackOptions) -> Iterator[Observation]:
        for named, state in self._states():
            if state.most >= 0:
                yield Observation(state.most, named)

    def _idle(self, options: CallbackOptions) -> Iterator[Observation]:
        for named, state in self._states():
            yield Observation(state.most_idle, named)


# ---- a layer above the driver ----------------------------------------------------------------------------


class Enclosure:
    """A call of a layer above the driver: what it knows, and whether a driver beneath has described it."""

    __slots__ = ("attributes", "spoken")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.spoken = False


_enclosure: ContextVar[Enclosure | None] = ContextVar("noops_enclosure", default=None)
_bit = layer_bit(LAYER)
MOST_SILENT = 256


class Database:
    """What a layer above the driver knows of one database; worked out once."""

    __slots__ = ("extra", "shared", "system")

    def __init__(self, shared: dict[str, Any], extra: dict[str, Any]) -> None:
        """
        Args:
            shared: What `connection` gave.
            extra: What a driver can't know: it goes on the driver's spans too.
        """
        self.system: str = shared["db.system.name"]
        self.shared = shared | extra
        self.extra = extra


class Enclosing:
    """Runs the calls of a layer above the drivers so that each makes one span.

    The driver's span wins, and is told what the layer knows. A driver that says nothing during a call isn't observed:
    the span of that call is made afterwards, with its true times, and from then on the layer makes the spans of that
    kind of cursor itself. So it is one span a call, whichever drivers are observed and whenever that changes.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._silent: set[type] = set()

    def run(self, cursor: Any, database: Database, statement: Any, size: int | None, run: Run, args: Args) -> None:
        """Run ``run(*args)``, a call of the driver.

        Args:
            cursor: The driver's cursor; its class stands for the driver.
            database: Where the statement goes.
            statement: Its text.
            size: How many sets of parameters it has; None: it is no batch.
            run: The call.
            args: Its arguments.
        """
        if not self._live.on or not speaks(_bit):
            run(*args)
        elif type(cursor) in self._silent:
            self._speak(self._open(database, statement, size, None), run, args)
        else:
            self._listen(cursor, database, statement, size, run, args)

    def _speak(self, operation: Operation | None, run: Run, args: Args) -> None:
        if operation is None:
            run(*args)
            return
        operation.attach()
        try:
            run(*args)
        except BaseException as error:
            operation.close(error, None, failure)
            raise
        else:
            operation.close()
        finally:
            operation.detach()

    def _listen(
        self, cursor: Any, database: Database, statement: Any, size: int | None, run: Run, args: Args
    ) -> None:
        enclosure = Enclosure(database.extra)
        token = _enclosure.set(enclosure)
        start, began = time.time_ns(), time.perf_counter()
        try:
            run(*args)
        except BaseException as error:
            _enclosure.reset(token)
            if not enclosure.spoken:
                self._tell(cursor, self._open(database, statement, size, start), began, error)
            raise
        _enclosure.reset(token)
        if not enclosure.spoken:
            self._tell(cursor, self._open(database, statement, size, start), began, None)

    def _tell(self, cursor: Any, operation: Operation | None, began: float, error: BaseException | None) -> None:
        """Tell of a call that is over, of a driver that isn't observed."""
        if len(self._silent) < MOST_SILENT:
            self._silent.add(type(cursor))
        if operation is not None:
            operation.began(began)
            operation.close(error, None, failure)

    def _open(self, database: Database, statement: Any, size: int | None, start: int | None) -> Operation | None:
        call = batch(database.system, statement, database.shared, size)
        call.start_time = start
        return self._live.open(call, SpanKind.CLIENT, OPERATION_DURATION, LAYER)
