"""pymongo's clients against a server that speaks MongoDB's protocol: commands, cursors, bulks, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

pymongo = pytest.importorskip("pymongo")

from .fake_mongo import Server, serving  # noqa: E402

SECRET = "correct horse battery staple"


@pytest.fixture
def server() -> Iterator[Server]:
    """An empty database."""
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client of it."""
    with pymongo.MongoClient(server.url) as made:
        made.shop.command("ping")
        yield made


# ---- commands --------------------------------------------------------------------------------------------


def test_a_command_is_a_client_span_without_values(observed: Any, client: Any, server: Server) -> None:
    """The shape of the filter is the statement; what is looked for stays at home."""
    with observed("pymongo") as seen:
        assert client.shop.users.find_one({"name": SECRET, "age": {"$gt": 65}}) is None
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("find users", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "db.query.text": '{"find": "users", "filter": {"name": "?", "age": {"$gt": "?"}}}',
        "server.address": "127.0.0.1",
        "server.port": server.server_address[1],
    }


def test_the_asyncio_client_says_the_same(observed: Any, client: Any, server: Server) -> None:
    """Both flavours are one description."""
    if not hasattr(pymongo, "AsyncMongoClient"):
        pytest.skip("pymongo has no asyncio client before 4.9")

    async def find() -> None:
        async with pymongo.AsyncMongoClient(server.url) as other:
            await other.shop.users.find_one({"name": SECRET})

    with observed("pymongo") as seen:
        client.shop.users.find_one({"name": SECRET})
        asyncio.run(find())
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_a_command_is_a_child_of_the_current_span(observed: Any, client: Any) -> None:
    """A command belongs to what asked for it."""
    with observed("pymongo") as seen, seen.tracer.start_as_current_span("outer") as outer:
        client.shop.users.find_one()
    assert seen.named("find users").parent.span_id == outer.get_span_context().span_id


def test_a_duration_is_recorded_for_each_command(observed: Any, client: Any) -> None:
    """The histogram counts calls by operation and collection."""
    with observed("pymongo") as seen:
        client.shop.users.insert_one({"_id": 1})
        client.shop.users.find_one()
        client.shop.users.find_one()
        points = {
            point.attributes["db.operation.name"]: point.count
            for point in seen.metrics()["db.client.operation.duration"]
        }
    assert points == {"insert": 1, "find": 2}


CALLS: list[tuple[Callable[[Any], Any], str, str | None]] = [
    (lambda users: users.insert_one({"_id": 1, "name": SECRET}), "insert users", None),
    (
        lambda users: users.update_one({"name": SECRET}, {"$set": {"age": 7}}),
        "update users",
        '{"update": "users", "updates": [{"q": {"name": "?"}, "u": {"$set": {"age": "?"}}, "multi": "?", '
        '"upsert": "?"}]}',
    ),
    (
        lambda users: users.delete_many({"tags": {"$in": [SECRET, 1, 2]}}),
        "delete users",
        '{"delete": "users", "deletes": [{"q": {"tags": {"$in": ["?"]}}, "limit": "?"}]}',
    ),
    (
        lambda users: list(users.aggregate([{"$match": {"name": SECRET}}, {"$limit": 5}])),
        "aggregate users",
        '{"aggregate": "users", "pipeline": [{"$match": {"name": "?"}}, {"$limit": "?"}]}',
    ),
    (
        lambda users: users.find_one_and_delete({"name": SECRET}),
        "findAndModify users",
        '{"findAndModify": "users", "query": {"name": "?"}}',
    ),
    (
        lambda users: users.distinct("name", {"age": 7}),
        "distinct users",
        '{"distinct": "users", "query": {"age": "?"}}',
    ),
    (lambda users: users.database.command("ping"), "ping shop", None),
]


@pytest.mark.parametrize(("call", "name", "text"), CALLS, ids=[name for _, name, _ in CALLS])
def test_each_kind_of_command_shows_its_shape(
    observed: Any, client: Any, call: Callable[[Any], Any], name: str, text: str | None
) -> None:
    """Filters, updates and pipelines are statements; documents are data, and have none."""
    with observed("pymongo") as seen:
        call(client.shop.users)
    span = seen.span
    assert span.name == name
    assert span.attributes.get("db.query.text") == text
    assert SECRET not in str(dict(span.attributes))


def test_a_huge_statement_is_cut_short(observed: Any, client: Any) -> None:
    """Its work is bounded, however large it is."""
    with observed("pymongo") as seen:
        client.shop.users.find_one({"$or": [{f"field{number}": number} for number in range(1000)]})
    text = seen.span.attributes["db.query.text"]
    assert len(text) < 2000
    assert text.count("...") >= 1


def test_a_cursor_has_a_span_for_each_trip(observed: Any, client: Any) -> None:
    """`getMore` is a command of its own; it knows its collection."""
    client.shop.users.insert_many([{"_id": number} for number in range(5)])
    with observed("pymongo") as seen:
        assert len(list(client.shop.users.find(batch_size=2))) == 5
    assert [span.name for span in seen.spans] == ["find users", "getMore users", "getMore users"]


