"""What all messaging integrations share: names, links, dwell times, and the ways in which messages reach a program."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from noops_agent.instrument import CLIENT, CONSUMER, PRODUCER, Call, Hook, Instrumentation, messaging
from noops_agent.instrument.deliveries import Deliveries, Handed, Loop, Received
from noops_agent.instrument.frameworks import Everywhere, Given, Muted
from noops_agent.instrument.live import Live
from noops_agent.instrument.messaging import amqp_destination, amqp_time

from .conftest import Seen

SECOND_NS = 1_000_000_000


def header(number: int) -> dict[str, str]:
    """The headers of a message whose sender has this number for trace and span."""
    return {"traceparent": f"00-{number:032x}-{number:016x}-01"}


def linked(call: Call) -> list[int]:
    """The senders that a call links to."""
    return [link.context.span_id for link in call.links]


# ---- what calls mean -------------------------------------------------------------------------------------


def test_names_leave_out_what_was_made_up() -> None:
    """A template is shown in place of a name; a temporary or anonymous destination is not shown at all."""
    assert messaging.send("s", "orders").name == "send orders"
    assert messaging.send("s", "orders.17", template="orders.{id}", operation="publish").name == "publish orders.{id}"
    assert messaging.send("s", "_INBOX", temporary=True).name == "send"
    assert messaging.process("s", "amq.gen", anonymous=True).name == "process"
    assert messaging.settle("s", "orders", "ack").name == "ack orders"


def test_attributes_of_one_call_are_its_own() -> None:
    """They start as a copy of what is remembered of the destination."""
    first = messaging.send("s", "orders", message_id="1", body_size=0)
    first.attributes["more"] = 1
    second = messaging.send("s", "orders")
    assert first.attributes["messaging.message.body.size"] == 0
    assert second.attributes == {
        "messaging.system": "s",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
    }


def test_a_message_says_when_it_was_sent_unless_it_has_a_time_of_its_own() -> None:
    """In a header of ours, in nanoseconds; through a mapping or a function, or into each message of a batch."""
    carriers: list[dict[str, Any]] = [{}, {}, {}, {}]
    messaging.send("s", "d", carriers[0])
    messaging.send("s", "d", carriers[1], stamped=True)
    messaging.send("s", "d", messaging.each(carriers[2:]), count=2)
    times = [messaging.sending_time(carrier) for carrier in carriers]
    assert times[1] is None
    for at in (times[0], *times[2:]):
        assert at is not None
        assert 0 <= time.time_ns() - at < 60 * SECOND_NS


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 30, "٣", 7, None, [], [None], b"\xff"])
def test_a_time_that_is_none_is_passed_over(value: Any) -> None:
    """Brokers hand on whatever another program has written."""
    assert messaging.sending_time({messaging.SENT_AT: value}) is None
    assert messaging.DWELL_TIME not in messaging.process("s", "d", {messaging.SENT_AT: value}).attributes


@pytest.mark.parametrize("value", ["5", b"5", ["5"], [b"5"]])
def test_times_are_read_as_text_bytes_or_lists(value: Any) -> None:
    """Each library has its own idea of headers."""
    assert messaging.sending_time({messaging.SENT_AT: value}) == 5


def test_a_sender_whose_clock_is_ahead_gives_no_negative_dwell_time() -> None:
    """Two machines never agree."""
    ahead = time.time_ns() + 60 * SECOND_NS
    assert messaging.process("s", "d", sent_at=ahead).attributes[messaging.DWELL_TIME] == 0.0


@pytest.mark.parametrize("value", [7, None, b"\xff\xff", [1, 2], {"a": 1}, "nonsense"])
def test_a_broken_context_begins_a_trace(value: Any) -> None:
    """And harms nothing."""
    assert messaging.process("s", "d", {"traceparent": value}).parent == messaging.ROOT
    assert messaging.process_batch("s", "d", [{"traceparent": value}]).links == ()


def test_a_context_is_read_from_bytes_as_well() -> None:
    """Kafka's headers are bytes."""
    carrier = {"traceparent": header(3)["traceparent"].encode()}
    assert linked(messaging.process("s", "d", carrier, linked=True)) == [3]


def test_a_batch_links_to_each_sender_and_waits_as_long_as_its_first_message() -> None:
    """One span can have but one parent."""
    now = time.time_ns()
    carriers = [
        {**header(1), messaging.SENT_AT: str(now - 5 * SECOND_NS)},
        {},
        {**header(2), messaging.SENT_AT: str(now - 60 * SECOND_NS)},
    ]
    call = messaging.process_batch("s", "d", carriers, group="g")
    assert call.parent is None
    assert linked(call) == [1, 2]
    assert call.attributes["messaging.batch.message_count"] == 3
    assert call.attributes["messaging.consumer.group.name"] == "g"
    assert call.attributes[messaging.DWELL_TIME] >= 60


