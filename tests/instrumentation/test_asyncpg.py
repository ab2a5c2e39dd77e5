"""asyncpg against a real server."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe
from .databases import POSTGRESQL_URL, Script, need_postgresql, unique

asyncpg = pytest.importorskip("asyncpg")

SECRET = "hunter2"
SHARED = {"db.system.name": "postgresql", "db.namespace": "test", "server.address": "127.0.0.1"}


def connected(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run something with a connection."""
    need_postgresql()

    async def main() -> Any:
        connection = await asyncpg.connect(POSTGRESQL_URL)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(main())


def test_a_statement_is_a_client_span_with_the_attributes_of_the_convention(observed: Observe) -> None:
    """Names and attributes are those of the stable conventions; the default port is left out."""

    async def work(connection: Any) -> None:
        await connection.fetch(f"SELECT relname FROM pg_class WHERE relname = '{SECRET}' AND oid = $1", 1)

    with observed("asyncpg") as seen:
        connected(work)
        span = seen.span
    assert span.name == "SELECT pg_class"
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes) == {
        **SHARED,
        "db.query.text": "SELECT relname FROM pg_class WHERE relname = ? AND oid = $1",
        "db.query.summary": "SELECT pg_class",
        "db.operation.name": "SELECT",
        "db.collection.name": "pg_class",
    }


def test_each_way_of_sending_a_statement_makes_one_span(observed: Observe) -> None:
    """Copies too, and what the driver asks the server for itself makes none."""

    async def work(connection: Any) -> None:
        await connection.execute("CREATE TEMP TABLE pets (name TEXT)")
        await connection.executemany("INSERT INTO pets VALUES ($1)", [("a",), ("b",)])
        assert await connection.fetchval("SELECT count(*) FROM pets") == 2
        assert await connection.fetchrow("SELECT name FROM pets") is not None
        many = getattr(connection, "fetchmany", connection.executemany)
        await many("INSERT INTO pets VALUES ($1) RETURNING name", [("c",)])
        await connection.copy_records_to_table("pets", records=[("d",)])
        await connection.copy_to_table("pets", source=io.BytesIO(b"e\n"))
        await connection.copy_from_table("pets", output=io.BytesIO())
        await connection.copy_from_query("SELECT name FROM pets WHERE name = $1", "a", output=io.BytesIO())

    with observed("asyncpg") as seen:
        connected(work)
        names = [span.name for span in seen.spans]
    assert names == [
        "CREATE TABLE pets",
        "BATCH INSERT pets",
        "SELECT pets",
        "SELECT pets",
        "INSERT pets",
        "COPY pets",
        "COPY pets",
        "COPY pets",
        "SELECT pets",
    ]
    assert seen.spans[1].attributes["db.operation.batch.size"] == 2


def test_a_prepared_statement_makes_one_span_each_time_it_runs(observed: Observe) -> None:
    """Its text is that which it was prepared with; preparing it runs nothing."""

    async def work(connection: Any) -> None:
        statement = await connection.prepare("SELECT relname FROM pg_class WHERE oid = $1")
        assert seen.spans == []
        await statement.fetch(1)
        await statement.fetchval(1)
        await statement.fetchrow(1)
        await statement.executemany([(1,), (2,), (3,)])
        with pytest.raises(asyncpg.DataError):
            await statement.fetch("no number")
        task = asyncio.create_task(statement.executemany([(1,)]))
        assert await task is None
        coroutine = statement.executemany([(1,)])
        assert inspect.isawaitable(coroutine)
        coroutine.close()

    with observed("asyncpg") as seen:
        connected(work)
        spans = seen.spans[:6]
    assert [span.name for span in spans] == [
        "SELECT pg_class",
        "SELECT pg_class",
        "SELECT pg_class",
        "BATCH SELECT pg_class",
        "SELECT pg_class",
        "SELECT pg_class",
    ]
    assert spans[3].attributes["db.operation.batch.size"] == 3
    assert spans[4].attributes["error.type"] == "asyncpg.exceptions.DataError"


def test_a_cursor_makes_one_span_however_many_rows_it_fetches(observed: Observe) -> None:
    """It is for the opening of the portal; the block of the transaction makes none."""

    async def work(connection: Any) -> None:
        async with connection.transaction():
            rows = [row async for row in connection.cursor("SELECT generate_series(1, 120)", prefetch=50)]
            assert len(rows) == 120
            cursor = await connection.cursor("SELECT generate_series(1, 9)")
            assert len(await cursor.fetch(5)) == 5
            assert await cursor.forward(1) == 1
            statement = await connection.prepare("SELECT 1")
            assert [row async for row in statement.cursor()] == [(1,)]

    with observed("asyncpg") as seen:
        connected(work)
        assert [span.name for span in seen.spans] == ["SELECT"] * 3


