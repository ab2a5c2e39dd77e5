"""sqlite3: statements of connections and cursors, whose classes are written in C."""

from __future__ import annotations

import gc
import pathlib
import pickle
import sqlite3
import sys
import threading
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.conftest import Never

from .conftest import Observe
from .databases import Script

SECRET = "hunter2"


def test_a_statement_is_a_client_span_with_the_attributes_of_the_convention(observed: Observe) -> None:
    """Names and attributes are those of the stable conventions."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE pets (name TEXT, age INT)")
        seen.clear()
        connection.execute(f"SELECT name FROM pets WHERE name = '{SECRET}' AND age > ?", (3,))
        span = seen.span
    assert span.name == "SELECT pets"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "db.system.name": "sqlite",
        "db.namespace": ":memory:",
        "db.query.text": "SELECT name FROM pets WHERE name = ? AND age > ?",
        "db.query.summary": "SELECT pets",
        "db.operation.name": "SELECT",
        "db.collection.name": "pets",
    }


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda connection: connection.execute("INSERT INTO pets VALUES ('a', 1)"), "INSERT pets"),
        (lambda connection: connection.cursor().execute("INSERT INTO pets VALUES ('a', 1)"), "INSERT pets"),
        (
            lambda connection: connection.executemany("INSERT INTO pets VALUES (?, 1)", [("a",), ("b",)]),
            "BATCH INSERT pets",
        ),
        (lambda connection: connection.cursor().executemany("INSERT INTO pets VALUES (?, 1)", [("a",)]), "INSERT pets"),
        (lambda connection: connection.executescript("DELETE FROM pets"), "DELETE pets"),
        (lambda connection: connection.cursor().executescript("DELETE FROM pets"), "DELETE pets"),
    ],
)
def test_each_way_of_sending_a_statement_makes_one_span(call: Any, name: str, observed: Observe) -> None:
    """The connection's shortcuts go through a cursor, and are not counted twice."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE pets (name TEXT, age INT)")
        seen.clear()
        call(connection)
        assert [span.name for span in seen.spans] == [name]


def test_connecting_fetching_and_transactions_make_no_spans(observed: Observe) -> None:
    """The conventions describe operations; a program's own transactions show in its statements."""
    with observed("sqlite3") as seen:
        with sqlite3.connect(":memory:") as connection:
            cursor = connection.execute("SELECT 1 UNION SELECT 2")
            seen.clear()
            assert cursor.fetchone() == (1,)
            assert list(cursor) == [(2,)]
        connection.commit()
        connection.rollback()
        connection.close()
        assert seen.spans == []


def test_a_batch_tells_its_size_and_rows_that_have_none_are_not_used_up(observed: Observe) -> None:
    """An iterator of rows can be read once only, and that is the driver's."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE pets (name TEXT)")
        seen.clear()
        connection.executemany("INSERT INTO pets VALUES (?)", [("a",), ("b",), ("c",)])
        connection.executemany("INSERT INTO pets VALUES (?)", iter([("d",), ("e",)]))
        sized, unsized = seen.spans
        assert sized.attributes["db.operation.batch.size"] == 3
        assert "db.operation.batch.size" not in unsized.attributes
        assert connection.execute("SELECT count(*) FROM pets").fetchone() == (5,)


def test_a_failed_statement_tells_the_error_and_its_code(observed: Observe) -> None:
    """A constraint that is violated is an error: the program asked for a row that isn't there now."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE pets (name TEXT UNIQUE)")
        connection.execute("INSERT INTO pets VALUES ('a')")
        seen.clear()
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO pets VALUES ('a')")
        span = seen.span
        (point,) = [
            point for point in seen.metrics()["db.client.operation.duration"] if "error.type" in point.attributes
        ]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "sqlite3.IntegrityError"
    assert [event.name for event in span.events] == ["exception"]
    if sys.version_info >= (3, 11):
        assert span.attributes["db.response.status_code"] == "SQLITE_CONSTRAINT_UNIQUE"
        assert point.attributes["db.response.status_code"] == "SQLITE_CONSTRAINT_UNIQUE"
    assert point.attributes["error.type"] == "sqlite3.IntegrityError"
    assert point.attributes["db.namespace"] == ":memory:"


