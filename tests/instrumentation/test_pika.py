"""pika: blocking channels, the generator, `basic_get` and the asynchronous connection, against a real RabbitMQ."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

pika = pytest.importorskip("pika")

MISSING = "RabbitMQ does not answer at 127.0.0.1:5672; start it with: rabbitmq-server -detached"
PARAMETERS = pika.ConnectionParameters("127.0.0.1", 5672, socket_timeout=5, heartbeat=0)


@pytest.fixture
def channel() -> Iterator[Any]:
    """An open channel of a blocking connection."""
    try:
        connection = pika.BlockingConnection(PARAMETERS)
    except pika.exceptions.AMQPConnectionError:
        pytest.skip(MISSING)
    yield connection.channel()
    if connection.is_open:
        connection.close()


@pytest.fixture
def queue(channel: Any) -> str:
    """A queue that goes with the connection."""
    name = f"noops-test-{uuid.uuid4().hex}"
    channel.queue_declare(name, exclusive=True)
    return name


def ids(context: Any) -> tuple[int, int]:
    """What tells a span; whether it came from another process doesn't matter here."""
    return context.trace_id, context.span_id


def consume_all(channel: Any, queue: str, callback: Any, count: int = 1) -> None:
    """Have *callback* called with *count* messages."""
    left = [count]

    def counted(*delivered: Any) -> None:
        left[0] -= 1
        try:
            callback(*delivered)
        finally:
            if not left[0]:
                channel.stop_consuming()

    channel.basic_consume(queue, counted, auto_ack=True)
    channel.start_consuming()


def test_publishing_is_a_producer_span_named_by_the_destination(observed: Any, channel: Any, queue: str) -> None:
    """The convention's name and attributes; the port is left out where it is that of AMQP."""
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"hello", pika.BasicProperties(message_id="m1"))
    span = seen.span
    assert (span.name, span.kind) == (f"publish {queue}", SpanKind.PRODUCER)
    assert dict(span.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        "messaging.rabbitmq.destination.routing_key": queue,
        "messaging.message.id": "m1",
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
    }


def test_a_callback_is_processed_as_the_child_of_the_sender(observed: Any, channel: Any, queue: str) -> None:
    """One message has one sender, so the trace goes on in the consumer, and its own spans lie beneath."""
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"hello")

        def callback(*delivered: Any) -> None:
            with seen.tracer.start_as_current_span("work"):
                pass

        consume_all(channel, queue, callback)
    sent, work, processed = seen.spans
    assert (processed.name, processed.kind) == (f"process {queue}", SpanKind.CONSUMER)
    assert ids(processed.parent) == ids(sent.context)
    assert work.parent == processed.context
    assert processed.attributes["messaging.operation.type"] == "process"
    assert processed.attributes["messaging.rabbitmq.message.delivery_tag"] == 1
    assert processed.attributes["noops.messaging.dwell_time"] >= 0


def test_senders_can_be_linked_to_instead(observed: Any, channel: Any, queue: str) -> None:
    """Who keeps traces apart at queues sets the option `links`."""
    with observed("pika", links=True) as seen:
        channel.basic_publish("", queue, b"hello")
        consume_all(channel, queue, lambda *delivered: None)
    sent, processed = seen.spans
    assert processed.parent is None
    assert [ids(link.context) for link in processed.links] == [ids(sent.context)]


def test_the_callers_properties_and_headers_stay_as_they_were(observed: Any, channel: Any, queue: str) -> None:
    """Applications send one properties object many times, and compare it."""
    headers = {"mine": "1"}
    properties = pika.BasicProperties(headers=headers)
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"", properties)
        _, received, _ = channel.basic_get(queue, auto_ack=True)
    assert properties.headers is headers
    assert headers == {"mine": "1"}
    assert received.headers["mine"] == "1"
    assert seen.spans[0].context.span_id == int(received.headers["traceparent"].split("-")[2], 16)