def test_a_large_batch_has_no_more_links_than_a_span() -> None:
    """What is beyond would be dropped later, at more cost."""
    call = messaging.process_batch("s", "d", [header(number) for number in range(1, 1000)])
    assert len(call.links) == messaging.MAX_LINKS
    assert call.attributes["messaging.batch.message_count"] == 999


def test_only_calls_for_batches_tell_a_number() -> None:
    """By the convention a call that gives one message at a time doesn't, even if it gave one."""
    single = messaging.receive("s", "d", [header(1)])
    batch = messaging.receive("s", "d", [header(1)], batch=True)
    assert "messaging.batch.message_count" not in single.attributes
    assert batch.attributes["messaging.batch.message_count"] == 1
    assert linked(single) == linked(batch) == [1]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("", ""), ("amq.default", False)),
        (("logs", ""), ("logs", False)),
        (("", "orders"), ("orders", False)),
        (("logs", "warning"), ("logs:warning", False)),
        (("", "orders", "orders"), ("orders", False)),
        (("logs", "warning", "store"), ("logs:warning:store", False)),
        (("logs", "store", "store"), ("logs:store", False)),
        (("", "amq.gen-1"), ("amq.gen", True)),
        (("", "amq.gen-1", "amq.gen-1"), ("amq.gen", True)),
        (("logs", "warning", "amq.gen-1"), ("logs:warning:amq.gen", True)),
        (("amq.topic", "a.b"), ("amq.topic:a.b", False)),
    ],
)
def test_destinations_of_amqp_are_named_by_the_convention(parts: tuple[str, ...], expected: tuple[str, bool]) -> None:
    """Exchange, routing key and, for consumers, queue; what the broker made up is told by its beginning."""
    assert amqp_destination(*parts) == expected


def test_timestamps_of_amqp_are_numbers_or_dates() -> None:
    """Three libraries, three ways."""
    assert amqp_time(None) is None
    assert amqp_time("yesterday") is None
    assert amqp_time(5) == 5 * SECOND_NS
    assert amqp_time(datetime.fromtimestamp(5, timezone.utc)) == 5 * SECOND_NS


# ---- how messages reach a program ------------------------------------------------------------------------


class Library(ModuleType):
    """A library whose every way of delivering messages is instrumented below."""

    def __init__(self) -> None:
        super().__init__("messagelib")

        class Client:
            """What a program uses."""

            def __init__(self, *messages: Any) -> None:
                self.messages = list(messages)

            def consume(self, queue: str, callback: Any) -> Any:
                """Hand every message to a callback."""
                return [callback(message) for message in self.messages]

            async def consume_later(self, queue: str, callback: Any) -> Any:
                """The same with a coroutine function."""
                return [await callback(message) for message in self.messages]

            def loop(self) -> Iterator[Any]:
                """Give every message, and what the program sends back; then how many there were."""
                for message in self.messages:
                    try:
                        sent = yield message
                        if sent is not None:
                            yield sent
                    except KeyError as error:
                        yield repr(error)
                return len(self.messages)

            async def aloop(self) -> AsyncIterator[Any]:
                """Give every message."""
                for message in self.messages:
                    yield message

            def __iter__(self) -> Any:
                return self

            def __next__(self) -> Any:
                if not self.messages:
                    raise StopIteration
                return self.messages.pop(0)

            def close(self) -> None:
                """Nothing is done."""

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                self.close()

            def get(self) -> Any:
                """Give the next message; None where there is none, an exception where it is one."""
                message = self.messages.pop(0) if self.messages else None
                if isinstance(message, Exception):
                    raise message
                return message

            async def aget(self) -> Any:
                """The same."""
                return self.get()

            def outer(self) -> Any:
                """Another way of getting."""
                return self.get()

        def build(name: str) -> Any:
            """Make a function."""
            return lambda message: (name, message)

        self.Client = Client
        self.build = build


def described(instance: Any, args: Any, kwargs: Any, message: Any) -> Call | None:
    """Messages are the headers that they came with."""
    if message == "bad":
        raise ValueError("a bug of ours")
    return messaging.process("s", "q", message) if isinstance(message, dict) else None


def received(instance: Any, args: Any, kwargs: Any, message: Any) -> Call | None:
    """The same for those that were asked for."""
    return None if message is None else messaging.receive("s", "q", [message])


def refused(instance: Any, args: Any, kwargs: Any, error: Any) -> Call | None:
    """Some errors only say that there is nothing."""
    return None if isinstance(error, IndexError) else messaging.receive("s", "q")


def watched(instance: Any, args: Any, kwargs: Any) -> Hook | None:
    """All callbacks but those with a name."""
    if "library" in getattr(args[-1], "__name__", ""):
        return None
    return Hook("callback", CONSUMER, lambda _, args, kwargs: described(_, (), {}, args[0]))