def test_each_call_is_measured_sampled_or_not(observed: Observe) -> None:
    """The histogram is of all calls."""
    with observed("sqlite3", sampler=Never()) as seen:
        connection = sqlite3.connect(":memory:")
        for _ in range(3):
            connection.execute("SELECT 1")
        assert seen.spans == []
        (point,) = seen.metrics()["db.client.operation.duration"]
        assert point.count == 3
        assert point.attributes["db.system.name"] == "sqlite"


def test_both_names_of_connect_are_patched_and_stay_one_function(observed: Observe) -> None:
    """`sqlite3.connect` and `sqlite3.dbapi2.connect` are one function to a program."""
    original = sqlite3.connect
    with observed("sqlite3") as seen:
        assert sqlite3.connect is sqlite3.dbapi2.connect
        assert sqlite3.connect is not original
        sqlite3.dbapi2.connect(":memory:").execute("SELECT 1")
        assert len(seen.spans) == 1
    assert sqlite3.connect is original
    assert sqlite3.dbapi2.connect is original


def test_the_name_of_the_function_and_of_the_classes_are_as_ever(observed: Observe) -> None:
    """Programs print and pickle functions by their name, and check classes."""
    with observed("sqlite3"):
        connection = sqlite3.connect(":memory:")
        cursor = connection.cursor()
        assert sqlite3.connect.__name__ == "connect"
        assert pickle.loads(pickle.dumps(len)) is len
        assert isinstance(connection, sqlite3.Connection)
        assert isinstance(cursor, sqlite3.Cursor)
        assert repr(connection).startswith("<sqlite3.Connection object at 0x")
        assert repr(cursor).startswith("<sqlite3.Cursor object at 0x")
        assert connection.__class__.__module__ == "sqlite3"
        with pytest.raises(AttributeError):
            connection.anything = 1
        with pytest.raises(AttributeError):
            cursor.anything = 1


def test_a_connection_is_accepted_where_the_driver_checks_for_its_own_type(observed: Observe) -> None:
    """`backup` looks at the type in C; a proxy would be refused."""
    with observed("sqlite3"):
        source, target = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
        source.execute("CREATE TABLE pets (name TEXT)")
        source.commit()
        source.backup(target)
        assert target.execute("SELECT name FROM sqlite_master").fetchall() == [("pets",)]
        assert sqlite3.Cursor(source).execute("SELECT 1").fetchone() == (1,)


class OwnCursor(sqlite3.Cursor):
    """A program's own cursor, which names its base."""

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        """Execute."""
        self.last = sql
        return sqlite3.Cursor.execute(self, sql, parameters)


class OwnConnection(sqlite3.Connection):
    """A program's own connection, which opens cursors of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opened = 0
        self.execute("PRAGMA foreign_keys = ON")

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Open one."""
        self.opened += 1
        return super().cursor(OwnCursor)


def test_the_classes_of_a_program_are_observed_and_keep_their_ways(observed: Observe) -> None:
    """A factory of the program's, its attributes, its overriding methods, and what its constructor does."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:", factory=OwnConnection)
        cursor = connection.cursor()
        cursor.execute("SELECT name FROM sqlite_master")
        assert type(connection).__name__ == "OwnConnection"
        assert isinstance(connection, OwnConnection)
        assert isinstance(cursor, OwnCursor)
        assert cursor.last == "SELECT name FROM sqlite_master"
        assert [span.name for span in seen.spans] == ["PRAGMA foreign_keys", "SELECT sqlite_master"]
        seen.clear()
        plain = sqlite3.connect(":memory:").cursor(OwnCursor)
        plain.execute("SELECT 3")
        assert len(seen.spans) == 1
        again = sqlite3.connect(":memory:", factory=OwnConnection)
        assert type(again) is type(connection)


class Slotted(sqlite3.Connection):
    """A program's own connection, with a layout of its own."""

    __slots__ = ("place",)


