"""psycopg2, whose classes are written in C, against a real server."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.conftest import Never

from .conftest import Observe
from .databases import POSTGRESQL, Script, need_postgresql, unique

psycopg2 = pytest.importorskip("psycopg2")
from psycopg2 import extensions, extras, pool, sql  # noqa: E402

SECRET = "hunter2"
SHARED = {"db.system.name": "postgresql", "db.namespace": "test", "server.address": "127.0.0.1"}


@pytest.fixture
def seen(observed: Observe) -> Iterator[Any]:
    """The library enabled."""
    need_postgresql()
    with observed("psycopg2") as seen:
        yield seen


@pytest.fixture
def connection(seen: Any) -> Iterator[Any]:
    """A connection that is observed: they are when they are made, and no earlier."""
    connection = psycopg2.connect(**POSTGRESQL)
    yield connection
    connection.close()


def test_a_statement_is_a_client_span_with_the_attributes_of_the_convention(seen: Any, connection: Any) -> None:
    """Names and attributes are those of the stable conventions; the default port is left out."""
    connection.cursor().execute(f"SELECT relname FROM pg_class WHERE relname = '{SECRET}' AND oid = %s", (1,))
    assert seen.span.name == "SELECT pg_class"
    assert seen.span.kind is SpanKind.CLIENT
    assert dict(seen.span.attributes) == {
        **SHARED,
        "db.query.text": "SELECT relname FROM pg_class WHERE relname = ? AND oid = %s",
        "db.query.summary": "SELECT pg_class",
        "db.operation.name": "SELECT",
        "db.collection.name": "pg_class",
    }


def test_each_way_of_sending_a_statement_makes_one_span(seen: Any, connection: Any) -> None:
    """Copies and procedures too; fetching, committing and rolling back make none."""
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE pets (name TEXT)")
    cursor.executemany("INSERT INTO pets VALUES (%s)", [("a",), ("b",)])
    cursor.copy_from(io.StringIO("c\n"), "pets")
    cursor.copy_to(io.StringIO(), table="pets")
    cursor.copy_expert("COPY pets TO STDOUT", io.StringIO())
    cursor.callproc("upper", ("a",))
    assert cursor.fetchall() == [("A",)]
    cursor.execute(query="SELECT name FROM pets")
    assert len(list(cursor)) == 3
    connection.commit()
    connection.rollback()
    with connection.cursor("server_side") as named:
        named.execute("SELECT generate_series(1, 5) FROM pets")
        assert len(named.fetchall()) == 15
    assert [span.name for span in seen.spans] == [
        "CREATE TABLE pets",
        "BATCH INSERT pets",
        "COPY pets",
        "COPY pets",
        "COPY pets",
        "CALL upper",
        "SELECT pets",
        "SELECT pets",
    ]
    assert seen.spans[1].attributes["db.operation.batch.size"] == 2
    assert seen.spans[5].attributes["db.stored_procedure.name"] == "upper"


def test_many_values_are_one_span_of_the_programs_statement(seen: Any, connection: Any) -> None:
    """`execute_values` and `execute_batch` send their values in the text, in several statements."""
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE pets (name TEXT)")
    seen.clear()
    extras.execute_values(cursor, "INSERT INTO pets VALUES %s", [(SECRET,)] * 250)
    extras.execute_batch(cursor, "INSERT INTO pets VALUES (%s)", [(SECRET,)] * 250)
    assert [span.name for span in seen.spans] == ["BATCH INSERT pets"] * 2
    assert [span.attributes["db.operation.batch.size"] for span in seen.spans] == [250] * 2
    assert [span.attributes["db.query.text"] for span in seen.spans] == [
        "INSERT INTO pets VALUES %s",
        "INSERT INTO pets VALUES (%s)",
    ]
    cursor.execute("SELECT count(*) FROM pets")
    assert cursor.fetchone() == (500,)


def test_a_failed_statement_tells_the_error_and_its_code(seen: Any, connection: Any) -> None:
    """The SQLSTATE is the code of PostgreSQL."""
    with pytest.raises(psycopg2.errors.UndefinedTable):
        connection.cursor().execute("SELECT * FROM nowhere")
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == "psycopg2.errors.UndefinedTable"
    assert seen.span.attributes["db.response.status_code"] == "42P01"
    (point,) = seen.metrics()["db.client.operation.duration"]
    assert point.attributes["db.response.status_code"] == "42P01"


def test_a_composed_statement_is_told_without_its_values(seen: Any, connection: Any) -> None:
    """Identifiers stay; literals never leave, and aren't even written."""
    statement = sql.SQL("SELECT {} AS {} FROM {} WHERE oid = {}").format(
        sql.Literal(SECRET), sql.Identifier('a"b'), sql.Identifier("pg_catalog", "pg_class"), sql.Placeholder()
    )
    connection.cursor().execute(statement, (1,))
    assert seen.span.attributes["db.query.text"] == 'SELECT %s AS "a""b" FROM "pg_catalog"."pg_class" WHERE oid = %s'


