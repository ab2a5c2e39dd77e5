"""aiosqlite, whose statements are run by a thread of the connection's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe
from .databases import Script

aiosqlite = pytest.importorskip("aiosqlite")

SECRET = "hunter2"


@pytest.mark.parametrize("more", [(), ("sqlite3",)], ids=["alone", "with the driver beneath"])
def test_each_way_of_sending_a_statement_makes_one_span_with_the_tasks_parent(observed: Observe, more: Any) -> None:
    """The driver beneath runs in a thread that has no parent, and doesn't show the statement a second time."""

    async def main() -> None:
        async with aiosqlite.connect(":memory:") as connection:
            with seen.tracer.start_as_current_span("parent"):
                await connection.execute("CREATE TABLE pets (name TEXT)")
                await connection.executemany("INSERT INTO pets VALUES (?)", [("a",), ("b",)])
                await connection.executescript("DELETE FROM pets WHERE name = 'b'")
                await connection.execute_insert("INSERT INTO pets VALUES (?)", ("c",))
                assert await connection.execute_fetchall("SELECT name FROM pets") == [("a",), ("c",)]
                async with connection.execute("SELECT name FROM pets") as cursor:
                    assert [row async for row in cursor] == [("a",), ("c",)]
                    await cursor.execute("SELECT name FROM pets")
                    await cursor.executemany("INSERT INTO pets VALUES (?)", [("d",)])
                await connection.commit()
                await connection.create_function("twice", 1, lambda value: value * 2)

    with observed("aiosqlite", *more) as seen:
        asyncio.run(main())
        *spans, parent = seen.spans
    assert [span.name for span in spans] == [
        "CREATE TABLE pets",
        "BATCH INSERT pets",
        "DELETE pets",
        "INSERT pets",
        "SELECT pets",
        "SELECT pets",
        "SELECT pets",
        "INSERT pets",
    ]
    assert {span.parent.span_id for span in spans} == {parent.context.span_id}
    assert {span.kind for span in spans} == {SpanKind.CLIENT}
    assert spans[1].attributes["db.operation.batch.size"] == 2
    assert dict(spans[2].attributes) == {
        "db.system.name": "sqlite",
        "db.namespace": ":memory:",
        "db.query.text": "DELETE FROM pets WHERE name = ?",
        "db.query.summary": "DELETE pets",
        "db.operation.name": "DELETE",
        "db.collection.name": "pets",
    }


def test_a_failed_statement_tells_the_error(observed: Observe) -> None:
    """It is raised in the thread and travels to the task."""

    async def main() -> None:
        async with aiosqlite.connect(":memory:") as connection:
            with pytest.raises(aiosqlite.OperationalError):
                await connection.execute("SELECT * FROM nowhere")

    with observed("aiosqlite") as seen:
        asyncio.run(main())
        assert seen.span.status.status_code is StatusCode.ERROR
        assert seen.span.attributes["error.type"] == "sqlite3.OperationalError"


def test_concurrent_tasks_do_not_mix(observed: Observe) -> None:
    """One connection serves many tasks, one statement after the other."""
    parents: dict[str, int] = {}

    async def work(connection: Any, name: str) -> None:
        with seen.tracer.start_as_current_span(name) as parent:
            await connection.execute(f"SELECT 1 AS {name}")
            parents[name] = parent.get_span_context().span_id

    async def main() -> None:
        async with aiosqlite.connect(":memory:") as connection:
            await asyncio.gather(*(work(connection, f"task{number}") for number in range(20)))

    with observed("aiosqlite") as seen:
        asyncio.run(main())
        found = {
            span.attributes["db.query.text"].rpartition(" ")[2]: span.parent.span_id
            for span in seen.spans
            if span.kind is SpanKind.CLIENT
        }
    assert found == parents


async def script() -> list[Any]:
    """Use much of the driver."""
    run = Script()
    async with aiosqlite.connect(":memory:", isolation_level=None) as connection:
        run.keep(type(connection._conn).__name__)
        await run.ado(connection.execute("CREATE TABLE pets (name TEXT UNIQUE)"))
        await run.ado(connection.execute("INSERT INTO pets VALUES (?)", ("a",)))
        await run.ado(connection.execute("INSERT INTO pets VALUES (?)", ("a",)))
        await run.ado(connection.execute("SELECT * FROM nowhere"))
        await run.ado(connection.execute(5))
        await run.ado(connection.executemany("INSERT INTO pets VALUES (?)", [("b",), ("c",)]))
        await run.ado(connection.executemany("INSERT INTO pets VALUES (?)", ((name,) for name in "de")))
        await run.ado(connection.execute_fetchall("SELECT * FROM pets ORDER BY name"))
        await run.ado(connection.execute_insert("INSERT INTO pets VALUES ('z')"))
        connection.row_factory = aiosqlite.Row
        async with connection.execute("SELECT * FROM pets ORDER BY name") as cursor:
            run.keep([dict(row) async for row in cursor])
            run.keep((cursor.rowcount, cursor.description))
        async with aiosqlite.connect(":memory:") as target:
            await run.ado(connection.backup(target))
            await run.ado(target.execute_fetchall("SELECT count(*) FROM pets"))
        run.keep([line async for line in connection.iterdump()])
    await run.ado(connection.execute("SELECT 1"))
    nowhere = aiosqlite.connect("/nowhere/at/all.db")
    await run.ado(nowhere)
    await asyncio.to_thread(getattr(nowhere, "_thread", nowhere).join)  # which uses the event loop to the last
    return run.steps


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_a_program_gets_the_same_with_and_without(observed: Observe) -> None:
    """Every result, every exception and its message, for a program that uses much of the driver."""
    without = asyncio.run(script())
    with observed("aiosqlite", "sqlite3"):
        with_us = asyncio.run(script())
    for one, other in zip(with_us, without, strict=True):
        assert one == other
