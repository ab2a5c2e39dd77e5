"""psycopg 3: cursors of both flavours against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe
from .databases import POSTGRESQL, Script, need_postgresql, unique

psycopg = pytest.importorskip("psycopg")
from psycopg import sql  # noqa: E402
from psycopg.rows import dict_row, namedtuple_row  # noqa: E402

SECRET = "hunter2"
SHARED = {"db.system.name": "postgresql", "db.namespace": "test", "server.address": "127.0.0.1"}


@pytest.fixture
def connection() -> Iterator[Any]:
    """A connection that was made before the library is enabled: it is observed all the same."""
    need_postgresql()
    with psycopg.connect(**POSTGRESQL) as connection:
        yield connection
        connection.rollback()


def test_a_statement_is_a_client_span_with_the_attributes_of_the_convention(observed: Observe, connection: Any) -> None:
    """Names and attributes are those of the stable conventions; the default port is left out."""
    with observed("psycopg") as seen:
        connection.execute(f"SELECT relname FROM pg_class WHERE relname = '{SECRET}' AND oid = %s", (1,))
        span = seen.span
    assert span.name == "SELECT pg_class"
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes) == {
        **SHARED,
        "db.query.text": "SELECT relname FROM pg_class WHERE relname = ? AND oid = %s",
        "db.query.summary": "SELECT pg_class",
        "db.operation.name": "SELECT",
        "db.collection.name": "pg_class",
    }


def test_each_way_of_sending_a_statement_makes_one_span(observed: Observe, connection: Any) -> None:
    """Rows that are fetched later, of a server-side cursor too, make none."""
    with observed("psycopg") as seen:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE pets (name TEXT)")
            cursor.executemany("INSERT INTO pets VALUES (%s)", [("a",), ("b",)])
            assert list(cursor.stream("SELECT name FROM pets")) == [("a",), ("b",)]
            with cursor.copy("COPY pets FROM STDIN") as copy:
                copy.write_row(("c",))
            with cursor.copy("COPY pets TO STDOUT") as copy:
                assert len(list(copy.rows())) == 3
        with connection.cursor("server_side") as cursor:
            cursor.execute("SELECT name FROM pets ORDER BY name")
            assert cursor.fetchone() == ("a",)
            assert cursor.fetchall() == [("b",), ("c",)]
        names = [span.name for span in seen.spans]
    assert names == ["CREATE TABLE pets", "BATCH INSERT pets", "SELECT pets", "COPY pets", "COPY pets", "SELECT pets"]
    assert seen.spans[1].attributes["db.operation.batch.size"] == 2


def test_a_stream_and_a_copy_last_until_they_are_used_up(observed: Observe, connection: Any) -> None:
    """The rows are the work; a span that ends before them tells nothing."""
    with observed("psycopg") as seen, connection.cursor() as cursor:
        rows = cursor.stream("SELECT generate_series(1, 3)")
        next(rows)
        assert seen.spans == []
        rows.close()
        assert len(seen.spans) == 1
        seen.clear()
        with cursor.copy("COPY (SELECT 1) TO STDOUT") as copy:
            assert seen.spans == []
            list(copy)
        assert len(seen.spans) == 1


def test_a_copy_that_fails_tells_the_error(observed: Observe, connection: Any) -> None:
    """A missing table shows on entering the block, a violated constraint on leaving it."""
    with observed("psycopg") as seen:
        cursor = connection.cursor()
        with pytest.raises(psycopg.errors.UndefinedTable), cursor.copy("COPY nowhere FROM STDIN"):
            pass
        assert seen.span.attributes["error.type"] == "psycopg.errors.UndefinedTable"
        assert seen.span.attributes["db.response.status_code"] == "42P01"
        connection.rollback()
        cursor.execute("CREATE TEMP TABLE pets (name TEXT UNIQUE)")
        seen.clear()
        with pytest.raises(psycopg.errors.UniqueViolation), cursor.copy("COPY pets FROM STDIN") as copy:
            copy.write_row(("a",))
            copy.write_row(("a",))
        assert seen.span.attributes["db.response.status_code"] == "23505"


def test_a_composed_statement_is_told_without_its_values(observed: Observe, connection: Any) -> None:
    """Identifiers stay; literals never leave, and aren't even written."""
    statement = sql.SQL("SELECT {literal} AS {name}, {fields} FROM {table} WHERE oid = {value}").format(
        literal=sql.Literal(SECRET),
        name=sql.Identifier('a"b'),
        fields=sql.SQL(", ").join([sql.Identifier("relname"), sql.Identifier("pg_class", "oid")]),
        table=sql.Identifier("pg_catalog", "pg_class"),
        value=sql.Placeholder(),
    )
    with observed("psycopg") as seen:
        connection.execute(statement, (1,))
        assert seen.span.attributes["db.query.text"] == (
            'SELECT %s AS "a""b", "relname", "pg_class"."oid" FROM "pg_catalog"."pg_class" WHERE oid = %s'
        )