def test_a_message_with_a_timestamp_gets_no_header_for_it(observed: Any, channel: Any, queue: str) -> None:
    """The header of ours is for messages that don't say when they were sent."""
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"", pika.BasicProperties(timestamp=1_000_000_000))
        _, received, _ = channel.basic_get(queue, auto_ack=True)
    assert "noops-sent-at" not in received.headers
    assert seen.spans[1].attributes["noops.messaging.dwell_time"] > 100_000_000


def test_what_raises_in_a_callback_is_recorded_and_raised(observed: Any, channel: Any, queue: str) -> None:
    """The consumer's loop sees the same exception as without us."""

    def callback(*delivered: Any) -> None:
        raise KeyError("boom")

    with observed("pika") as seen:
        channel.basic_publish("", queue, b"")
        with pytest.raises(KeyError):
            consume_all(channel, queue, callback)
    processed = seen.spans[-1]
    assert processed.status.status_code is StatusCode.ERROR
    assert processed.attributes["error.type"] == "KeyError"
    assert [event.name for event in processed.events] == ["exception"]


def test_one_message_does_not_leak_into_the_next(observed: Any, channel: Any, queue: str) -> None:
    """Each has the parent that its own sender was, and afterwards nothing is current."""
    parents = []
    with observed("pika") as seen:
        for name in ("first", "second"):
            with seen.tracer.start_as_current_span(name) as span:
                parents.append(span.get_span_context().trace_id)
                channel.basic_publish("", queue, b"")
        consume_all(channel, queue, lambda *delivered: None, count=2)
        with seen.tracer.start_as_current_span("after"):
            pass
    assert [span.context.trace_id for span in seen.spans if span.kind is SpanKind.CONSUMER] == parents
    assert seen.named("after").parent is None


def test_the_generator_processes_each_message_until_the_next_is_asked_for(
    observed: Any, channel: Any, queue: str
) -> None:
    """The body of the loop is the processing: what it does lies beneath, and prefetched messages are nothing."""
    with observed("pika") as seen:
        for _ in range(3):
            channel.basic_publish("", queue, b"x")
        sent = [ids(span.context) for span in seen.spans]
        seen.clear()
        for at, (method, _, body) in enumerate(channel.consume(queue, inactivity_timeout=5)):
            assert body == b"x"
            channel.basic_ack(method.delivery_tag)
            with seen.tracer.start_as_current_span(f"work {at}"):
                pass
            if at == 1:
                break
        channel.cancel()
        with seen.tracer.start_as_current_span("after"):
            pass
    assert [span.name for span in seen.spans] == ["work 0", f"process {queue}", "work 1", f"process {queue}", "after"]
    work, first, more, second, after = seen.spans
    assert [ids(first.parent), ids(second.parent)] == sent[:2]
    assert [work.parent, more.parent] == [first.context, second.context]
    assert after.parent is None


def test_waiting_in_vain_makes_no_span(observed: Any, channel: Any, queue: str) -> None:
    """A poll that found nothing is no operation, neither of the generator nor of `basic_get`."""
    with observed("pika") as seen:
        for item in channel.consume(queue, inactivity_timeout=0.01):
            assert item == (None, None, None)
            break
        channel.cancel()
        assert channel.basic_get(queue) == (None, None, None)
    assert seen.spans == []


def test_getting_a_message_is_a_client_span_with_a_link(observed: Any, channel: Any, queue: str) -> None:
    """The application asked for it: its own context is the parent, and the sender is linked to."""
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"abc")
        with seen.tracer.start_as_current_span("asking"):
            channel.basic_get(queue, auto_ack=True)
    sent, got, asking = seen.spans
    assert (got.name, got.kind) == (f"get {queue}", SpanKind.CLIENT)
    assert got.parent == asking.context
    assert [ids(link.context) for link in got.links] == [ids(sent.context)]
    assert got.attributes["messaging.operation.type"] == "receive"
    assert "messaging.batch.message_count" not in got.attributes


def test_a_refused_message_is_an_error(observed: Any, channel: Any, queue: str) -> None:
    """With publisher confirms the broker says that no queue took the message."""
    channel.confirm_delivery()
    with observed("pika") as seen, pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("", "no-such-queue-of-noops", b"", mandatory=True)
    assert seen.span.attributes["error.type"] == "pika.exceptions.UnroutableError"
    assert seen.span.status.status_code is StatusCode.ERROR


