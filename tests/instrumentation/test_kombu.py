"""kombu without Celery: producers, consumers and simple queues, over RabbitMQ, Redis and memory."""

from __future__ import annotations

import contextlib
import queue as queues
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

kombu = pytest.importorskip("kombu")
pytest.importorskip("kombu.pidbox")

BROKERS = {
    "rabbitmq": ("amqp://guest:guest@127.0.0.1:5672//", 5672, "RabbitMQ", "rabbitmq-server -detached"),
    "redis": ("redis://127.0.0.1:6379/5", 6379, "Redis", "redis-server --port 6379"),
    "memory": ("memory://", 0, "", ""),
}


def ids(context: Any) -> tuple[int, int]:
    """What tells a span; whether it came from another process doesn't matter here."""
    return context.trace_id, context.span_id


@pytest.fixture(scope="module", autouse=True)
def swept() -> Iterator[None]:
    """Delete what the transport leaves behind in Redis of queues that are gone."""
    yield
    redis = pytest.importorskip("redis")
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as store, contextlib.suppress(redis.ConnectionError):
        for key in store.scan_iter("_kombu.binding*noops-test-*"):
            store.delete(key)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """The `messaging.system` of each broker."""
    return str(request.param)


@pytest.fixture
def connection(broker: str) -> Iterator[Any]:
    """An open connection."""
    url, port, name, start = BROKERS[broker]
    if port:
        try:
            socket.create_connection(("127.0.0.1", port), 2).close()
        except OSError:
            pytest.skip(f"{name} does not answer at 127.0.0.1:{port}; start it with: {start}")
    with kombu.Connection(url) as made:
        yield made


@pytest.fixture
def queue(connection: Any) -> Iterator[Any]:
    """A bound queue of the default exchange, deleted afterwards."""
    made = kombu.Queue(f"noops-test-{uuid.uuid4().hex}", auto_delete=True)(connection.default_channel)
    made.declare()
    yield made
    connection.default_channel.queue_delete(made.name)


def publish(connection: Any, queue: Any, body: Any = "hello", **options: Any) -> None:
    """Send one message to a queue."""
    connection.Producer().publish(body, routing_key=queue.name, **options)


def consume(connection: Any, queue: Any, callback: Any, **options: Any) -> None:
    """Have *callback* called with one message."""
    with kombu.Consumer(connection.default_channel, [queue], callbacks=[callback], no_ack=True, **options):
        connection.drain_events(timeout=10)


def test_a_callback_is_processed_as_the_child_of_the_sender(
    observed: Any, connection: Any, queue: Any, broker: str
) -> None:
    """On any transport; what the transport does in Redis is no part of it, what the callback does there is."""
    with observed("kombu", *(["redis"] if broker == "redis" else [])) as seen:

        def callback(body: Any, message: Any) -> None:
            with seen.tracer.start_as_current_span("work"):
                assert body == "hello"

        publish(connection, queue, message_id="m1")
        consume(connection, queue, callback)
    sent, work, processed = seen.spans
    assert (sent.name, sent.kind) == (f"publish {queue.name}", SpanKind.PRODUCER)
    assert (processed.name, processed.kind) == (f"process {queue.name}", SpanKind.CONSUMER)
    assert ids(processed.parent) == ids(sent.context)
    assert work.parent == processed.context
    for span in (sent, processed):
        assert span.attributes["messaging.system"] == broker
        assert span.attributes["messaging.destination.name"] == queue.name
        assert span.attributes.get("server.address") == (None if broker == "memory" else "127.0.0.1")
        assert "server.port" not in span.attributes
    assert processed.attributes["noops.messaging.dwell_time"] >= 0


def test_an_on_message_function_is_observed_as_callbacks_are(observed: Any, connection: Any, queue: Any) -> None:
    """Consumers have two ways of being called."""
    with observed("kombu") as seen:
        publish(connection, queue)
        with kombu.Consumer(connection.default_channel, [queue], on_message=lambda message: None, no_ack=True):
            connection.drain_events(timeout=10)
    sent, processed = seen.spans
    assert ids(processed.parent) == ids(sent.context)