def test_bytes_are_statements_too(observed: Observe, connection: Any) -> None:
    """The driver takes both."""
    with observed("psycopg") as seen:
        connection.execute(b"SELECT relname FROM pg_class WHERE relname = 'hunter2'")
        assert seen.span.attributes["db.query.text"] == "SELECT relname FROM pg_class WHERE relname = ?"


def test_a_failed_statement_tells_the_error_and_its_code(observed: Observe, connection: Any) -> None:
    """The SQLSTATE is the code of PostgreSQL; a violated constraint is an error."""
    with observed("psycopg") as seen:
        connection.execute("CREATE TEMP TABLE pets (name TEXT UNIQUE)")
        connection.execute("INSERT INTO pets VALUES ('a')")
        seen.clear()
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO pets VALUES ('a')")
        span = seen.span
        failed = [p for p in seen.metrics()["db.client.operation.duration"] if "error.type" in p.attributes]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "psycopg.errors.UniqueViolation"
    assert span.attributes["db.response.status_code"] == "23505"
    assert [point.attributes["db.response.status_code"] for point in failed] == ["23505"]


def test_another_port_and_a_socket_are_told(observed: Observe) -> None:
    """The address never holds the port, and a socket has none."""
    from noops_instrumentation.psycopg import _shared

    class Info:
        vendor, dbname, host, port = "PostgreSQL", "shop", "db.example.com", 6432

    class Socket(Info):
        host, port = "/var/run/postgresql", 6432

    class Cockroach(Info):
        vendor, port = "CockroachDB", 26257

    class Connection:
        info: Any = Info()

    assert _shared(Connection()) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.example.com",
        "server.port": 6432,
    }
    Connection.info = Socket()
    assert _shared(Connection())["server.address"] == "/var/run/postgresql"
    assert "server.port" not in _shared(Connection())
    Connection.info = Cockroach()
    assert _shared(Connection())["db.system.name"] == "cockroachdb"
    assert "server.port" not in _shared(Connection())


def test_transactions_and_pipelines_make_spans_of_statements_alone(observed: Observe, connection: Any) -> None:
    """`transaction()` and the pipeline's own messages are not the program's statements."""
    with observed("psycopg") as seen:
        with connection.transaction(), connection.transaction():
            connection.execute("SELECT 1")
        with connection.pipeline():
            connection.execute("SELECT 2")
            connection.execute("SELECT 3")
        connection.commit()
        assert [span.name for span in seen.spans] == ["SELECT"] * 3


def test_a_closed_connection_fails_as_ever(observed: Observe) -> None:
    """Its attributes can't be read any more, and the span tells the system alone; the driver's error is its own."""
    need_postgresql()
    connection = psycopg.connect(**POSTGRESQL)
    cursor = connection.cursor()
    connection.close()
    with observed("psycopg") as seen:
        for _ in range(5):
            with pytest.raises(psycopg.OperationalError, match="closed"):
                cursor.execute("SELECT 1")
        assert len(seen.spans) == 5
        assert seen.spans[0].attributes["db.system.name"] == "postgresql"
        assert "server.address" not in seen.spans[0].attributes


def test_nothing_is_kept_of_a_connection(observed: Observe) -> None:
    """What is known of a connection goes with it."""
    need_postgresql()
    from noops_instrumentation.psycopg import TARGETS

    gc.collect()
    before = len(TARGETS)
    with observed("psycopg"):
        for _ in range(5):
            with psycopg.connect(**POSTGRESQL) as connection:
                connection.execute("SELECT 1")
        assert len(TARGETS) <= before + 1
        del connection
        gc.collect()
        assert len(TARGETS) == before


