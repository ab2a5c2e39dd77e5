"""The drivers of MySQL and MariaDB, PyMySQL, mysqlclient and MySQL Connector/Python, against a real server.

They are of one make, so one suite holds for all; each is skipped where it isn't installed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe
from .databases import MARIADB, Script, need_mariadb, unique

SECRET = "hunter2"
SHARED = {"db.system.name": "mariadb", "db.namespace": "test", "server.address": "127.0.0.1"}
pytestmark = pytest.mark.filterwarnings("error")


class Kind(NamedTuple):
    """One driver."""

    library: str
    module: Any
    options: dict[str, Any]

    def connect(self, **more: Any) -> Any:
        """Connect."""
        return self.module.connect(**{**MARIADB, **self.options, **more})


INSTALL = {"pymysql": "pymysql", "mysqlclient": "mysqlclient", "mysql": "mysql-connector-python"}
MODULES = {"pymysql": "pymysql", "mysqlclient": "MySQLdb", "mysql": "mysql.connector"}
OPTIONS: dict[str, dict[str, Any]] = {"mysql": {"use_pure": True}}


def name_of(kind: type) -> str:
    """Give the name of a class as `error.type` has it."""
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.fixture(params=list(MODULES))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each driver in turn."""
    library = request.param
    try:
        module = importlib.import_module(MODULES[library])
    except ImportError as error:
        pytest.skip(f"{MODULES[library]} can't be imported ({error}); install it with: pip install {INSTALL[library]}")
    need_mariadb()
    return Kind(library, module, OPTIONS.get(library, {}))


@pytest.fixture
def seen(observed: Observe, kind: Kind) -> Iterator[Any]:
    """The driver's library enabled."""
    with observed(kind.library) as seen:
        yield seen


@pytest.fixture
def connection(kind: Kind, seen: Any) -> Iterator[Any]:
    """A connection that was made while it was."""
    connection = kind.connect()
    seen.clear()
    yield connection
    connection.close()


def test_a_statement_is_a_client_span_with_the_attributes_of_the_convention(seen: Any, connection: Any) -> None:
    """Names and attributes are those of the conventions; MariaDB is told from MySQL, the default port left out."""
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT table_name FROM information_schema.tables WHERE table_name = '{SECRET}' AND table_rows > %s", (1,)
    )
    cursor.fetchall()
    assert seen.span.kind is SpanKind.CLIENT
    assert seen.span.name == "SELECT information_schema.tables"
    assert dict(seen.span.attributes) == {
        **SHARED,
        "db.query.text": "SELECT table_name FROM information_schema.tables WHERE table_name = ? AND table_rows > %s",
        "db.query.summary": "SELECT information_schema.tables",
        "db.operation.name": "SELECT",
        "db.collection.name": "information_schema.tables",
    }


def test_each_way_of_sending_a_statement_makes_one_span(seen: Any, connection: Any) -> None:
    """A batch is one, though the driver sends several statements; so is a procedure with its variables."""
    procedure = unique("noops_double")
    cursor = connection.cursor()
    cursor.execute("CREATE TEMPORARY TABLE pets (name VARCHAR(20))")
    cursor.executemany("INSERT INTO pets VALUES (%s)", [("a",), ("b",)])
    cursor.executemany("UPDATE pets SET name = %s WHERE name = %s", [("c", "a"), ("d", "b")])
    cursor.execute(f"CREATE PROCEDURE {procedure} (IN given INT) SELECT given * 2")
    try:
        cursor.callproc(procedure, (4,))
        while cursor.nextset():
            pass
    finally:
        cursor.execute(f"DROP PROCEDURE {procedure}")
    connection.commit()
    connection.rollback()
    names = [span.name for span in seen.spans]
    assert names[:3] == ["CREATE TEMPORARY TABLE pets", "BATCH INSERT pets", "BATCH UPDATE pets"] or names[:3] == [
        "CREATE TABLE pets",
        "BATCH INSERT pets",
        "BATCH UPDATE pets",
    ]
    assert names[4] == f"CALL {procedure}"
    assert len(names) == 6
    assert seen.spans[1].attributes["db.operation.batch.size"] == 2
    assert seen.spans[4].attributes["db.stored_procedure.name"] == procedure


def test_a_failed_statement_tells_the_error_and_its_number(seen: Any, kind: Kind, connection: Any) -> None:
    """The number says more than the SQLSTATE that some drivers add."""
    with pytest.raises(kind.module.ProgrammingError):
        connection.cursor().execute("SELECT * FROM nowhere")
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == name_of(kind.module.ProgrammingError)
    assert seen.span.attributes["db.response.status_code"] == "1146"
    (point,) = [point for point in seen.metrics()["db.client.operation.duration"] if "error.type" in point.attributes]
    assert point.attributes["db.response.status_code"] == "1146"


def test_a_connection_that_was_made_earlier_is_observed(observed: Observe, kind: Kind) -> None:
    """What can be read of it is told."""
    connection = kind.connect()
    with observed(kind.library) as seen:
        connection.cursor().execute("SELECT 1")
        assert seen.span.attributes["db.system.name"] == "mariadb"


def test_a_closed_connection_fails_as_ever(seen: Any, kind: Kind) -> None:
    """The driver's error is the driver's, however often."""
    connection = kind.connect()
    cursor = connection.cursor()
    connection.close()
    seen.clear()
    for _ in range(5):
        with pytest.raises(kind.module.Error):
            cursor.execute("SELECT 1")
    assert len(seen.spans) == 5


