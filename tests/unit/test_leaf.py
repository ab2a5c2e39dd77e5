"""Leaf hooks, whose calls call nothing that is observed, and the drivers of databases that use them."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from noops_agent.instrument import CLIENT, Call, Duration, Instrumentation, Live
from noops_agent.instrument.dbapi import MOST_TEXTS, Driver, Targets, composed, target
from noops_agent.instrument.leaf import Leaf
from tests.instrumentation.conftest import Seen

TOOK = Duration("probe.duration", "How long it took.", keys=("key", "error.type"))


class Client:
    """A client of a library."""

    def get(self, key: Any, *, fails: bool = False) -> Any:
        """Documented."""
        if fails:
            raise KeyError(key)
        return key, trace.get_current_span().get_span_context().span_id

    async def aget(self, key: Any, *, fails: bool = False) -> Any:
        """Documented."""
        await asyncio.sleep(0)
        return Client.get(self, key, fails=fails)


def described(client: Any, args: Any, kwargs: Any) -> Call:
    """Say what a call means."""
    return Call(f"get {args[0]}", {"key": args[0]})


class Bench:
    """A leaf hook on both flavours of a method."""

    def __init__(self, seen: Seen, describe: Any = described, **more: Any) -> None:
        options = more.pop("options", {})
        probe = Instrumentation("probe")
        for name, value in options.items():
            setattr(probe.options, name, value)
        self.live = Live(probe, seen.tracer_provider, seen.meter_provider)
        hook = Leaf("probe:Client.get", CLIENT, describe, duration=TOOK, layer="probe", **more)
        self.kind = type("Client", (Client,), {
            "get": hook.make(self.live, Client.get, True),
            "aget": hook.make(self.live, Client.aget, True),
        })  # fmt: skip

    def calls(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Call both flavours."""
        return [self.kind().get(*args, **kwargs), asyncio.run(self.kind().aget(*args, **kwargs))]


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What is recorded."""
    seen = Seen()
    yield seen
    seen.meter_provider.shutdown()


def test_a_call_is_a_span_that_is_not_current_and_a_measurement(seen: Seen) -> None:
    """Nothing beneath is observed, so nothing needs to know of it."""
    bench = Bench(seen)
    with seen.tracer.start_as_current_span("parent") as parent:
        own = parent.get_span_context().span_id
        assert bench.kind().get("a") == ("a", own)
    assert asyncio.run(bench.kind().aget("a")) == ("a", 0)
    sync, _, later = seen.spans
    assert (sync.name, sync.kind, sync.attributes["key"], sync.parent.span_id) == ("get a", CLIENT, "a", own)
    assert (later.name, later.parent) == ("get a", None)
    (point,) = seen.metrics()["probe.duration"]
    assert (point.count, dict(point.attributes)) == (2, {"key": "a"})


def test_a_failure_is_told_and_goes_on(seen: Seen) -> None:
    """With what the integration knows of it."""
    bench = Bench(seen, error=lambda call, error: {"code": 7})
    with pytest.raises(KeyError) as raised:
        bench.kind().get("a", fails=True)
    with pytest.raises(KeyError):
        asyncio.run(bench.kind().aget("a", fails=True))
    assert raised.value.__context__ is None
    for span in seen.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "KeyError"
        assert span.attributes["code"] == 7
        assert [event.name for event in span.events] == ["exception"]
    (point,) = seen.metrics()["probe.duration"]
    assert dict(point.attributes) == {"key": "a", "error.type": "KeyError"}


def test_a_result_can_be_told_about(seen: Seen) -> None:
    """Its attributes, and a failure that was not raised; a teller that fails costs its attributes alone."""
    Bench(seen, result=lambda call, returned: {"got": returned[0]}).calls("a")
    Bench(seen, result=lambda call, returned: {"error.type": "odd"}).calls("b")
    Bench(seen, result=lambda call, returned: ValueError("odd")).calls("c")
    Bench(seen, result=lambda call, returned: 1 / 0).calls("d")
    assert [span.attributes.get("got") for span in seen.spans[:2]] == ["a", "a"]
    assert {span.attributes["error.type"] for span in seen.spans[2:4]} == {"odd"}
    assert {span.attributes["error.type"] for span in seen.spans[4:6]} == {"ValueError"}
    assert [span.status.status_code for span in seen.spans[2:6]] == [StatusCode.ERROR] * 4
    assert [span.name for span in seen.spans[6:]] == ["get d"] * 2


def test_a_describer_can_change_the_arguments_and_leave_calls_alone(seen: Seen) -> None:
    """Headers are injected before the arguments are taken."""
    carrier: dict[str, str] = {}

    def describe(client: Any, args: Any, kwargs: Any) -> Call | None:
        if args[0] == "skipped":
            return None
        return Call("get", {}, inject=carrier, args=("changed",), kwargs={}, labels={"key": "label"})

    bench = Bench(seen, describe)
    assert [returned[0] for returned in bench.calls("a", wrong=1)] == ["changed"] * 2
    assert "traceparent" in carrier
    assert [returned[0] for returned in bench.calls("skipped")] == ["skipped"] * 2
    assert len(seen.spans) == 2
    (point,) = seen.metrics()["probe.duration"]
    assert dict(point.attributes) == {"key": "label"}


def test_a_describer_that_fails_three_times_is_left_out(seen: Seen) -> None:
    """The calls run, and what they raise has no trace of ours."""
    tried = []

    def describe(client: Any, args: Any, kwargs: Any) -> Call:
        tried.append(args)
        raise RuntimeError("ours")

    bench = Bench(seen, describe)
    for _ in range(5):
        assert bench.kind().get("a")[0] == "a"
    assert len(tried) == 3
    with pytest.raises(KeyError) as raised:
        bench.kind().get("a", fails=True)
    assert raised.value.__context__ is None
    assert seen.spans == []


def test_a_hook_of_the_users_is_called_as_ever(seen: Seen) -> None:
    """It takes the usual way, on which the span is current."""
    called: list[Any] = []
    hooks = {
        "request_hook": lambda span, request: called.append(type(request).__name__),
        "response_hook": lambda span, request, response: called.append(response[0]),
    }
    Bench(seen, options=hooks).calls("a")
    assert called == ["Client", "a"] * 2


def test_a_wrapper_is_of_the_kind_and_name_of_what_it_wraps(seen: Seen) -> None:
    """And a library that was switched off calls through."""
    bench = Bench(seen)
    assert inspect.iscoroutinefunction(bench.kind.aget)
    assert not inspect.iscoroutinefunction(bench.kind.get)
    assert inspect.signature(bench.kind.get) == inspect.signature(Client.get)
    assert bench.kind.get.__doc__ == "Documented."
    bench.live.on = False
    bench.calls("a")
    assert seen.spans == []


# ---- drivers ---------------------------------------------------------------------------------------------


class Connection:
    """What a driver's cursor belongs to."""

    closed = False