def test_a_connection_is_accepted_where_the_driver_checks_for_its_own_type(seen: Any, connection: Any) -> None:
    """The registrations of the driver look at types in C; a proxy would be refused."""
    cursor = connection.cursor()
    extensions.register_type(extensions.UNICODE, connection)
    extensions.register_type(extensions.UNICODE, cursor)
    extras.register_default_json(connection, loads=lambda text: {"ours": json.loads(text)})
    extras.register_uuid(conn_or_curs=connection)
    cursor.execute("SELECT '{\"a\": 1}'::json")
    assert cursor.fetchone() == ({"ours": {"a": 1}},)
    assert extensions.quote_ident("a b", connection) == '"a b"'
    assert sql.Identifier("a").as_string(connection) == '"a"'
    assert extensions.adapt("é").getquoted() is not None
    assert isinstance(connection, extensions.connection)
    assert isinstance(cursor, extensions.cursor)
    assert repr(connection).startswith("<connection object at 0x")
    assert type(cursor).__name__ == "cursor"
    assert connection.cursor_factory is None
    assert "password" not in connection.dsn


class OwnCursor(extensions.cursor):
    """A program's own cursor, which names its base, as the driver's documentation does."""

    def execute(self, sql: Any, args: Any = None) -> Any:
        """Execute."""
        self.last = sql
        return extensions.cursor.execute(self, sql, args)


class OwnConnection(extensions.connection):
    """A program's own connection."""

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Open one of its own."""
        kwargs.setdefault("cursor_factory", OwnCursor)
        return super().cursor(*args, **kwargs)


@pytest.mark.parametrize(
    ("options", "opening", "kind"),
    [
        ({"cursor_factory": extras.DictCursor}, {}, extras.DictCursor),
        ({}, {"cursor_factory": extras.RealDictCursor}, extras.RealDictCursor),
        ({}, {"cursor_factory": extras.NamedTupleCursor}, extras.NamedTupleCursor),
        ({"connection_factory": extras.DictConnection}, {}, extras.DictCursor),
        ({"connection_factory": OwnConnection}, {}, OwnCursor),
        ({}, {"cursor_factory": OwnCursor}, OwnCursor),
        ({}, {"cursor_factory": None}, extensions.cursor),
    ],
)
def test_factories_of_connections_and_cursors_are_kept(seen: Any, options: Any, opening: Any, kind: type) -> None:
    """Whichever way a program says of what class they are to be."""
    connection = psycopg2.connect(**POSTGRESQL, **options)
    cursor = connection.cursor(**opening)
    cursor.execute("SELECT 1 AS a")
    assert isinstance(connection, options.get("connection_factory", extensions.connection))
    assert isinstance(cursor, kind)
    assert type(cursor).__name__ == kind.__name__
    assert connection.cursor_factory is options.get("cursor_factory")
    row = cursor.fetchone()
    assert row["a" if isinstance(row, dict) else 0] == 1
    assert len(seen.spans) == 1
    connection.close()


def test_replication_connections_are_left_alone(seen: Any) -> None:
    """Their layout allows no second base; they work as without us."""
    with pytest.raises(psycopg2.Error):  # the user may not, or the server isn't set up for it
        psycopg2.connect(
            **{**POSTGRESQL, "user": "nobody_here"}, connection_factory=extras.LogicalReplicationConnection
        )


def test_pools_and_with_blocks_work(seen: Any) -> None:
    """Connections of the driver's pool are observed."""
    made = pool.SimpleConnectionPool(1, 2, **POSTGRESQL)
    connection = made.getconn()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    made.putconn(connection)
    made.closeall()
    assert [span.name for span in seen.spans] == ["SELECT"]