def make(seen: Seen) -> tuple[Library, Live, list[Any]]:
    """Instrument a library; give how to undo it."""
    library = Library()
    sys.modules["messagelib"] = library
    loops = Deliveries()
    of = "messagelib:Client."
    patches = (
        Handed(of + "consume", 1, "callback", watched),
        Handed(of + "consume_later", 1, "callback", watched),
        Loop(of + "loop", described),
        Loop(of + "aloop", described),
        loops.next(of + "__next__", described),
        loops.end(of + "close"),
        loops.end(of + "__exit__"),
        Received(of + "get", received, failed=refused),
        Received(of + "aget", received, failed=refused),
        Received(of + "outer", received, failed=refused),
        Everywhere(Given("messagelib:build", watched), "copylib"),
    )
    live = Live(Instrumentation("messagelib"), seen.tracer_provider, seen.meter_provider)
    return library, live, [patch.apply(live) for patch in patches]


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What is recorded, with a current context that can't fail to detach, as in a running agent."""
    from noops_agent._signals import context

    restore = context.install()
    made = Seen()
    yield made
    made.meter_provider.shutdown()
    restore()


@pytest.fixture
def library(seen: Seen) -> Iterator[Any]:
    """The instrumented library."""
    copied = sys.modules["copylib"] = ModuleType("copylib")
    made, live, undo = make(seen)
    copied.build = made.build  # type: ignore[attr-defined]
    yield made
    live.on = False
    for back in reversed(undo):
        back()
    del sys.modules["messagelib"], sys.modules["copylib"]


@contextmanager
def nothing_current() -> Iterator[None]:
    """Nothing is current before and after."""
    from opentelemetry import trace

    assert not trace.get_current_span().get_span_context().is_valid
    yield
    assert not trace.get_current_span().get_span_context().is_valid


def parents(seen: Seen) -> list[int | None]:
    """The senders of what was processed."""
    return [span.parent and span.parent.span_id for span in seen.spans if span.kind is SpanKind.CONSUMER]


def test_callbacks_are_watched_however_they_are_handed_over(seen: Seen, library: Any) -> None:
    """By place or by name; what belongs to the library itself is not."""

    def library_callback(message: Any) -> Any:
        return message

    client = library.Client(header(1), header(2))
    with nothing_current():
        assert client.consume("q", lambda message: len(message)) == [1, 1]
        assert client.consume("q", callback=len) == [1, 1]
        assert client.consume("q", library_callback) == client.messages
    assert parents(seen) == [1, 2, 1, 2]


def test_coroutine_functions_are_watched_as_such(seen: Seen, library: Any) -> None:
    """The span lasts until the coroutine has ended."""

    async def callback(message: Any) -> int:
        await asyncio.sleep(0)
        with seen.tracer.start_as_current_span("work"):
            return 1

    assert asyncio.run(library.Client(header(1)).consume_later("q", callback)) == [1]
    assert [span.name for span in seen.spans] == ["work", "process q"]
    assert seen.spans[0].parent == seen.spans[1].context


def test_a_loops_body_is_the_processing(seen: Seen, library: Any) -> None:
    """Each message is current until the next is asked for, and the last one until the loop has ended."""
    with nothing_current():
        for at, message in enumerate(library.Client(header(1), header(2)).loop()):
            assert message == header(at + 1)
            with seen.tracer.start_as_current_span("work"):
                pass
    assert [span.name for span in seen.spans] == ["work", "process q"] * 2
    assert parents(seen) == [1, 2]
    assert [seen.spans[0].parent, seen.spans[2].parent] == [seen.spans[1].context, seen.spans[3].context]


def test_a_generator_stays_what_it_was(seen: Seen, library: Any) -> None:
    """What is sent and thrown into it arrives, and its value comes out."""
    assert inspect.isgeneratorfunction(library.Client.loop)
    assert inspect.isasyncgenfunction(library.Client.aloop)
    with nothing_current():
        loop = library.Client(header(1), "x").loop()
        assert next(loop) == header(1)
        assert loop.send("hello") == "hello"
        assert next(loop) == "x"
        assert loop.throw(KeyError("boom")) == "KeyError('boom')"
        with pytest.raises(StopIteration) as stop:
            next(loop)
        assert stop.value.value == 2


def test_a_loop_that_is_left_ends_its_message(seen: Seen, library: Any) -> None:
    """By `break`, by an exception, or because it was forgotten."""
    with nothing_current():
        for _ in library.Client(header(1), header(2)).loop():
            break
        with pytest.raises(KeyError):
            for _ in library.Client(header(3)).loop():
                raise KeyError
    assert parents(seen) == [1, 3]


