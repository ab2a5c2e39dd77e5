"""confluent-kafka against the mock cluster that librdkafka brings along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka")

from confluent_kafka import cimpl  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run a mock cluster, which lives as long as the client that it was asked for with; gives its address."""
    owner = cimpl.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    (node,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{node.host}:{node.port}"
    owner.flush(0)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of this test's own."""
    name: str = request.node.name
    return name[:100]


def new_producer(server: str, **config: Any) -> Any:
    return confluent_kafka.Producer({"bootstrap.servers": server, "linger.ms": 0, **config})


def new_consumer(server: str, topic: str, **config: Any) -> Any:
    """Make a consumer of the topic's first record and all after it, wherever they are."""
    settings = {"bootstrap.servers": server, "group.id": "readers", "auto.offset.reset": "earliest", **config}
    consumer = confluent_kafka.Consumer(settings)
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    return consumer


def spans(seen: Seen, operation: str) -> list[Any]:
    """Give the spans of one operation."""
    return [span for span in seen.spans if span.attributes.get("messaging.operation.name") == operation]


def polled(consumer: Any) -> Any:
    """Poll until there is a record."""
    for _attempt in range(100):
        message = consumer.poll(0.1)
        if message is not None:
            return message
    raise AssertionError("no record came")


def test_a_record_is_told_of_with_its_delivery_report(observed: Observe, server: str, topic: str) -> None:
    """The application's callback gets what it would; the span ends there, and the caller's headers are its own."""
    reports: list[Any] = []
    headers = {"mine": b"1"}
    with observed("confluent_kafka") as seen:
        producer = new_producer(server)
        with seen.tracer.start_as_current_span("caller"):
            producer.produce(
                topic, b"hello", "key-7", 0, on_delivery=lambda *report: reports.append(report), headers=headers
            )
        assert not spans(seen, "send"), "nobody knows yet"
        assert producer.flush(10) == 0
    assert headers == {"mine": b"1"}
    ((error, message),) = reports
    assert error is None
    assert (message.topic(), message.offset()) == (topic, 0)
    (sent,) = spans(seen, "send")
    assert sent.kind is SpanKind.PRODUCER
    assert sent.name == f"send {topic}"
    assert sent.parent.span_id == seen.named("caller").context.span_id
    host, _, port = server.partition(":")
    assert sent.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": "key-7",
        "messaging.message.body.size": 5,
        "server.address": host,
        "server.port": int(port),
    }


def test_all_arguments_may_be_given_by_their_places(observed: Observe, server: str, topic: str) -> None:
    """Those that are replaced as well."""
    reports: list[Any] = []
    with observed("confluent_kafka") as seen:
        producer = new_producer(server)
        producer.produce(topic, b"hello", "key-7", 0, lambda *report: reports.append(report), None, 0, [("mine", b"1")])
        assert producer.flush(10) == 0
        consumer = new_consumer(server, topic)
        headers = dict(polled(consumer).headers())
        consumer.close()
    assert len(reports) == 1
    assert headers["mine"] == b"1"
    assert "traceparent" in headers
    assert spans(seen, "send")[0].attributes["messaging.kafka.message.key"] == "key-7"


def test_without_a_report_the_span_ends_with_the_call(observed: Observe, server: str, topic: str) -> None:
    """A report of ours would wait for a `poll` that the application has no reason for."""
    with observed("confluent_kafka") as seen:
        producer = new_producer(server)
        producer.produce(topic, b"hello")
        (sent,) = spans(seen, "send")
        assert producer.flush(10) == 0
    assert "messaging.kafka.offset" not in sent.attributes


def test_polling_links_to_the_sender_and_in_vain_is_nothing(observed: Observe, server: str, topic: str) -> None:
    """Nor is the end of a partition a record."""
    with observed("confluent_kafka") as seen:
        producer = new_producer(server)
        producer.produce(topic, b"hello", partition=0, headers=[("mine", "1")])
        producer.flush(10)
        consumer = new_consumer(server, topic, **{"enable.partition.eof": True})
        message = polled(consumer)
        assert message.headers()[0] == ("mine", b"1")
        assert polled(consumer).error().code() == confluent_kafka.KafkaError._PARTITION_EOF
        assert consumer.poll(0) is None
        consumer.close()
    (sent,), (received,) = spans(seen, "send"), spans(seen, "poll")
    assert received.kind is SpanKind.CLIENT
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]
    assert received.attributes["messaging.consumer.group.name"] == "readers"
    assert received.attributes["messaging.kafka.offset"] == 0
    assert 0 <= received.attributes["noops.messaging.dwell_time"] < 30
    assert len(seen.spans) == 2


