"""SQLAlchemy, with drivers that are observed and drivers that aren't."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from noops_agent._signals.context import suppress
from noops_agent.instrument import enclosing
from tests.conftest import Never

from .conftest import Observe
from .databases import need_mariadb, need_postgresql, unique

sa = pytest.importorskip("sqlalchemy", minversion="2")
orm = pytest.importorskip("sqlalchemy.orm")
aio = pytest.importorskip("sqlalchemy.ext.asyncio")

PLAIN = [
    ("sqlite://", "sqlite3"),
    ("postgresql+psycopg://root@127.0.0.1/test", "psycopg"),
    ("postgresql+psycopg2://root@127.0.0.1/test", "psycopg2"),
    ("mysql+pymysql://root@127.0.0.1/test", "pymysql"),
]
ASYNCIO = [
    ("sqlite+aiosqlite://", "aiosqlite"),
    ("postgresql+asyncpg://root@127.0.0.1/test", "asyncpg"),
    ("postgresql+psycopg://root@127.0.0.1/test", "psycopg"),
]


def need(url: str, driver: str) -> None:
    """Skip the test where the server or the driver is missing."""
    if url.startswith("postgresql"):
        need_postgresql()
    if url.startswith("mysql"):
        need_mariadb()
    pytest.importorskip(driver)


@contextmanager
def engine_of(url: str = "sqlite://", **options: Any) -> Iterator[Any]:
    """Make an engine for a while."""
    engine = sa.create_engine(url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def ask(engine: Any, statement: str = "SELECT 1 AS a", **parameters: Any) -> Any:
    """Run one statement."""
    with engine.connect() as connection:
        return connection.execute(sa.text(statement), parameters).all()


def library(span: Any) -> str:
    """Say whose span it is."""
    return span.instrumentation_scope.name.rpartition(".")[2]


# ---- whose span it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "driver"), PLAIN)
def test_the_span_of_an_observed_driver_wins_and_learns_what_the_engine_knows(
    observed: Observe, url: str, driver: str
) -> None:
    """Two spans for one statement would double each count; the driver's has the true times."""
    need(url, driver)
    with observed("sqlalchemy", driver) as seen, engine_of(url, pool_logging_name="main") as engine:
        for _ in range(3):
            assert ask(engine, "SELECT 1 + :b AS a", b=1) == [(2,)]
        assert [library(span) for span in seen.spans] == [driver] * 3
        for span in seen.spans:
            assert span.name == "SELECT"
            assert span.attributes["db.client.connection.pool.name"] == "main"
        (point,) = seen.metrics()["db.client.operation.duration"]
        assert point.count == 3


@pytest.mark.parametrize(("url", "driver"), PLAIN)
def test_without_the_driver_each_statement_has_a_span_of_sqlalchemy(observed: Observe, url: str, driver: str) -> None:
    """Nobody else would tell; the first one is made afterwards, as it shows that the driver is silent."""
    need(url, driver)
    with observed("sqlalchemy") as seen, engine_of(url) as engine:
        with seen.tracer.start_as_current_span("request") as request:
            for _ in range(3):
                ask(engine)
        *spans, _ = seen.spans
        assert [library(span) for span in spans] == ["sqlalchemy"] * 3
        for span in spans:
            assert (span.name, span.kind) == ("SELECT", SpanKind.CLIENT)
            assert span.parent.span_id == request.get_span_context().span_id
            assert span.attributes["db.query.text"] == "SELECT ? AS a"
            assert span.attributes["db.system.name"] in ("sqlite", "postgresql", "mariadb")
            assert span.status.status_code is StatusCode.UNSET
            assert request.start_time <= span.start_time <= span.end_time
        (point,) = seen.metrics()["db.client.operation.duration"]
        assert point.count == 3
        lasted = sum(span.end_time - span.start_time for span in spans) / 1e9
        assert point.sum == pytest.approx(lasted, abs=0.01)