def test_a_cursor_that_is_closed_is_killed_in_a_span(observed: Any, client: Any) -> None:
    """Who closes it early sends a command."""
    client.shop.users.insert_many([{"_id": number} for number in range(5)])
    with observed("pymongo") as seen:
        cursor = client.shop.users.find(batch_size=2)
        next(cursor)
        cursor.close()
    assert [span.name for span in seen.spans] == ["find users", "killCursors users"]


def test_several_documents_are_a_batch(observed: Any, client: Any) -> None:
    """Its size is the number of operations; one alone is no batch."""
    with observed("pymongo") as seen:
        client.shop.users.insert_many([{"_id": number} for number in range(3)])
        client.shop.users.bulk_write([pymongo.InsertOne({"_id": 7}), pymongo.UpdateOne({"_id": 7}, {"$set": {"a": 1}})])
    assert [(span.name, span.attributes.get("db.operation.batch.size")) for span in seen.spans] == [
        ("insert users", 3),
        ("insert users", None),
        ("update users", None),
    ]


def test_an_unacknowledged_write_has_a_span(observed: Any, client: Any) -> None:
    """Nobody answers, and it was sent all the same."""
    fast = client.shop.get_collection("users", write_concern=pymongo.WriteConcern(w=0))
    with observed("pymongo") as seen:
        fast.insert_one({"_id": 1})
    assert seen.span.name == "insert users"


# ---- errors ----------------------------------------------------------------------------------------------


def test_an_error_of_the_server_has_its_code(observed: Any, client: Any) -> None:
    """The code is both the status and the type of the error."""
    with observed("pymongo") as seen, pytest.raises(pymongo.errors.OperationFailure):
        client.shop.command("nonsense")
    span = seen.span
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["db.response.status_code"], span.attributes["error.type"]) == ("59", "59")


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_write_that_was_refused_is_an_error(observed: Any, client: Any, many: bool) -> None:
    """The command itself went well; what it should have done did not."""
    users = client.shop.users
    users.insert_one({"_id": 1})
    with observed("pymongo") as seen, pytest.raises(pymongo.errors.PyMongoError):
        _ = users.insert_many([{"_id": 1}, {"_id": 2}]) if many else users.insert_one({"_id": 1})
    assert seen.span.attributes["error.type"] == "11000"
    assert seen.span.status.status_code is StatusCode.ERROR


def test_no_value_leaves_with_an_error(observed: Any, client: Any) -> None:
    """The server quotes the document in its message, and the driver adds the whole answer."""
    with observed("pymongo") as seen, pytest.raises(pymongo.errors.DuplicateKeyError, match=SECRET):
        client.shop.users.find_one_and_update({"name": SECRET}, {"$set": {"age": 7}}, upsert=True)
    span = seen.span
    (event,) = span.events
    assert event.attributes["exception.message"].startswith("E11000 duplicate key error")
    assert SECRET not in f"{dict(event.attributes)} {span.status.description} {dict(span.attributes)}"


def test_a_lost_connection_is_an_error_of_the_client(observed: Any, server: Server) -> None:
    """Without an answer there is no code, and the type is the exception's class."""
    with pymongo.MongoClient(server.url, retryReads=False) as client, observed("pymongo") as seen:
        server.do_find = lambda command: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        server.handle_error = lambda *given: None  # type: ignore[method-assign]
        with pytest.raises(pymongo.errors.AutoReconnect):
            client.shop.users.find_one()
    assert seen.span.attributes["error.type"] == "pymongo.errors.AutoReconnect"
    assert "db.response.status_code" not in seen.span.attributes


# ---- what is no operation --------------------------------------------------------------------------------


def test_what_the_driver_does_for_itself_makes_no_spans(observed: Any, server: Server) -> None:
    """Greetings, watching the server, and the end of sessions are its own business."""
    with observed("pymongo") as seen:
        with pymongo.MongoClient(server.url, heartbeatFrequencyMS=500) as client:
            client.shop.users.find_one()
        assert any("endSessions" in command for command in server.commands)
    assert [span.name for span in seen.spans] == ["find users"]


def test_a_client_made_earlier_is_observed_and_left_again(observed: Any, client: Any) -> None:
    """Listeners would only reach clients made later."""
    with observed("pymongo") as seen:
        client.shop.users.find_one()
    client.shop.users.find_one()
    assert len(seen.spans) == 1


def test_an_older_driver_is_observed_by_its_events(
    observed: Any, client: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it had one place to patch, its command events say the same, also those of clients made earlier."""
    from noops_instrumentation import pymongo as integration

    monkeypatch.setattr(integration, "find_spec", lambda name: None)
    monkeypatch.setattr(integration.INSTRUMENTATION, "hooks", ())
    with observed("pymongo") as seen, pymongo.MongoClient(server.url) as other:
        client.shop.users.find_one({"name": SECRET})
        with pytest.raises(pymongo.errors.OperationFailure):
            other.shop.command("nonsense")
    client.shop.users.find_one()
    find, failed = seen.spans
    assert find.name == "find users"
    assert find.attributes["db.query.text"] == '{"find": "users", "filter": {"name": "?"}}'
    assert failed.attributes["error.type"] == "59"