def test_consuming_links_to_each_sender(observed: Observe, server: str, topic: str) -> None:
    """One span for a batch."""
    with observed("confluent_kafka") as seen:
        producer, consumer = new_producer(server), new_consumer(server, topic)
        assert consumer.consume(1, 0) == []
        assert seen.spans == []
        for _number in range(3):
            producer.produce(topic, b"hello", partition=0)
        producer.flush(10)
        assert len(consumer.consume(3, 10)) == 3
        consumer.close()
    (received,) = spans(seen, "poll")
    assert [link.context.span_id for link in received.links] == [span.context.span_id for span in spans(seen, "send")]
    assert received.attributes["messaging.batch.message_count"] == 3
    assert received.attributes["messaging.destination.name"] == topic


def test_a_record_that_was_not_delivered_is_a_failure(observed: Observe) -> None:
    """The report says why, in librdkafka's words."""
    reports: list[Any] = []
    with observed("confluent_kafka") as seen:
        producer = new_producer("127.0.0.1:1", log_level=0, **{"message.timeout.ms": 50})
        producer.produce("orders", b"hello", callback=lambda *report: reports.append(report))
        producer.flush(10)
    assert reports[0][0].name() == "_MSG_TIMED_OUT"
    (sent,) = spans(seen, "send")
    assert sent.attributes["error.type"] == "_MSG_TIMED_OUT"
    assert sent.status.status_code is StatusCode.ERROR


def test_a_call_that_raises_is_a_failure_and_one_with_wrong_arguments_the_clients_to_refuse(
    observed: Observe, server: str
) -> None:
    """Neither is answered by us."""
    with observed("confluent_kafka") as seen:
        producer = new_producer(server, **{"queue.buffering.max.messages": 1})
        producer.produce("full", b"1", partition=0)
        with pytest.raises(BufferError):
            for _number in range(1000):
                producer.produce("full", b"2", partition=0)
        assert seen.spans[-1].attributes["error.type"] == "BufferError"
        count = len(seen.spans)
        for arguments in (
            {"args": (7, b"1")},
            {"args": ("orders", b"1", None, 0, None, None, 0, (1, 2))},
            {"args": ("orders", b"1", None, 0, None), "kwargs": {"value": b"2"}},
            {"args": ("orders",) * 9},
        ):
            with pytest.raises(TypeError):
                producer.produce(*arguments["args"], **arguments.get("kwargs", {}))
        assert len(seen.spans) == count
        producer.flush(10)


def test_the_serializing_clients_are_told_of_once(observed: Observe, server: str, topic: str) -> None:
    """They stand upon the plain ones; their headers reach the serializers as the application gave them."""
    with observed("confluent_kafka") as seen:
        producer = confluent_kafka.SerializingProducer(
            {"bootstrap.servers": server, "value.serializer": lambda value, context: repr(value).encode()}
        )
        producer.produce(topic, None, {"a": 1}, 0)
        assert producer.flush(10) == 0
        consumer = confluent_kafka.DeserializingConsumer(
            {
                "bootstrap.servers": server,
                "group.id": "readers",
                "value.deserializer": lambda value, context: value.decode(),
            }
        )
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        message = polled(consumer)
        assert message.value() == repr({"a": 1})
        consumer.close()
    (sent,), (received,) = spans(seen, "send"), spans(seen, "poll")
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]
    assert sent.attributes["server.address"] == received.attributes["server.address"] == server.partition(":")[0]


def test_the_classes_look_as_before_and_come_back(observed: Observe, server: str) -> None:
    """Subclasses take their place; what they are called and what they are instances of stays."""
    before = confluent_kafka.Producer, confluent_kafka.Consumer
    with observed("confluent_kafka"):
        producer = new_producer(server)
        assert isinstance(producer, before[0])
        assert isinstance(producer, confluent_kafka.Producer)
        assert confluent_kafka.Producer.__name__ == before[0].__name__
        assert confluent_kafka.Producer.__doc__ == before[0].__doc__
    assert (confluent_kafka.Producer, confluent_kafka.Consumer) == before
    producer.produce("orders", b"after")
    assert producer.flush(10) == 0