@pytest.mark.parametrize("observed_driver", [True, False])
@pytest.mark.parametrize(("url", "driver"), ASYNCIO)
def test_an_asyncio_engine_makes_one_span_a_statement(
    observed: Observe, url: str, driver: str, observed_driver: bool
) -> None:
    """Its statements run in greenlets of the task, in the context of the task."""
    need(url, driver)

    async def main(tracer: Any) -> list[int]:
        engine = aio.create_async_engine(url)
        parents = []
        for _ in range(3):
            with tracer.start_as_current_span("request") as span:
                parents.append(span.get_span_context().span_id)
                async with engine.connect() as connection:
                    result = await connection.execute(sa.text("SELECT 1 AS a"))
                    assert result.all() == [(1,)]
        await engine.dispose()
        return parents

    with observed("sqlalchemy", *([driver] if observed_driver else [])) as seen:
        parents = asyncio.run(main(seen.tracer))
        statements = [span for span in seen.spans if span.name != "request" and span.name != "BEGIN"]
        assert [library(span) for span in statements] == [driver if observed_driver else "sqlalchemy"] * 3
        assert [span.parent.span_id for span in statements] == parents


def test_concurrent_tasks_keep_their_parents(observed: Observe) -> None:
    """What one task's statement is part of must not reach another's."""
    need("sqlite", "aiosqlite")

    async def request(engine: Any, tracer: Any, number: int) -> None:
        with tracer.start_as_current_span(f"request {number}"):
            async with engine.connect() as connection:
                for _ in range(3):
                    await connection.execute(sa.text(f"SELECT 1 AS a{number}"))

    async def main(tracer: Any) -> None:
        engine = aio.create_async_engine("sqlite+aiosqlite://", poolclass=sa.pool.AsyncAdaptedQueuePool)
        await asyncio.gather(*(request(engine, tracer, number) for number in range(5)))
        await engine.dispose()

    with observed("sqlalchemy") as seen:
        asyncio.run(main(seen.tracer))
        requests = {span.context.span_id: span.name for span in seen.spans if span.name.startswith("request")}
        statements = [span for span in seen.spans if span.name == "SELECT"]
        assert len(statements) == 15
        for span in statements:
            number = span.attributes["db.query.text"][-1]
            assert requests[span.parent.span_id] == f"request {number}"


def test_an_engine_and_a_connection_from_before_are_observed_too(observed: Observe) -> None:
    """Programs make their engines when they are imported, maybe before the agent gets to patch."""
    with engine_of(poolclass=sa.pool.StaticPool) as engine, engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        with observed("sqlalchemy") as seen:
            connection.execute(sa.text("SELECT 2"))
            ask(engine)
            assert [library(span) for span in seen.spans] == ["sqlalchemy"] * 2


def test_a_connection_that_the_driver_does_not_see_has_its_spans_too(observed: Observe) -> None:
    """Connections from before the driver was patched are of its own class, later ones of ours."""
    with engine_of(poolclass=sa.pool.StaticPool) as early, engine_of() as late:
        ask(early)
        with observed("sqlalchemy", "sqlite3") as seen:
            for engine in (early, late, early, late):
                ask(engine)
            assert [library(span) for span in seen.spans] == ["sqlalchemy", "sqlite3"] * 2


def test_the_span_is_current_while_a_driver_runs_that_is_not_observed(observed: Observe) -> None:
    """What the driver calls, and what is logged meanwhile, belongs to the statement."""
    with observed("sqlalchemy") as seen, engine_of(poolclass=sa.pool.StaticPool) as engine:
        ask(engine)  # shows that the driver is silent
        current = []

        def note() -> int:
            span = trace.get_current_span()
            span.set_attribute("noted", len(current))
            current.append(span.get_span_context().span_id)
            return 1

        with engine.connect() as connection:
            connection.connection.dbapi_connection.create_function("note", 0, note)
            for statement in ("SELECT note()", "SELECT note()", "SELECT 1"):
                connection.execute(sa.text(statement))
            assert trace.get_current_span() is trace.INVALID_SPAN
        *_, first, second, last = seen.spans
        assert current == [first.context.span_id, second.context.span_id]
        assert [span.attributes.get("noted") for span in (first, second, last)] == [0, 1, None]


# ---- what it says ------------------------------------------------------------------------------------------