def test_asynchronous_loops_are_no_different(seen: Seen, library: Any) -> None:
    """Two of them at once don't mix."""

    async def main() -> None:
        async def run(number: int) -> None:
            async for _ in library.Client(header(number), header(number + 1)).aloop():
                await asyncio.sleep(0)
                with seen.tracer.start_as_current_span("work") as span:
                    found.append((number, span.parent.trace_id))

        found: list[tuple[int, int]] = []
        await asyncio.gather(run(10), run(20))
        assert sorted(found) == [(10, 10), (10, 11), (20, 20), (20, 21)]

    asyncio.run(main())
    assert sorted(parents(seen)) == [10, 11, 20, 21]  # type: ignore[type-var]


def test_an_iterator_is_followed_by_its_methods(seen: Seen, library: Any) -> None:
    """Until it is closed, or its `with` block knows what the body ended with."""
    with nothing_current():
        client = library.Client(header(1), header(2))
        next(client)
        next(client)
        client.close()
        with pytest.raises(KeyError), library.Client(header(3)) as client:
            next(client)
            raise KeyError
        assert list(library.Client(header(4))) == [header(4)]
    assert parents(seen) == [1, 2, 3, 4]
    assert [span.attributes.get("error.type") for span in seen.spans] == [None, None, "KeyError", None]


def test_a_forgotten_iterator_ends_its_message(seen: Seen, library: Any) -> None:
    """Nothing is kept of it."""
    next(library.Client(header(1)))
    assert parents(seen) == [1]


def test_what_was_asked_for_is_told_once_it_is_there(seen: Seen, library: Any) -> None:
    """With links and its true length; a poll in vain is nothing, an error is one unless it says "empty"."""
    client = library.Client(header(1), IndexError(), KeyError())
    client.get()
    for expected in (IndexError, KeyError):
        with pytest.raises(expected):
            client.get()
    assert client.get() is None
    assert asyncio.run(library.Client(header(2)).aget()) == header(2)
    assert [span.kind for span in seen.spans] == [CLIENT] * 3
    assert [[link.context.span_id for link in span.links] for span in seen.spans] == [[1], [], [2]]
    assert [span.attributes.get("error.type") for span in seen.spans] == [None, "KeyError", None]


def test_one_way_of_asking_within_another_is_one_operation(seen: Seen, library: Any) -> None:
    """The outer one speaks."""
    library.Client(header(1)).outer()
    assert len(seen.spans) == 1
    (duration,) = seen.metrics()["messaging.client.operation.duration"]
    assert duration.count == 1


def test_what_is_built_is_watched(seen: Seen, library: Any) -> None:
    """And a copy of the builder's name in another module is the same function."""
    assert sys.modules["copylib"].build is library.build
    assert library.build("f")(header(1)) == ("f", header(1))
    assert parents(seen) == [1]


def test_a_bug_of_ours_reaches_nobody(seen: Seen, library: Any) -> None:
    """The message is delivered, and later ones are still told."""
    assert library.Client("bad").consume("q", len) == [3]
    assert list(library.Client("bad", header(1)).loop()) == ["bad", header(1)]
    assert list(library.Client("bad", header(2))) == ["bad", header(2)]
    assert parents(seen) == [1, 2]


def test_once_off_everything_is_as_before(seen: Seen) -> None:
    """What a program still holds passes its calls on."""
    library, live, undo = make(seen)
    builder = library.build("f")
    live.on = False
    client = library.Client(header(1))
    assert builder(header(1)) == ("f", header(1))
    assert client.consume("q", len) == [1]
    assert list(client.loop()) == [header(1)]
    assert client.get() == header(1)
    for back in reversed(undo):
        back()
    assert seen.spans == []
    plain = Library().Client
    assert {name for name in vars(plain) if hasattr(vars(library.Client)[name], "__wrapped__")} == set()


def test_a_framework_s_books_are_left_out_but_not_what_a_message_does(seen: Seen) -> None:
    """Muting a layer silences just that, and the processing of a message begins anew."""
    library = sys.modules["messagelib"] = ModuleType("messagelib")
    live = Live(Instrumentation("messagelib"), seen.tracer_provider, seen.meter_provider)
    query = Hook("x:query", CLIENT, lambda *_: Call("query", {}), layer="db").make(live, lambda: None, False)
    send = Hook("x:send", PRODUCER, lambda *_: Call("send", {}), layer="messaging").make(live, lambda: None, False)
    process = Hook("x:process", CONSUMER, lambda *_: Call("process", {})).make(live, query, False)

    def books() -> None:
        query()
        send()
        process()

    async def later() -> None:
        query()

    library.books, library.later = books, later  # type: ignore[attr-defined]
    for name in ("books", "later"):
        Muted(f"messagelib:{name}").apply(live)
    library.books()
    asyncio.run(library.later())
    del sys.modules["messagelib"]
    assert [span.name for span in seen.spans] == ["send", "query", "process"]