def test_a_failed_get_is_an_error(observed: Any, channel: Any) -> None:
    """The broker closes the channel over a queue that isn't there."""
    with observed("pika") as seen, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.basic_get("no-such-queue-of-noops")
    assert seen.span.attributes["error.type"] == "pika.exceptions.ChannelClosedByBroker"


def test_a_queue_that_the_broker_named_is_told_by_its_beginning(observed: Any, channel: Any) -> None:
    """Made-up names would make a new series of measurements with each connection."""
    name = channel.queue_declare("", exclusive=True).method.queue
    with observed("pika") as seen:
        channel.basic_publish("", name, b"")
    assert seen.span.name == "publish"
    assert seen.span.attributes["messaging.destination.name"] == "amq.gen"
    assert seen.span.attributes["messaging.destination.anonymous"] is True


def test_exchange_key_and_queue_make_the_consumers_destination(observed: Any, channel: Any, queue: str) -> None:
    """The producer knows nothing of the queue; the consumer tells all three."""
    exchange = f"noops-test-{uuid.uuid4().hex}"
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_bind(queue, exchange, "key")
    with observed("pika") as seen:
        channel.basic_publish(exchange=exchange, routing_key="key", body=b"")
        channel.basic_get(queue, auto_ack=True)
    names = [span.attributes["messaging.destination.name"] for span in seen.spans]
    assert names == [f"{exchange}:key", f"{exchange}:key:{queue}"]


def test_broken_headers_of_another_program_are_passed_over(observed: Any, channel: Any, queue: str) -> None:
    """A header can be any AMQP value; what is no trace context begins a new trace and does no harm."""
    channel.basic_publish("", queue, b"", pika.BasicProperties(headers={"traceparent": 7, "noops-sent-at": [None]}))
    with observed("pika") as seen:
        consume_all(channel, queue, lambda *delivered: None)
    assert seen.span.parent is None
    assert "noops.messaging.dwell_time" not in seen.span.attributes


def test_durations_messages_and_dwell_are_measured(observed: Any, channel: Any, queue: str) -> None:
    """They come from the same calls, with the same attributes."""
    with observed("pika") as seen:
        channel.basic_publish("", queue, b"")
        consume_all(channel, queue, lambda *delivered: None)
        metrics = seen.metrics()
    (sent,) = metrics["messaging.client.sent.messages"]
    (consumed,) = metrics["messaging.client.consumed.messages"]
    (duration,) = metrics["messaging.client.operation.duration"]
    (processing,) = metrics["messaging.process.duration"]
    (dwell,) = metrics["noops.messaging.dwell_time"]
    assert (sent.value, consumed.value, duration.count, processing.count, dwell.count) == (1, 1, 1, 1, 1)
    assert dict(sent.attributes) == dict(duration.attributes)
    assert dict(processing.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.destination.name": queue,
        "server.address": "127.0.0.1",
    }


def test_the_asynchronous_connection_is_observed_too(observed: Any, channel: Any, queue: str) -> None:
    """`SelectConnection` calls back from its own loop; one message makes one span on each side."""
    name = f"{queue}-select"
    channel.queue_declare(name, auto_delete=True)

    def on_open(connection: Any) -> None:
        connection.channel(on_open_callback=on_channel)

    def on_channel(opened: Any) -> None:
        opened.basic_consume(name, on_message_callback=on_message, auto_ack=True)
        opened.basic_publish("", name, b"hello")

    def on_message(opened: Any, *delivered: Any) -> None:
        opened.connection.close()

    with observed("pika") as seen:
        connection = pika.SelectConnection(
            PARAMETERS, on_open_callback=on_open, on_close_callback=lambda made, why: made.ioloop.stop()
        )
        connection.ioloop.start()
    sent, processed = seen.spans
    assert [sent.kind, processed.kind] == [SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert ids(processed.parent) == ids(sent.context)
    assert processed.attributes["server.address"] == "127.0.0.1"