def test_a_class_that_allows_no_second_base_is_left_alone(observed: Observe) -> None:
    """Its connections work, unobserved."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:", factory=Slotted)
        connection.place = 5
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert type(connection) is Slotted
        assert seen.spans == []


def test_a_factory_that_is_no_class_is_left_alone(observed: Observe) -> None:
    """What a function makes can't be known; it works as without us."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:", factory=lambda *args, **kwargs: sqlite3.Connection(*args))
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert type(connection) is sqlite3.Connection
        assert seen.spans == []
        with pytest.raises(TypeError):
            sqlite3.connect(":memory:").cursor(lambda connection: 5)
        with pytest.raises(TypeError):
            sqlite3.connect(":memory:").cursor(None)


def test_connections_outlive_the_patch(observed: Observe) -> None:
    """One that was made while the library was enabled works on, quietly; the next one is of the plain class."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
    assert connection.execute("SELECT 1").fetchone() == (1,)
    assert connection.cursor().execute("SELECT 1").fetchone() == (1,)
    assert seen.spans == []
    assert type(sqlite3.connect(":memory:")) is sqlite3.Connection
    with observed("sqlite3") as seen:
        sqlite3.connect(":memory:").execute("SELECT 1")
        assert len(seen.spans) == 1


def test_a_uri_loses_its_query(observed: Observe, tmp_path: Any) -> None:
    """Parameters of a URI may hold the key of an encrypted database."""
    path = tmp_path / "pets.db"
    with observed("sqlite3") as seen:
        sqlite3.connect(f"file:{path}?mode=rwc&key={SECRET}", uri=True).execute("SELECT 1")
        sqlite3.connect(path).execute("SELECT 1")
        sqlite3.connect(bytes(path)).execute("SELECT 1")
        sqlite3.connect(database=pathlib.Path(path)).execute("SELECT 1")
        assert {span.attributes["db.namespace"] for span in seen.spans} == {str(path)}


def test_nothing_is_kept_of_connections_and_cursors(observed: Observe) -> None:
    """A pool opens and closes connections for as long as the process lives."""
    with observed("sqlite3", sampler=Never()):
        sqlite3.connect(":memory:", factory=OwnConnection).execute("SELECT 1")
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(50):
            connection = sqlite3.connect(":memory:", factory=OwnConnection)
            connection.execute("SELECT 1").fetchall()
            connection.close()
        del connection
        gc.collect()
        assert len(gc.get_objects()) - before < 50


def test_classes_made_without_end_fill_no_memory(observed: Observe) -> None:
    """A program may make a class of cursors for each query; those are not all kept."""
    with observed("sqlite3") as seen:
        connection = sqlite3.connect(":memory:")
        for _ in range(250):
            connection.cursor(type("Passing", (sqlite3.Cursor,), {})).execute("SELECT 1")
        assert len(seen.spans) == 250
        gc.collect()
        assert len([kind for kind in sqlite3.Cursor.__subclasses__() if kind.__name__ == "Passing"]) <= 101


def test_the_span_of_a_thread_has_the_parent_of_its_thread(observed: Observe) -> None:
    """Threads don't mix."""
    found = {}

    def work(number: int) -> None:
        with seen.tracer.start_as_current_span(f"work {number}") as parent:
            connection = sqlite3.connect(":memory:")
            connection.execute("SELECT ?", (number,))
            found[number] = parent.get_span_context().span_id

    with observed("sqlite3") as seen:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        children = [span.parent.span_id for span in seen.spans if span.name == "SELECT"]
    assert sorted(children) == sorted(found.values())