def test_the_server_is_that_of_the_url_and_the_port_only_another_than_usual(observed: Observe) -> None:
    """`server.address` never holds the port, and no attribute the password."""
    learnt = []
    with observed("sqlalchemy"):
        from noops_instrumentation.sqlalchemy import _database

        for url in (
            "postgresql+psycopg2://user:hunter2@db.example/shop",
            "postgresql+psycopg2://user:hunter2@db.example:5433/shop",
            "postgresql+psycopg2:///shop?host=/var/run/postgresql",
            "mysql+pymysql://user:hunter2@db.example:3306/shop?unix_socket=/tmp/my.sock",
        ):
            engine = sa.create_engine(url)
            learnt.append(_database(engine.dialect, engine).shared)
    assert "hunter2" not in repr(learnt)
    pick = [{key: found[key] for key in found if key.startswith("server")} for found in learnt]
    assert pick == [
        {"server.address": "db.example"},
        {"server.address": "db.example", "server.port": 5433},
        {"server.address": "/var/run/postgresql"},
        {"server.address": "db.example"},
    ]
    assert [found["db.client.connection.pool.name"] for found in learnt[:2]] == [
        "db.example/shop",
        "db.example:5433/shop",
    ]


@pytest.mark.parametrize("observed_driver", [True, False])
def test_literals_and_parameters_never_leave(observed: Observe, observed_driver: bool) -> None:
    """They are the user's data; SQLAlchemy itself renders some of them into the text."""
    drivers = ("sqlite3",) if observed_driver else ()
    with observed("sqlalchemy", *drivers) as seen, engine_of() as engine:
        ask(engine, "SELECT :b AS a, 'secret 1' AS c", b="secret 2")
        with engine.connect() as connection:
            connection.execute(sa.select(sa.literal("secret 3", literal_execute=True)))
            connection.execute(sa.select(sa.literal("x")).where(sa.literal("y").in_(["secret 4", "secret 5"])))
        for span in seen.spans:
            assert "secret" not in repr(dict(span.attributes)) + span.name
        assert [span.attributes["db.query.text"] for span in seen.spans] == [
            "SELECT ? AS a, ? AS c",
            "SELECT ? AS anon_1",
            "SELECT ? AS anon_1 WHERE ? IN (?)",
        ]


def test_a_session_names_what_it_reads_and_writes(observed: Observe) -> None:
    """The summary is the name: one for each kind of statement."""

    class Base(orm.DeclarativeBase):  # type: ignore[misc, name-defined]
        pass

    class User(Base):
        __tablename__ = "users"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)

    with observed("sqlalchemy") as seen, engine_of(poolclass=sa.pool.StaticPool) as engine:
        Base.metadata.create_all(engine)
        seen.clear()
        with orm.Session(engine) as session:
            session.add_all([User(name="a"), User(name="b"), User(name="c")])
            session.commit()
            assert session.scalars(sa.select(User.name).order_by(User.id)).all() == ["a", "b", "c"]
            session.execute(sa.update(User).values(name="x").where(User.id == 1))
            session.execute(sa.delete(User))
            session.commit()
        names = list(dict.fromkeys(span.name for span in seen.spans))
        assert names == ["INSERT users", "SELECT users", "UPDATE users", "DELETE users"]
        assert seen.spans[0].attributes["db.query.text"] == "INSERT INTO users (name) VALUES (?) RETURNING id"
        assert {span.attributes["db.collection.name"] for span in seen.spans} == {"users"}


@pytest.mark.parametrize("observed_driver", [True, False])
def test_a_batch_tells_its_size(observed: Observe, observed_driver: bool) -> None:
    """One call of the driver for many sets of parameters; a single set is no batch."""
    table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer))
    drivers = ("sqlite3",) if observed_driver else ()
    with observed("sqlalchemy", *drivers) as seen, engine_of(poolclass=sa.pool.StaticPool) as engine:
        table.create(engine)
        seen.clear()
        with engine.begin() as connection:
            connection.execute(table.insert(), [{"a": 1}, {"a": 2}, {"a": 3}])
            connection.execute(table.insert(), [{"a": 1}])
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 4
        many, one, _ = seen.spans
        assert (many.name, many.attributes["db.operation.batch.size"]) == ("BATCH INSERT t", 3)
        assert (one.name, one.attributes.get("db.operation.batch.size")) == ("INSERT t", None)


# ---- failures ----------------------------------------------------------------------------------------------