class OwnCursor(psycopg.Cursor):  # type: ignore[misc, type-arg]
    """A program's own cursor."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute."""
        return super().execute("SELECT 1 AS own", *args, **kwargs)


def test_cursors_of_a_program_are_observed(observed: Observe) -> None:
    """So are those that write values into the text at the client."""
    need_postgresql()
    with observed("psycopg") as seen:
        with psycopg.connect(**POSTGRESQL, cursor_factory=OwnCursor) as connection:
            assert connection.execute("whatever").fetchone() == (1,)
            assert seen.span.attributes["db.query.text"] == "SELECT ? AS own"
        seen.clear()
        with psycopg.connect(**POSTGRESQL, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute("SELECT %s", (SECRET,))
            assert seen.span.attributes["db.query.text"] == "SELECT %s"


def test_a_pool_checks_its_connections_quietly(observed: Observe) -> None:
    """A check of the pool's is no statement of the program's; a program's own configuration is."""
    psycopg_pool = pytest.importorskip("psycopg_pool")
    need_postgresql()
    with observed("psycopg") as seen:
        check = getattr(psycopg_pool.ConnectionPool, "check_connection", None)
        checking = {"check": check} if check else {}
        with psycopg_pool.ConnectionPool(kwargs=POSTGRESQL, min_size=1, open=True, **checking) as pool:
            with pool.connection() as connection:
                connection.execute("SELECT 1")
            pool.check()
        assert [span.name for span in seen.spans] == ["SELECT"]


def test_an_asynchronous_pool_checks_its_connections_quietly(observed: Observe) -> None:
    """The same holds in an event loop."""
    psycopg_pool = pytest.importorskip("psycopg_pool")
    need_postgresql()

    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(kwargs=POSTGRESQL, min_size=1, open=False) as pool:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            await pool.check()

    with observed("psycopg") as seen:
        asyncio.run(main())
        assert [span.name for span in seen.spans] == ["SELECT"]


def test_an_option_puts_the_context_into_a_comment(observed: Observe, connection: Any) -> None:
    """The server sees which span a statement is of; the span doesn't tell the comment."""
    query = "SELECT current_query()"
    with observed("psycopg", commenter=True) as seen:
        (sent,) = connection.execute(query).fetchone()
        context = seen.span.context
        assert seen.span.attributes["db.query.text"] == query
        (named,) = connection.execute(query=query).fetchone()
    flags = f"{context.trace_flags:02x}"
    assert sent == f"{query} /*traceparent='00-{context.trace_id:032x}-{context.span_id:016x}-{flags}'*/"
    assert named.startswith(f"{query} /*traceparent=")


def test_the_asynchronous_flavour_makes_the_same_spans(observed: Observe) -> None:
    """Streams, copies, server-side cursors and pools too."""
    need_postgresql()

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(**POSTGRESQL) as connection:
            with seen.tracer.start_as_current_span("parent"):
                async with connection.cursor() as cursor:
                    await cursor.execute("CREATE TEMP TABLE pets (name TEXT)")
                    await cursor.executemany("INSERT INTO pets VALUES (%s)", [("a",), ("b",)])
                    assert [row async for row in cursor.stream("SELECT name FROM pets")] == [("a",), ("b",)]
                    async with cursor.copy("COPY pets FROM STDIN") as copy:
                        await copy.write_row(("c",))
                async with connection.cursor("server_side") as cursor:
                    await cursor.execute("SELECT name FROM pets ORDER BY name")
                    assert await cursor.fetchall() == [("a",), ("b",), ("c",)]

    with observed("psycopg") as seen:
        asyncio.run(main())
        *spans, parent = seen.spans
    assert [span.name for span in spans] == [
        "CREATE TABLE pets",
        "BATCH INSERT pets",
        "SELECT pets",
        "COPY pets",
        "SELECT pets",
    ]
    assert {span.parent.span_id for span in spans} == {parent.context.span_id}
    assert dict(spans[0].attributes).items() >= SHARED.items()


def test_concurrent_tasks_do_not_mix(observed: Observe) -> None:
    """Each statement is a child of the span of its task."""
    need_postgresql()
    parents: dict[str, int] = {}

    async def work(name: str) -> None:
        async with await psycopg.AsyncConnection.connect(**POSTGRESQL) as connection:
            with seen.tracer.start_as_current_span(name) as parent:
                await connection.execute(f"SELECT pg_sleep(0.01) AS {name}")
                parents[name] = parent.get_span_context().span_id

    async def main() -> None:
        await asyncio.gather(*(work(f"task{number}") for number in range(5)))

    with observed("psycopg") as seen:
        asyncio.run(main())
        found = {
            span.attributes["db.query.text"].rpartition(" ")[2]: span.parent.span_id
            for span in seen.spans
            if span.kind is SpanKind.CLIENT
        }
    assert found == parents


def test_a_cancelled_statement_ends_its_span(observed: Observe) -> None:
    """Cancellation reaches the program; it is the `error.type`, but no error of the span's."""
    need_postgresql()

    async def main() -> None:
        connection = await psycopg.AsyncConnection.connect(**POSTGRESQL)
        task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
        while not connection.lock.locked():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await connection.close()

    with observed("psycopg") as seen:
        asyncio.run(main())
        span = seen.span
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert span.status.status_code is StatusCode.UNSET


def script(table: str) -> list[Any]:
    """Use much of the driver."""
    run = Script()
    connection = psycopg.connect(**POSTGRESQL)
    run.do(connection.execute, f"CREATE TEMP TABLE {table} (name TEXT UNIQUE, born DATE)")
    cursor = connection.cursor()
    run.do(lambda: cursor.execute("SELECT 1") is cursor)
    run.do(cursor.executemany, f"INSERT INTO {table} VALUES (%s, %s)", [("a", datetime.date(2020, 1, 1)), ("b", None)])
    run.do(cursor.executemany, f"SELECT name FROM {table} WHERE name = %s", (("a",) for _ in range(2)), returning=True)
    run.do(lambda: [result.fetchall() for result in cursor.results()])
    run.do(lambda: connection.execute("SELECT %(x)s::int", {"x": 5}, prepare=True, binary=True).fetchall())
    for factory in (dict_row, namedtuple_row):
        run.do(lambda factory=factory: connection.cursor(row_factory=factory).execute("SELECT 1 AS a").fetchone())
    run.do(lambda: [(column.name, column.type_code) for column in cursor.execute(f"SELECT * FROM {table}").description])
    run.do(lambda: list(cursor.stream("SELECT generate_series(1, 3)", size=1)))
    run.do(lambda: cursor.stream("SELECT 1").__name__)
    with connection.cursor("scrolled", scrollable=True) as named:
        run.do(named.execute, "SELECT generate_series(1, 10)")
        run.do(named.fetchmany, 3)
        run.do(named.scroll, 2)
        run.do(named.fetchone)
        run.do(named.executemany, "SELECT %s", [(1,)])
    run.do(connection.commit)
    run.do(connection.execute, "SELECT * FROM nowhere")
    run.do(connection.rollback)
    run.do(connection.execute, "SELECT %s", ())
    run.do(connection.execute)
    run.do(connection.execute, 5)
    run.do(connection.execute, "SELECT 1", wrong=1)
    run.do(lambda: isinstance(cursor.copy(5), contextlib.AbstractContextManager))
    run.do(lambda: cursor.copy(5).__enter__())
    with cursor.copy(f"COPY {table} TO STDOUT") as copy:
        run.keep(type(copy).__name__)
        run.do(lambda: [bytes(block) for block in copy])
    with connection.transaction() as transaction:
        run.keep(transaction)
        run.do(connection.execute, "SELECT 1")
    with connection.pipeline() as pipeline:
        run.do(lambda: pipeline.sync())
        waiting = connection.execute("SELECT 7")
        run.do(waiting.fetchone)
    cursor.close()
    run.do(cursor.execute, "SELECT 1")
    connection.close()
    run.do(connection.execute, "SELECT 1")
    return run.steps


def test_a_program_gets_the_same_with_and_without(observed: Observe) -> None:
    """Every result, every exception and its message, for a program that uses much of the driver."""
    need_postgresql()
    table = unique("noops")
    without = script(table)
    with observed("psycopg"):
        with_us = script(table)
    assert with_us == without