def test_transactions_make_no_spans_of_their_own(observed: Observe) -> None:
    """Neither blocks nor explicit ones, savepoints included; a statement that the program writes does."""

    async def work(connection: Any) -> None:
        async with connection.transaction(), connection.transaction():
            pass
        transaction = connection.transaction()
        await transaction.start()
        await transaction.rollback()
        transaction = connection.transaction()
        await transaction.start()
        await transaction.commit()
        with pytest.raises(asyncpg.InterfaceError):
            await transaction.commit()
        assert seen.spans == []
        await connection.execute("BEGIN")
        await connection.execute("COMMIT")

    with observed("asyncpg") as seen:
        connected(work)
        assert [span.name for span in seen.spans] == ["BEGIN", "COMMIT"]


def test_a_pool_makes_spans_of_statements_alone(observed: Observe) -> None:
    """Connecting, resetting and releasing are bookkeeping; pools made before the patch are observed."""
    need_postgresql()

    async def main() -> None:
        async with asyncpg.create_pool(POSTGRESQL_URL, min_size=1, max_size=2) as pool:
            assert await pool.fetchval("SELECT 1") == 1
            await pool.execute("SELECT 2")
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("SELECT 3")
                assert isinstance(connection, asyncpg.Connection)
            await pool.executemany("SELECT $1::int", [(1,), (2,)])

    with observed("asyncpg") as seen:
        asyncio.run(main())
        assert [span.name for span in seen.spans] == ["SELECT", "SELECT", "SELECT", "BATCH SELECT"]


def test_a_failed_statement_tells_the_error_and_its_code(observed: Observe) -> None:
    """The SQLSTATE is the code of PostgreSQL."""

    async def work(connection: Any) -> None:
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.execute("SELECT * FROM nowhere")

    with observed("asyncpg") as seen:
        connected(work)
        span = seen.span
        (point,) = seen.metrics()["db.client.operation.duration"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "asyncpg.exceptions.UndefinedTableError"
    assert span.attributes["db.response.status_code"] == "42P01"
    assert point.attributes["db.response.status_code"] == "42P01"


def test_a_socket_is_the_address_and_another_port_is_told(observed: Observe) -> None:
    """The address never holds the port."""
    from noops_instrumentation.asyncpg import _shared

    class Connection:
        class _params:
            database = "shop"

        _addr: Any = ("db.example.com", 6432)

    assert _shared(Connection())["server.port"] == 6432
    Connection._addr = "/run/postgresql/.s.PGSQL.5432"
    assert _shared(Connection()) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "/run/postgresql/.s.PGSQL.5432",
    }


def test_concurrent_tasks_do_not_mix(observed: Observe) -> None:
    """Each statement is a child of the span of its task."""
    need_postgresql()
    parents: dict[str, int] = {}

    async def work(pool: Any, name: str) -> None:
        with seen.tracer.start_as_current_span(name) as parent:
            await pool.execute(f"SELECT pg_sleep(0.01) AS {name}")
            parents[name] = parent.get_span_context().span_id

    async def main() -> None:
        async with asyncpg.create_pool(POSTGRESQL_URL, min_size=5, max_size=5) as pool:
            await asyncio.gather(*(work(pool, f"task{number}") for number in range(20)))

    with observed("asyncpg") as seen:
        asyncio.run(main())
        found = {
            span.attributes["db.query.text"].rpartition(" ")[2]: span.parent.span_id
            for span in seen.spans
            if span.kind is SpanKind.CLIENT
        }
    assert found == parents


def test_cancellations_and_timeouts_end_the_span(observed: Observe) -> None:
    """A cancellation is no error of the span's; a timeout is one."""

    async def work(connection: Any) -> None:
        task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(30)", timeout=0.01)

    with observed("asyncpg") as seen:
        connected(work)
        cancelled, timed_out = seen.spans
    assert cancelled.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert timed_out.attributes["error.type"] == "TimeoutError"
    assert timed_out.status.status_code is StatusCode.ERROR


def test_nothing_is_kept_of_a_connection(observed: Observe) -> None:
    """What is known of a connection goes with it."""
    from noops_instrumentation.asyncpg import TARGETS

    gc.collect()
    before = len(TARGETS)
    with observed("asyncpg"):
        for _ in range(3):
            connected(lambda connection: connection.execute("SELECT 1"))
        gc.collect()
        assert len(TARGETS) == before