FAILURES = {
    "sqlite3": ("sqlite3.OperationalError", "SQLITE_ERROR"),
    "psycopg": ("psycopg.errors.UndefinedTable", "42P01"),
    "psycopg2": ("psycopg2.errors.UndefinedTable", "42P01"),
    "pymysql": ("pymysql.err.ProgrammingError", "1146"),
    "asyncpg": ("asyncpg.exceptions.UndefinedTableError", "42P01"),
    "aiosqlite": ("sqlite3.OperationalError", "SQLITE_ERROR"),
}


@pytest.mark.parametrize("observed_driver", [True, False])
@pytest.mark.parametrize(("url", "driver"), PLAIN)
def test_a_failed_statement_tells_its_error(observed: Observe, url: str, driver: str, observed_driver: bool) -> None:
    """The driver's own exception and code, not what SQLAlchemy makes of them; which the program gets as ever."""
    need(url, driver)
    drivers = (driver,) if observed_driver else ()
    with observed("sqlalchemy", *drivers) as seen, engine_of(url) as engine:
        for _ in range(2):
            with pytest.raises(sa.exc.DBAPIError) as caught:
                ask(engine, "SELECT a FROM nosuchtable")
            ask(engine)
        failed = [span for span in seen.spans if span.status.status_code is StatusCode.ERROR]
        assert len(failed) == 2
        assert len(seen.spans) == 4
        assert f"{type(caught.value.orig).__module__}.{type(caught.value.orig).__qualname__}" == FAILURES[driver][0]
        code = FAILURES[driver][1] if hasattr(caught.value.orig, "sqlite_errorname") or driver != "sqlite3" else None
        for span in failed:
            assert span.attributes["error.type"] == FAILURES[driver][0]
            assert span.attributes.get("db.response.status_code") == code
        points = seen.metrics()["db.client.operation.duration"]
        assert {point.attributes.get("error.type"): point.count for point in points} == {
            None: 2,
            FAILURES[driver][0]: 2,
        }


@pytest.mark.parametrize(("url", "driver"), ASYNCIO)
def test_the_error_of_an_asyncio_driver_is_not_that_of_its_adapter(observed: Observe, url: str, driver: str) -> None:
    """SQLAlchemy makes a DB-API of it, with exceptions of its own."""
    need(url, driver)

    async def main() -> None:
        engine = aio.create_async_engine(url)
        for _ in range(2):
            with pytest.raises(sa.exc.DBAPIError):
                async with engine.connect() as connection:
                    await connection.execute(sa.text("SELECT a FROM nosuchtable"))
        await engine.dispose()

    with observed("sqlalchemy") as seen:
        asyncio.run(main())
        assert [span.attributes["error.type"] for span in seen.spans] == [FAILURES[driver][0]] * 2


def test_a_statement_that_is_cancelled_is_no_error(observed: Observe) -> None:
    """It tells that it was cancelled, and the program's task ends as it would without us."""
    need("postgresql", "asyncpg")

    async def main() -> None:
        engine = aio.create_async_engine("postgresql+asyncpg://root@127.0.0.1/test")
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(connection.execute(sa.text("SELECT pg_sleep(30)")), 0.05)
        await engine.dispose()

    with observed("sqlalchemy") as seen:
        asyncio.run(main())
        span = seen.spans[-1]
        assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
        assert span.status.status_code is StatusCode.UNSET
        assert not span.events


