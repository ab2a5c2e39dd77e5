"""aio-pika: exchanges, consumers, iterators and `get`, plain and robust, against a real RabbitMQ."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

aio_pika = pytest.importorskip("aio_pika")

MISSING = "RabbitMQ does not answer at 127.0.0.1:5672; start it with: rabbitmq-server -detached"
URL = "amqp://guest:guest@127.0.0.1:5672/?heartbeat=0"


def ids(context: Any) -> tuple[int, int]:
    """What tells a span; whether it came from another process doesn't matter here."""
    return context.trace_id, context.span_id


@asynccontextmanager
async def opened(connect: Any = None) -> AsyncIterator[tuple[Any, Any]]:
    """A channel and a queue that goes with the connection."""
    try:
        connection = await (connect or aio_pika.connect_robust)(URL, timeout=5)
    except OSError:
        pytest.skip(MISSING)
    try:
        channel = await connection.channel()
        yield channel, await channel.declare_queue(f"noops-test-{uuid.uuid4().hex}", exclusive=True)
    finally:
        await connection.close()


def run(body: Callable[[Any, Any], Awaitable[None]], connect: Any = None) -> None:
    """Run a coroutine function with a channel and a queue."""

    async def main() -> None:
        async with opened(connect) as (channel, queue):
            await asyncio.wait_for(body(channel, queue), 20)

    asyncio.run(main())


async def publish(channel: Any, queue: Any, body: bytes = b"hello", **properties: Any) -> None:
    """Send one message through the default exchange."""
    await channel.default_exchange.publish(aio_pika.Message(body, **properties), routing_key=queue.name)


@pytest.mark.parametrize("connect", [aio_pika.connect, aio_pika.connect_robust])
def test_a_callback_is_processed_as_the_child_of_the_sender(observed: Any, connect: Any) -> None:
    """The trace goes on in the consumer, and its own spans lie beneath; on both kinds of connections."""

    async def body(channel: Any, queue: Any) -> None:
        done = asyncio.Event()

        async def callback(message: Any) -> None:
            async with message.process():
                with seen.tracer.start_as_current_span("work"):
                    await asyncio.sleep(0)
            done.set()

        await queue.consume(callback)
        await publish(channel, queue, message_id="m1")
        await done.wait()
        await asyncio.sleep(0)
        sent, work = seen.named(f"publish {queue.name}"), seen.named("work")
        processed = seen.named(f"process {queue.name}")
        assert (sent.name, sent.kind) == (f"publish {queue.name}", SpanKind.PRODUCER)
        assert (processed.name, processed.kind) == (f"process {queue.name}", SpanKind.CONSUMER)
        assert ids(processed.parent) == ids(sent.context)
        assert work.parent == processed.context
        assert dict(sent.attributes) == {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": queue.name,
            "messaging.rabbitmq.destination.routing_key": queue.name,
            "messaging.message.id": "m1",
            "messaging.message.body.size": 5,
            "server.address": "127.0.0.1",
        }

    with observed("aio_pika") as seen:
        run(body, connect)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plain_functions_as_callbacks_are_observed_too(observed: Any) -> None:
    """aio-pika takes them, so must we."""

    async def body(channel: Any, queue: Any) -> None:
        done = asyncio.Event()
        await queue.consume(lambda message: done.set(), no_ack=True)
        await publish(channel, queue)
        await done.wait()

    with observed("aio_pika") as seen:
        run(body)
    assert sorted(span.name.split()[0] for span in seen.spans) == ["process", "publish"]


def test_the_senders_message_stays_as_it_was(observed: Any) -> None:
    """A message can be sent many times; its headers are the application's."""

    async def body(channel: Any, queue: Any) -> None:
        message = aio_pika.Message(b"x", headers={"mine": 1})
        await channel.default_exchange.publish(message=message, routing_key=queue.name)
        assert message.headers == {"mine": 1}
        received = await queue.get(no_ack=True)
        assert received.headers["mine"] == 1
        assert int(received.headers["traceparent"].split("-")[2], 16) == seen.spans[0].context.span_id

    with observed("aio_pika") as seen:
        run(body)


def test_what_raises_in_a_callback_is_recorded(observed: Any) -> None:
    """The message is rejected by `process()` as ever, and the span tells why."""

    async def body(channel: Any, queue: Any) -> None:
        done = asyncio.Event()

        async def callback(message: Any) -> None:
            done.set()
            async with message.process():
                raise KeyError("boom")

        tag = await queue.consume(callback)
        await publish(channel, queue)
        await done.wait()
        await queue.cancel(tag)

    with observed("aio_pika") as seen:
        run(body)
    (processed,) = [span for span in seen.spans if span.kind is SpanKind.CONSUMER]
    assert processed.status.status_code is StatusCode.ERROR
    assert processed.attributes["error.type"] == "KeyError"