def test_what_raises_in_a_callback_is_recorded_and_raised(observed: Any, connection: Any, queue: Any) -> None:
    """The consumer's loop sees the same exception as without us."""

    def callback(body: Any, message: Any) -> None:
        raise KeyError("boom")

    with observed("kombu") as seen:
        publish(connection, queue)
        with pytest.raises(KeyError):
            consume(connection, queue, callback)
    assert seen.spans[-1].status.status_code is StatusCode.ERROR
    assert seen.spans[-1].attributes["error.type"] == "KeyError"


@pytest.mark.parametrize("broker", ["memory"], indirect=True)
def test_headers_stay_as_they_were(observed: Any, connection: Any, queue: Any) -> None:
    """The dictionary that a caller hands over may be used again."""
    headers = {"mine": "1"}
    found = []
    with observed("kombu"):
        publish(connection, queue, headers=headers)
        consume(connection, queue, lambda body, message: found.append(message.headers))
    assert headers == {"mine": "1"}
    assert found[0]["mine"] == "1"


def test_a_simple_queue_receives(observed: Any, connection: Any, queue: Any) -> None:
    """Its own consumer only fills a buffer; `get` is what the application calls."""
    with observed("kombu") as seen, connection.SimpleQueue(queue) as simple:
        with pytest.raises(queues.Empty):
            simple.get(timeout=0.01)
        publish(connection, queue, {"a": 1})
        message = simple.get(timeout=10)
        assert message.payload == {"a": 1}
        message.ack()
    sent, got = seen.spans
    assert (got.name.split()[0], got.kind) == ("get", SpanKind.CLIENT)
    assert [ids(link.context) for link in got.links] == [ids(sent.context)]


def test_one_way_of_getting_within_another_makes_one_span(observed: Any, connection: Any, queue: Any) -> None:
    """`get(block=False)` of a simple queue is written with `Queue.get`."""
    with observed("kombu") as seen, connection.SimpleQueue(queue) as simple:
        publish(connection, queue)
        simple.get(block=False).ack()
        with pytest.raises(queues.Empty):
            simple.get(block=False)
    assert [span.kind for span in seen.spans] == [SpanKind.PRODUCER, SpanKind.CLIENT]


@pytest.mark.parametrize("broker", ["memory"], indirect=True)
def test_remote_control_and_events_are_left_alone(observed: Any, connection: Any) -> None:
    """These are messages between workers."""
    mailbox = kombu.pidbox.Mailbox("noops", type="fanout")(connection)
    node = mailbox.Node(state=None, channel=connection.default_channel, handlers={"ping": lambda state: None})
    events = kombu.Exchange("celeryev", type="topic")
    with observed("kombu") as seen:
        consumer = node.listen()
        mailbox.cast([node.hostname], "ping")
        connection.drain_events(timeout=5)
        consumer.cancel()
        connection.Producer(exchange=events).publish({"type": "worker-heartbeat"}, routing_key="worker.heartbeat")
    assert seen.spans == []


@pytest.mark.parametrize("broker", ["memory"], indirect=True)
def test_durations_messages_and_dwell_are_measured(observed: Any, connection: Any, queue: Any) -> None:
    """They come from the same calls."""
    with observed("kombu") as seen:
        publish(connection, queue)
        consume(connection, queue, lambda body, message: None)
        metrics = seen.metrics()
    assert [point.value for point in metrics["messaging.client.sent.messages"]] == [1]
    assert [point.value for point in metrics["messaging.client.consumed.messages"]] == [1]
    for name in ("messaging.client.operation.duration", "messaging.process.duration", "noops.messaging.dwell_time"):
        assert [point.count for point in metrics[name]] == [1], name


def test_a_connection_that_is_refused_is_the_senders_error(observed: Any) -> None:
    """The producer connects when it first sends."""
    dead = kombu.Connection("amqp://127.0.0.1:1//", transport_options={"max_retries": 1, "interval_start": 0})
    with observed("kombu") as seen, dead, pytest.raises(Exception) as raised:
        dead.Producer().publish("x", routing_key="nobody")
    assert seen.span.attributes["error.type"].endswith(type(raised.value).__name__)
    assert seen.span.attributes["server.port"] == 1