def test_a_failure_of_ours_stays_inside(observed: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements run, whatever we fail to find out about their engine."""
    from noops_instrumentation import sqlalchemy as integration

    def fail(*_: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(integration, "_database", fail)
    with observed("sqlalchemy") as seen, engine_of() as engine:
        assert ask(engine) == [(1,)]
        assert seen.span.attributes["db.system.name"] == "other_sql"


# ---- what makes no span ------------------------------------------------------------------------------------


@pytest.mark.parametrize("observed_driver", [True, False])
@pytest.mark.parametrize(("url", "driver"), PLAIN)
def test_what_engines_and_pools_ask_for_themselves_makes_no_spans(
    observed: Observe, url: str, driver: str, observed_driver: bool
) -> None:
    """The version of the server, its settings, pings: nobody's requests, and traces of one span each."""
    need(url, driver)
    drivers = (driver,) if observed_driver else ()
    with observed("sqlalchemy", *drivers) as seen, engine_of(url, pool_pre_ping=True) as engine:
        for _ in range(3):
            with engine.connect():
                pass
        assert seen.spans == []
        engine.dispose()
        ask(engine)
        assert len(seen.spans) == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_nor_does_what_asyncio_engines_ask(observed: Observe, driver: str) -> None:
    """The codecs of a new connection are looked up in the catalogue."""
    need("postgresql", driver)

    async def main() -> None:
        engine = aio.create_async_engine(f"postgresql+{driver}://root@127.0.0.1/test", pool_pre_ping=True)
        for _ in range(3):
            async with engine.connect():
                pass
        await engine.dispose()

    with observed("sqlalchemy", driver) as seen:
        asyncio.run(main())
        assert seen.spans == []


def test_a_listener_of_the_program_makes_its_spans(observed: Observe) -> None:
    """What a program asks of each new connection is its own."""
    with observed("sqlalchemy", "sqlite3") as seen, engine_of() as engine:
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
        with engine.connect():
            pass
        assert [span.name for span in seen.spans] in (["PRAGMA foreign_keys"], [])
        ask(engine)
        assert seen.spans[-1].name == "SELECT"


def test_suppressed_statements_make_nothing(observed: Observe) -> None:
    """Neither spans nor measurements."""
    with observed("sqlalchemy") as seen, engine_of() as engine:
        with suppress():
            assert ask(engine) == [(1,)]
        assert seen.spans == []
        assert "db.client.operation.duration" not in seen.metrics()


def test_statements_that_are_not_sampled_are_measured(observed: Observe) -> None:
    """Metrics come from all calls."""
    with observed("sqlalchemy", sampler=Never()) as seen, engine_of() as engine:
        for _ in range(3):
            ask(engine)
        assert seen.spans == []
        (point,) = seen.metrics()["db.client.operation.duration"]
        assert point.count == 3


# ---- the program's own listeners ---------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("replaces", [True, False])
def test_listeners_that_replace_execution_work_as_ever(observed: Observe, early: bool, replaces: bool) -> None:
    """They are called once each, in their order, and one that has done the work keeps the dialect from doing it."""
    calls = []

    def mine(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        calls.append(statement)
        if replaces:
            cursor.execute("SELECT 42 AS a", ())
        return replaces

    def last(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        calls.append("last")

    def listen(engine: Any) -> None:
        for listener in (mine, last):
            sa.event.listen(engine, "do_execute", listener)

    with engine_of(poolclass=sa.pool.StaticPool) as engine:
        if early:
            listen(engine)
        with observed("sqlalchemy") as seen:
            if not early:
                listen(engine)
            for _ in range(2):
                assert ask(engine, "SELECT :b AS a", b=1) == [(42 if replaces else 1,)]
        assert calls == (["SELECT ? AS a"] if replaces else ["SELECT ? AS a", "last"]) * 2
        assert len(seen.spans) == 2


def test_disabling_takes_the_listeners_away(observed: Observe) -> None:
    """Nothing is left in SQLAlchemy, and it can be enabled again."""
    with engine_of() as engine:
        before = len(engine.dialect.dispatch.do_execute)
        for _ in range(2):
            with observed("sqlalchemy") as seen:
                assert len(engine.dialect.dispatch.do_execute) == before + 1
                ask(engine)
                assert len(seen.spans) == 1
            ask(engine)
            assert len(seen.spans) == 1
            assert len(engine.dialect.dispatch.do_execute) == before


def test_hooks_of_the_user_see_the_execution(observed: Observe) -> None:
    """To name or enrich the span by what SQLAlchemy knows of the statement."""
    contexts, cursors = [], []

    def asked(span: Any, context: Any) -> None:
        contexts.append(context.statement)
        span.update_name("renamed")

    def answered(span: Any, context: Any, cursor: Any) -> None:
        cursors.append(cursor.description[0][0])

    with observed("sqlalchemy", request_hook=asked, response_hook=answered) as seen, engine_of() as engine:
        for _ in range(2):
            ask(engine)
        assert contexts == ["SELECT 1 AS a"] * 2
        assert cursors == ["a"] * 2
        assert [span.name for span in seen.spans] == ["renamed"] * 2


def test_engines_are_not_kept_alive(observed: Observe) -> None:
    """What is known of one goes with it."""
    import gc
    import weakref

    with observed("sqlalchemy"):
        engine = sa.create_engine("sqlite://")
        ask(engine)
        engine.dispose()
        gone = weakref.ref(engine)
        del engine
        gc.collect()
        assert gone() is None


def test_classes_of_cursors_are_not_kept_without_end(observed: Observe) -> None:
    """A program may make them as it goes."""

    class Key:
        pass

    with observed("sqlalchemy") as seen:
        assert seen.handle is not None
        database = enclosing.Database({"db.system.name": "sqlite"}, {})
        runner = enclosing.Enclosing(seen.handle.live, lambda *_: database, "sqlalchemy")
        key = Key()
        for number in range(1000):
            runner.run(key, None, "SELECT 1", None, lambda *_: None, (type(f"C{number}", (), {})(),))
        assert len(runner._silent) <= enclosing.MOST_SILENT
        assert len(seen.spans) == 1000
        del key
        assert not runner._known


# ---- pools -------------------------------------------------------------------------------------------------


def test_pools_tell_their_connections(observed: Observe) -> None:
    """Read when metrics are collected, so that checking one out costs nothing."""
    need("postgresql", "psycopg2")
    name = unique("pool")
    options = {"pool_size": 3, "max_overflow": 2, "pool_logging_name": name}
    with observed("sqlalchemy") as seen, engine_of("postgresql+psycopg2://root@127.0.0.1/test", **options) as engine:
        with engine.connect() as first, engine.connect() as second:
            first.execute(sa.text("SELECT 1"))
            second.execute(sa.text("SELECT 1"))
            found = seen.metrics()
            assert states(found, name) == {"used": 2, "idle": 0}
            assert [point.value for point in found["db.client.connection.max"]] == [5]
            assert [point.value for point in found["db.client.connection.idle.max"]] == [3]
        assert states(seen.metrics(), name) == {"used": 0, "idle": 2}


def states(metrics: dict[str, list[Any]], pool: str) -> dict[str, int]:
    """Give the number of a pool's connections by their state."""
    points = metrics["db.client.connection.count"]
    named = [point for point in points if point.attributes["db.client.connection.pool.name"] == pool]
    return {point.attributes["db.client.connection.state"]: point.value for point in named}


# ---- the same as without us --------------------------------------------------------------------------------


def script(url: str) -> list[Any]:
    """Do what programs do; keep what it gave."""
    metadata = sa.MetaData()
    table = sa.Table(
        unique("noops"), metadata, sa.Column("a", sa.Integer, primary_key=True), sa.Column("b", sa.String(9))
    )
    given: list[Any] = []
    with engine_of(url) as engine:
        metadata.create_all(engine)
        try:
            with engine.begin() as connection:
                given.append(connection.execute(table.insert(), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]).rowcount)
                given.append(connection.execute(table.insert().values(a=3, b="z")).inserted_primary_key)
                given.append(connection.execute(sa.select(table).order_by(table.c.a)).all())
                given.append(connection.exec_driver_sql(f"SELECT b FROM {table.name} WHERE a = 3").scalar())
                streamed = sa.select(table).execution_options(stream_results=True)
                given.append([row.b for row in connection.execute(streamed)])
                try:
                    with connection.begin_nested():
                        connection.execute(table.insert().values(a=1))
                except sa.exc.IntegrityError as error:
                    given.append((type(error.orig), error.statement, error.params))
                given.append(connection.execute(table.update().values(b="w").where(table.c.a < 3)).rowcount)
            with engine.connect() as connection:
                given.append(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar())
        finally:
            metadata.drop_all(engine)
    return [repr(item).replace(table.name, "t") for item in given]


@pytest.mark.parametrize("observed_driver", [True, False])
@pytest.mark.parametrize(("url", "driver"), PLAIN)
def test_the_program_sees_what_it_would_see_without_us(
    observed: Observe, url: str, driver: str, observed_driver: bool, tmp_path: Any
) -> None:
    """Rows, counts, keys, exceptions and their statements."""
    need(url, driver)
    url = f"sqlite:///{tmp_path}/test.db" if url.startswith("sqlite") else url
    bare = script(url)
    with observed("sqlalchemy", *((driver,) if observed_driver else ())) as seen:
        assert script(url) == bare
        assert seen.spans