def test_nothing_is_kept_of_a_connection(seen: Any, kind: Kind) -> None:
    """What is known of a connection goes with it."""
    targets = importlib.import_module(f"noops_instrumentation.{kind.library}").TARGETS
    gc.collect()
    before = len(targets)
    for _ in range(3):
        connection = kind.connect()
        connection.cursor().execute("SELECT 1")
        connection.close()
    del connection
    gc.collect()
    assert len(targets) == before


def test_prepared_statements_and_asyncio_of_the_connector(seen: Any, kind: Kind, connection: Any) -> None:
    """MySQL Connector/Python has classes of its own for them."""
    if kind.library != "mysql":
        pytest.skip("only MySQL Connector/Python has these")
    aio = pytest.importorskip("mysql.connector.aio")

    async def main() -> None:
        async with await aio.connect(**MARIADB, ssl_disabled=True) as other:
            cursor = await other.cursor()
            with seen.tracer.start_as_current_span("parent") as parent:
                await cursor.execute("SELECT 1")
                await cursor.fetchall()
                found.append(parent.get_span_context().span_id)

    found: list[int] = []
    cursor = connection.cursor(prepared=True)
    cursor.execute("SELECT %s", (5,))
    assert cursor.fetchall() == [(5,)]
    assert [span.attributes["db.query.text"] for span in seen.spans] == ["SELECT %s"]
    seen.clear()
    asyncio.run(main())
    (span,) = [span for span in seen.spans if span.name == "SELECT"]
    assert dict(span.attributes).items() >= SHARED.items()
    assert span.parent.span_id == found[0]


def test_a_span_that_is_current_makes_no_driver_warn(seen: Any, kind: Kind) -> None:
    """MySQL Connector/Python sends its context to the server, and warns of a server that can't take it."""
    with seen.tracer.start_as_current_span("parent"):
        connection = kind.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT %s", (1,))
        assert list(cursor.fetchall()) == [(1,)]
        connection.close()


def test_an_option_puts_the_context_into_a_comment(observed: Observe, kind: Kind) -> None:
    """The server sees which span a statement is of."""
    with observed(kind.library, commenter=True) as seen:
        connection = kind.connect()
        cursor = connection.cursor()
        seen.clear()
        cursor.execute("SELECT info FROM information_schema.processlist WHERE id = connection_id()")
        (sent,) = cursor.fetchone()
        context = seen.span.context
    assert (sent.decode() if isinstance(sent, bytes) else sent).endswith(
        f"/*traceparent='00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}'*/"
    )


def script(kind: Kind, table: str) -> list[Any]:
    """Use much of the driver."""
    run = Script()
    connection = kind.connect()
    cursor = connection.cursor()
    run.do(cursor.execute, f"CREATE TEMPORARY TABLE {table} (name VARCHAR(20) UNIQUE, number INT)")
    run.do(cursor.execute, f"INSERT INTO {table} VALUES (%s, %s), ('b', 2)", ("a", 1))
    run.keep((cursor.rowcount, cursor.lastrowid))
    run.do(cursor.executemany, f"INSERT INTO {table} VALUES (%s, %s)", [("x", 1), ("y", 2)])
    run.keep(cursor.rowcount)
    run.do(cursor.executemany, f"UPDATE {table} SET number = %s WHERE name = %s", [(5, "x"), (6, "y")])
    run.do(cursor.executemany, f"INSERT INTO {table} VALUES (%s, %s)", [])
    run.do(cursor.execute, f"INSERT INTO {table} VALUES ('a', 1)")
    for wrong in ("SELECT * FROM nowhere", "SELECT", "SELECT %s", 5):
        run.do(cursor.execute, wrong)
    run.do(cursor.execute)
    run.do(cursor.execute, f"SELECT name, number FROM {table} WHERE name = %(name)s", {"name": "a"})
    run.keep([column[0] for column in cursor.description])
    run.do(cursor.fetchone)
    run.do(cursor.fetchall)
    run.do(cursor.execute, f"SELECT name FROM {table} ORDER BY name")
    run.keep(list(cursor))
    run.do(cursor.callproc, "no_such_procedure")
    connection.commit()
    cursor.close()
    run.do(cursor.execute, "SELECT 1")
    connection.close()
    return run.steps


def test_a_program_gets_the_same_with_and_without(observed: Observe, kind: Kind) -> None:
    """Every result, every exception and its message, for a program that uses much of the driver."""
    table = unique("noops")
    without = script(kind, table)
    with observed(kind.library):
        with_us = script(kind, table)
    for one, other in zip(with_us, without, strict=True):
        assert one == other


def test_a_socket_is_the_address_and_another_port_is_told(observed: Observe) -> None:
    """The address never holds the port; a socket has none."""
    pytest.importorskip("pymysql")
    from noops_instrumentation.pymysql import _shared

    class Connection:
        db: Any = b"shop"
        host, port = "db.example.com", 3307
        unix_socket: Any = None

        def get_server_info(self) -> str:
            return "8.4.0"

    assert _shared(Connection()) == {
        "db.system.name": "mysql",
        "db.namespace": "shop",
        "server.address": "db.example.com",
        "server.port": 3307,
    }
    Connection.unix_socket, Connection.db = "/run/mysqld/mysqld.sock", None
    assert _shared(Connection()) == {"db.system.name": "mysql", "server.address": "/run/mysqld/mysqld.sock"}