def test_an_asynchronous_connection_works(seen: Any) -> None:
    """The driver's own asynchronous mode, as gevent and eventlet use it."""
    connection = psycopg2.connect(**POSTGRESQL, async_=True)
    extras.wait_select(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    extras.wait_select(connection)
    assert cursor.fetchone() == (1,)
    assert seen.span.attributes["db.namespace"] == "test"


def test_nothing_is_kept_of_connections_and_cursors(observed: Observe) -> None:
    """A pool opens and closes connections for as long as the process lives."""
    need_postgresql()

    def use() -> None:
        connection = psycopg2.connect(**POSTGRESQL, cursor_factory=extras.DictCursor)
        connection.cursor().execute("SELECT 1")
        connection.close()

    with observed("psycopg2", sampler=Never()):
        use()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(20):
            use()
        gc.collect()
        assert len(gc.get_objects()) - before < 20


def test_connections_outlive_the_patch(observed: Observe) -> None:
    """A connection that was made while the library was enabled works on, quietly."""
    need_postgresql()
    original = psycopg2.connect
    with observed("psycopg2") as seen:
        connection = psycopg2.connect(**POSTGRESQL)
    assert psycopg2.connect is original
    connection.cursor().execute("SELECT 1")
    assert seen.spans == []
    assert type(psycopg2.connect(**POSTGRESQL)) is extensions.connection


def script(table: str) -> list[Any]:
    """Use much of the driver."""
    run = Script()
    connection = psycopg2.connect(**POSTGRESQL)
    cursor = connection.cursor()
    run.do(cursor.execute, f"CREATE TEMP TABLE {table} (name TEXT UNIQUE, number INT)")
    run.do(cursor.execute, f"INSERT INTO {table} VALUES (%s, %s), ('b', 2)", ("a", 1))
    run.keep((cursor.rowcount, cursor.statusmessage, cursor.query, cursor.lastrowid))
    run.do(cursor.executemany, f"INSERT INTO {table} VALUES (%(name)s, 1)", [{"name": "x"}, {"name": "y"}])
    run.do(cursor.executemany, f"INSERT INTO {table} VALUES (%s, 1)", ((name,) for name in "pq"))
    run.do(cursor.executemany, "SELECT 1", 5)
    run.do(cursor.execute, b"SELECT 1")
    for wrong in (None, 5, "", "SELECT", "SELECT %s", "SELECT * FROM nowhere"):
        run.do(cursor.execute, wrong)
        connection.rollback() if wrong == "SELECT * FROM nowhere" else None
    run.do(cursor.execute)
    run.do(cursor.execute, "SELECT 1", None, 5)
    run.do(cursor.callproc, "upper", ["a"])
    run.do(cursor.callproc, "no_such_procedure")
    connection.rollback()
    run.do(cursor.mogrify, "SELECT %s", ("a'b",))
    run.do(cursor.execute, "SELECT 1 AS a, 'x'::text AS b")
    run.keep([tuple(column) for column in cursor.description])
    run.do(cursor.fetchmany, 5)
    run.do(cursor.scroll, 0, mode="absolute")
    run.do(cursor.fetchone)
    for factory in (extras.DictCursor, extras.RealDictCursor, extras.NamedTupleCursor, OwnCursor):
        other = connection.cursor(cursor_factory=factory)
        run.do(other.execute, "SELECT 1 AS a")
        run.do(other.fetchone)
    run.do(connection.cursor, cursor_factory=5)
    run.do(connection.cursor, wrong=5)
    with connection.cursor("scrolled", scrollable=True) as named:
        run.do(named.execute, "SELECT generate_series(1, 10)")
        run.do(named.fetchmany, 3)
        run.do(named.scroll, 2)
        run.do(named.fetchone)
        run.do(named.execute, "SELECT 1")
    run.do(lambda: (connection.autocommit, connection.status, connection.encoding, connection.isolation_level))
    run.do(lambda: connection.get_dsn_parameters()["dbname"])
    run.do(lambda: (connection.notices, connection.notifies))
    run.do(cursor.execute, "DO $$ BEGIN RAISE NOTICE 'hi'; END $$")
    run.keep(connection.notices)
    large = connection.lobject(0, "wb")
    run.do(large.write, b"abc")
    run.do(lambda: large.unlink())
    run.do(connection.tpc_prepare)
    run.do(lambda: connection.__enter__() is connection)
    run.do(connection.__exit__, None, None, None)
    cursor.close()
    run.do(cursor.execute, "SELECT 1")
    connection.close()
    run.do(connection.cursor)
    run.do(psycopg2.connect)
    run.do(psycopg2.connect, "host=127.0.0.1 user=root dbname=no_such_database")
    run.do(psycopg2.connect, nonsense=1)
    run.do(psycopg2.connect, **POSTGRESQL, connection_factory=5)
    return run.steps


def test_a_program_gets_the_same_with_and_without(observed: Observe) -> None:
    """Every result, every exception and its message, for a program that uses much of the driver."""
    need_postgresql()
    table = unique("noops")
    without = script(table)
    with observed("psycopg2"):
        with_us = script(table)
    for one, other in zip(with_us, without, strict=True):
        assert one == other