def test_an_option_puts_the_context_into_a_comment(observed: Observe) -> None:
    """Off by default: it makes each statement a text of its own."""
    sent: list[str] = []
    with observed("sqlite3", commenter=True) as seen:
        connection = sqlite3.connect(":memory:")
        connection.set_trace_callback(sent.append)
        connection.execute("SELECT 1")
        context = seen.span.context
        assert "traceparent" not in seen.span.attributes["db.query.text"]
    assert sent == [
        f"SELECT 1 /*traceparent='00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}'*/"
    ]
    with observed("sqlite3"):
        connection = sqlite3.connect(":memory:")
        connection.set_trace_callback(sent.append)
        connection.execute("SELECT 1")
    assert sent[-1] == "SELECT 1"


def script() -> list[Any]:
    """Use all of the driver."""
    run = Script()
    connection = run.do(sqlite3.connect, ":memory:", detect_types=sqlite3.PARSE_DECLTYPES, isolation_level=None)
    run.do(connection.execute, "CREATE TABLE pets (name TEXT UNIQUE, born DATE)")
    for statement in (
        "INSERT INTO pets VALUES (?, ?)",
        b"SELECT 1",
        None,
        5,
        "SELECT",
        "SELECT 1; SELECT 2",
        "SELECT * FROM no",
    ):
        run.do(connection.execute, statement, ("a", "2020-01-01"))
        run.do(connection.cursor().execute, statement)
    run.do(connection.execute)
    run.do(connection.execute, "SELECT 1", sql="SELECT 1")
    run.do(connection.executemany, "INSERT INTO pets VALUES (?, NULL)", [("x",), ("y",)])
    run.do(connection.executemany, "INSERT INTO pets VALUES (:name, NULL)", ({"name": name} for name in "pq"))
    run.do(connection.executemany, "SELECT 1", 5)
    run.do(connection.executescript, "CREATE TABLE a (b); INSERT INTO a VALUES (1);")
    run.do(connection.executescript, b"x")
    run.do(lambda: connection.execute("SELECT name FROM pets ORDER BY name").fetchall())
    connection.row_factory = sqlite3.Row
    run.do(lambda: [dict(row) for row in connection.execute("SELECT * FROM pets ORDER BY name")])
    run.do(lambda: connection.execute("SELECT * FROM pets").description)
    connection.create_function("twice", 1, lambda value: value * 2)
    run.do(lambda: connection.execute("SELECT twice(4)").fetchone()[0])
    run.do(lambda: list(connection.iterdump()))
    cursor = connection.cursor()
    run.do(
        lambda: (
            cursor.connection is connection,
            cursor.rowcount,
            cursor.lastrowid,
            cursor.arraysize,
            cursor.row_factory,
        )
    )
    run.do(lambda: cursor.execute("SELECT 1") is cursor)
    with connection:
        run.do(connection.execute, "DELETE FROM pets")
    run.do(lambda: connection.in_transaction)
    other = sqlite3.connect(":memory:")
    run.do(connection.backup, other)
    run.do(lambda: other.execute("SELECT count(*) FROM a").fetchone())
    run.do(connection.cursor, OwnCursor)
    run.do(connection.cursor, factory=sqlite3.Cursor)
    run.do(connection.cursor, 1)
    run.do(connection.cursor, factory=None)
    run.do(connection.cursor, None)
    run.do(sqlite3.connect)
    run.do(sqlite3.connect, "/nowhere/at/all.db")
    run.do(sqlite3.connect, 5.5)
    run.do(sqlite3.connect, ":memory:", factory=5)
    run.do(lambda: sqlite3.connect(":memory:", 5.0, 0, None, True, OwnConnection).execute("SELECT 1").fetchone())
    run.do(connection.close)
    run.do(connection.execute, "SELECT 1")
    run.do(cursor.execute, "SELECT 1")
    run.do(connection.cursor)
    return run.steps


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_gets_the_same_with_and_without(observed: Observe) -> None:
    """Every result, every exception and its message, for a program that uses the whole driver."""
    without = script()
    with observed("sqlite3"):
        with_us = script()
    assert with_us == without