def test_an_option_puts_the_context_into_a_comment(observed: Observe) -> None:
    """The server sees which span a statement is of."""
    query = "SELECT current_query()"
    with observed("asyncpg", commenter=True) as seen:
        sent = connected(lambda connection: connection.fetchval(query))
        context = seen.span.context
        assert seen.span.attributes["db.query.text"] == query
    flags = f"{context.trace_flags:02x}"
    assert sent == f"{query} /*traceparent='00-{context.trace_id:032x}-{context.span_id:016x}-{flags}'*/"


class OwnConnection(asyncpg.Connection):  # type: ignore[misc]
    """A program's own connection."""


async def script(table: str) -> list[Any]:
    """Use much of the driver."""
    run = Script()
    connection = await asyncpg.connect(POSTGRESQL_URL, connection_class=OwnConnection)
    run.keep(type(connection).__name__)
    await run.ado(connection.execute(f"CREATE TEMP TABLE {table} (name TEXT UNIQUE, number INT)"))
    await run.ado(connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", "a", 1))
    await run.ado(connection.execute(f"INSERT INTO {table} VALUES ('b', 2); SELECT 1"))
    await run.ado(connection.executemany(f"INSERT INTO {table} VALUES ($1, 1)", [("x",), ("y",)]))
    await run.ado(connection.executemany(f"INSERT INTO {table} VALUES ($1, 1)", ((name,) for name in "pq")))
    await run.ado(connection.executemany(f"INSERT INTO {table} VALUES ($1, 1)", 5))
    for wrong in ("", "SELECT", "SELECT $1", "SELECT * FROM nowhere", f"INSERT INTO {table} VALUES ('a', 1)"):
        await run.ado(connection.execute(wrong))
        await run.ado(connection.fetch(wrong))
    await run.ado(connection.fetchval("SELECT name, number FROM pg_class", column=9))
    await run.ado(connection.fetchval(f"SELECT name, number FROM {table} ORDER BY name", column=1))
    await run.ado(connection.fetchrow(f"SELECT * FROM {table} ORDER BY name"))
    await run.ado(connection.fetch(f"SELECT * FROM {table} ORDER BY name", timeout=5))
    statement = await run.ado(connection.prepare("SELECT $1::int + 1"))
    run.do(statement.get_query)
    run.do(statement.get_parameters)
    await run.ado(statement.fetch(1))
    await run.ado(statement.fetchval(1, column=0))
    await run.ado(statement.fetch())
    await run.ado(statement.executemany([(1,), ("x",)]))
    run.do(statement.get_statusmsg)
    await run.ado(statement.explain(1))
    run.keep([name for name in ("fetch", "executemany") if inspect.iscoroutinefunction(getattr(statement, name))])
    run.keep(
        [name for name in ("execute", "fetch", "cursor") if inspect.iscoroutinefunction(getattr(connection, name))]
    )
    run.do(lambda: str(inspect.signature(connection.fetch)))
    async with connection.transaction():
        run.keep(connection.is_in_transaction())
        run.keep([tuple(row) async for row in connection.cursor("SELECT generate_series(1, 5)", prefetch=2)])
        cursor = await connection.cursor("SELECT generate_series(1, 5)")
        await run.ado(cursor.fetch(2))
        await run.ado(cursor.fetchrow())
        await run.ado(cursor.fetch(0))
    await run.ado(connection.copy_records_to_table(table, records=[("r", 1)]))
    await run.ado(connection.copy_records_to_table("nowhere", records=[("r", 1)]))
    sink = io.BytesIO()
    await run.ado(connection.copy_from_table(table, output=sink))
    run.keep(sorted(sink.getvalue().split(b"\n")))
    transaction = connection.transaction()
    run.do(lambda: transaction.start().close())
    await run.ado(transaction.start())
    await run.ado(transaction.start())
    await run.ado(transaction.rollback())
    await run.ado(connection.reset())
    await run.ado(connection.fetch(5))
    await run.ado(connection.execute(None))
    await run.ado(connection.close())
    await run.ado(connection.execute("SELECT 1"))
    run.do(lambda: statement.fetch(1))
    return run.steps


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_program_gets_the_same_with_and_without(observed: Observe) -> None:
    """Every result, every exception and its message, for a program that uses much of the driver."""
    need_postgresql()
    table = unique("noops")
    without = asyncio.run(script(table))
    with observed("asyncpg"):
        with_us = asyncio.run(script(table))
    for one, other in zip(with_us, without, strict=True):
        assert one == other