@pytest.mark.parametrize("connect", [aio_pika.connect, aio_pika.connect_robust])
def test_an_iterator_processes_each_message_until_the_next_is_asked_for(observed: Any, connect: Any) -> None:
    """The body of the loop is the processing; what waits in the iterator's buffer is nothing."""

    async def body(channel: Any, queue: Any) -> None:
        for _ in range(3):
            await publish(channel, queue)
        sent = [ids(span.context) for span in seen.spans]
        seen.clear()
        async with queue.iterator() as messages:
            at = 0
            async for message in messages:
                async with message.process():
                    with seen.tracer.start_as_current_span(f"work {at}"):
                        await asyncio.sleep(0)
                at += 1
                if at == 2:
                    break
        with seen.tracer.start_as_current_span("after"):
            pass
        name = f"process {queue.name}"
        assert [span.name for span in seen.spans] == ["work 0", name, "work 1", name, "after"]
        work, first, more, second, after = seen.spans
        assert [ids(first.parent), ids(second.parent)] == sent[:2]
        assert [work.parent, more.parent] == [first.context, second.context]
        assert after.parent is None

    with observed("aio_pika") as seen:
        run(body, connect)


def test_what_ends_an_iterators_loop_is_recorded(observed: Any) -> None:
    """The iterator's `async with` knows the exception that the body of the loop ended with."""

    async def body(channel: Any, queue: Any) -> None:
        await publish(channel, queue)
        with pytest.raises(KeyError):
            async with queue.iterator(no_ack=True) as messages:
                async for _ in messages:
                    raise KeyError("boom")

    with observed("aio_pika") as seen:
        run(body)
    assert seen.spans[-1].attributes["error.type"] == "KeyError"


def test_getting_a_message_is_a_client_span_with_a_link(observed: Any) -> None:
    """The application asked for it: its own context is the parent, and the sender is linked to."""

    async def body(channel: Any, queue: Any) -> None:
        await publish(channel, queue)
        with seen.tracer.start_as_current_span("asking"):
            await queue.get(no_ack=True)

    with observed("aio_pika") as seen:
        run(body)
    sent, got, asking = seen.spans
    assert got.kind is SpanKind.CLIENT
    assert got.name.startswith("get noops-test-")
    assert got.parent == asking.context
    assert [ids(link.context) for link in got.links] == [ids(sent.context)]


def test_polling_in_vain_makes_no_span(observed: Any) -> None:
    """Neither way of saying that a queue is empty is an operation."""

    async def body(channel: Any, queue: Any) -> None:
        assert await queue.get(fail=False) is None
        with pytest.raises(aio_pika.exceptions.QueueEmpty):
            await queue.get()

    with observed("aio_pika") as seen:
        run(body)
    assert seen.spans == []


def test_an_unroutable_message_is_an_error(observed: Any) -> None:
    """The channel was told to raise over messages that come back."""

    async def body(channel: Any, queue: Any) -> None:
        async with await aio_pika.connect(URL) as connection:
            strict = await connection.channel(on_return_raises=True)
            with pytest.raises(aio_pika.exceptions.DeliveryError):
                await strict.default_exchange.publish(aio_pika.Message(b""), routing_key="no-such-queue-of-noops")

    with observed("aio_pika") as seen:
        run(body)
    assert seen.span.attributes["error.type"].endswith("PublishError")
    assert seen.span.status.status_code is StatusCode.ERROR


def test_concurrent_callbacks_do_not_mix(observed: Any) -> None:
    """Ten messages are processed at once; each has its own sender's trace."""

    async def body(channel: Any, queue: Any) -> None:
        together, traces = asyncio.Barrier(10) if hasattr(asyncio, "Barrier") else None, {}
        done = asyncio.Queue[None]()

        async def callback(message: Any) -> None:
            if together is not None:
                await together.wait()
            with seen.tracer.start_as_current_span("work") as span:
                traces[message.body] = span.get_span_context().trace_id
            done.put_nowait(None)

        await queue.consume(callback, no_ack=True)
        expected = {}
        for number in range(10):
            with seen.tracer.start_as_current_span("request") as span:
                expected[b"%d" % number] = span.get_span_context().trace_id
                await publish(channel, queue, b"%d" % number)
        for _ in range(10):
            await done.get()
        assert traces == expected

    with observed("aio_pika") as seen:
        run(body)


def test_durations_messages_and_dwell_are_measured(observed: Any) -> None:
    """A date as the message's own timestamp serves for the dwell time."""

    async def body(channel: Any, queue: Any) -> None:
        await publish(channel, queue, timestamp=1_000_000_000)
        await queue.get(no_ack=True)

    with observed("aio_pika") as seen:
        run(body)
        metrics = seen.metrics()
    assert [point.value for point in metrics["messaging.client.sent.messages"]] == [1]
    assert [point.value for point in metrics["messaging.client.consumed.messages"]] == [1]
    assert len(metrics["messaging.client.operation.duration"]) == 2
    (dwell,) = metrics["noops.messaging.dwell_time"]
    assert dwell.sum > 100_000_000