def driver() -> tuple[Driver, Targets, list[Any]]:
    """Give a driver whose connections can be read until they are closed."""
    asked: list[Any] = []

    def read(connection: Any) -> Any:
        asked.append(connection)
        if connection.closed:
            raise ValueError("closed")
        return target("postgresql", "shop", "db.example.com", 6432)

    targets = Targets(read)
    return Driver(targets.of, target("postgresql"), text=composed), targets, asked


def test_what_is_known_of_a_connection_is_asked_once_and_forgotten_with_it() -> None:
    """A connection that can't be read is asked again the next time."""
    speaker, targets, asked = driver()
    connection = Connection()
    for _ in range(3):
        call = speaker.execute(connection, ("SELECT 1",), {})
    assert call is not None
    assert call.attributes["server.port"] == 6432
    assert len(asked) == 1
    assert len(targets) == 1
    connection.closed = True
    other = Connection()
    other.closed = True
    unread = speaker.execute(other, ("SELECT 1",), {})
    assert unread is not None
    assert "server.address" not in unread.attributes
    asked.clear()
    del connection, other
    assert len(targets) == 0


def test_the_attributes_of_a_call_are_its_own() -> None:
    """What is learnt of one call must not show on the next."""
    speaker, _, _ = driver()
    connection = Connection()
    for _ in range(3):
        call = speaker.execute(connection, ("SELECT 1",), {})
        assert call is not None
        assert "error.type" not in call.attributes
        call.attributes["error.type"] = "x"


def test_statements_without_end_fill_no_memory() -> None:
    """A program may write its values into the text."""
    shared = target("postgresql", "many")
    speaker = Driver(lambda cursor: shared, shared)
    for number in range(MOST_TEXTS * 3):
        speaker.execute(None, (f"SELECT {number}",), {})
    speaker.execute(None, ("SELECT " + "1," * 5000,), {})
    assert len(shared.texts) <= MOST_TEXTS
    assert max(map(len, shared.texts)) < 1000


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (("SELECT 1",), {}, "SELECT ?"),
        ((), {"query": "SELECT 1"}, "SELECT ?"),
        ((), {"sql": "SELECT 1"}, "SELECT ?"),
        ((), {"operation": "SELECT 1"}, "SELECT ?"),
        ((b"SELECT 1",), {}, "SELECT ?"),
        ((), {}, None),
        ((5,), {}, None),
        ((None,), {}, None),
        (([],), {}, None),
    ],
)
def test_a_statement_is_found_wherever_the_driver_takes_it(args: Any, kwargs: Any, text: str | None) -> None:
    """What is none has no text, and fails in the driver as ever."""
    speaker, _, _ = driver()
    call = speaker.execute(Connection(), args, kwargs)
    assert call is not None
    assert call.attributes.get("db.query.text") == text


def test_template_strings_are_told_without_their_values() -> None:
    """A template string (PEP 750) holds the values themselves."""

    class Template:
        interpolations = ()

        def __init__(self, *items: Any) -> None:
            self.items = items

        def __iter__(self) -> Iterator[Any]:
            return iter(self.items)

    def filled(value: Any, spec: str = "") -> Any:
        return types.SimpleNamespace(value=value, format_spec=spec)

    inner = Template("id = ", filled(5))
    statement = Template(
        "SELECT ", filled('a"b', "i"), " FROM t WHERE ", filled(inner, "q"), " AND x = ", filled("hunter2")
    )
    assert composed(statement) == 'SELECT "a""b" FROM t WHERE id = %s AND x = %s'
    assert composed(5) is None
