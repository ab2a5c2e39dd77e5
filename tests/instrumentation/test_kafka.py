"""kafka-python against a broker that speaks the protocol and little more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

kafka = pytest.importorskip("kafka")

from opentelemetry import trace  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402
from .fake_kafka import Broker, broker  # noqa: E402

NOT_IDEMPOTENT = {"enable_idempotence": False} if "enable_idempotence" in kafka.KafkaProducer.DEFAULT_CONFIG else {}


@pytest.fixture(scope="module")
def server() -> Iterator[Broker]:
    """One broker for all; a test has topics of its own."""
    with broker() as made:
        yield made


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of this test's own."""
    name: str = request.node.name
    return name[:100]


def new_producer(server: Broker, **config: Any) -> Any:
    """Make a producer that sends at once."""
    return kafka.KafkaProducer(bootstrap_servers=[server.address], linger_ms=0, **config)


def new_consumer(server: Broker, topic: str, **config: Any) -> Any:
    """Make a consumer of the topic's first record and all after it."""
    config = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 5000, "group_id": "readers", **config}
    consumer = kafka.KafkaConsumer(bootstrap_servers=server.address, **config)
    consumer.assign([kafka.TopicPartition(topic, 0)])
    return consumer


def spans(seen: Seen, operation: str) -> list[Any]:
    """Give the spans of one operation."""
    return [span for span in seen.spans if span.attributes.get("messaging.operation.name") == operation]


def test_a_record_is_told_of_with_what_the_broker_said(observed: Observe, server: Broker, topic: str) -> None:
    """The span ends with the acknowledgement; the caller's own headers are left as they were."""
    headers = [("mine", b"1")]
    with observed("kafka") as seen:
        producer = new_producer(server)
        with seen.tracer.start_as_current_span("caller"):
            record = producer.send(topic, b"hello", b"key-7", headers).get(5)
        producer.close()
    assert headers == [("mine", b"1")]
    (sent,) = spans(seen, "send")
    assert sent.kind is SpanKind.PRODUCER
    assert sent.name == f"send {topic}"
    assert sent.parent.span_id == seen.named("caller").context.span_id
    assert sent.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": record.offset,
        "messaging.kafka.message.key": "key-7",
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert seen.metrics()["messaging.client.sent.messages"][0].value == 1


def test_a_loop_processes_each_record_as_a_child_of_its_sender(observed: Observe, server: Broker, topic: str) -> None:
    """The body of the loop runs in the span of its record; polling beneath the loop is not told of."""
    with observed("kafka") as seen:
        producer, consumer = new_producer(server), new_consumer(server, topic)
        for number in range(3):
            producer.send(topic, b"hello", headers=[("number", b"%d" % number)])
        producer.flush(5)
        current = []
        for record in consumer:
            current.append(trace.get_current_span().get_span_context().span_id)
            if record.headers[0] == ("number", b"2"):
                break
        consumer.close()
        producer.close()
        assert not trace.get_current_span().get_span_context().is_valid
    sent, processed = spans(seen, "send"), spans(seen, "process")
    assert [span.context.span_id for span in processed] == current
    assert sorted(span.parent.span_id for span in processed) == sorted(span.context.span_id for span in sent)
    assert [span.attributes["messaging.kafka.offset"] for span in processed] == [0, 1, 2]
    assert processed[0].kind is SpanKind.CONSUMER
    assert processed[0].attributes["messaging.consumer.group.name"] == "readers"
    assert 0 <= processed[0].attributes["noops.messaging.dwell_time"] < 5
    assert not spans(seen, "poll")


def test_a_poll_links_to_the_senders_and_an_empty_one_is_nothing(observed: Observe, server: Broker, topic: str) -> None:
    """Consumers poll all day long."""
    with observed("kafka") as seen:
        producer, consumer = new_producer(server), new_consumer(server, topic)
        assert consumer.poll(timeout_ms=20) == {}
        assert seen.spans == []
        producer.send(topic, b"one").get(5)
        producer.send(topic, b"two").get(5)
        got: list[Any] = []
        while len(got) < 2:
            got += [record for records in consumer.poll(timeout_ms=5000).values() for record in records]
        consumer.close()
        producer.close()
    received = spans(seen, "poll")
    links = [link.context.span_id for span in received for link in span.links]
    assert links == [span.context.span_id for span in spans(seen, "send")]
    assert sum(span.attributes["messaging.batch.message_count"] for span in received) == 2
    assert received[0].kind is SpanKind.CLIENT
    assert received[0].attributes["messaging.destination.partition.id"] == "0"
    assert received[0].attributes["messaging.operation.type"] == "receive"


def test_what_is_polled_after_a_loop_is_none_of_its_last_record(observed: Observe, server: Broker, topic: str) -> None:
    """A loop that was left by `break` doesn't go on."""
    with observed("kafka") as seen:
        producer, consumer = new_producer(server), new_consumer(server, topic)
        producer.send(topic, b"one").get(5)
        for _record in consumer:
            break
        consumer.poll(timeout_ms=0)
        assert not trace.get_current_span().get_span_context().is_valid
        consumer.close()
        producer.close()
    assert len(spans(seen, "process")) == 1


def test_a_record_that_is_refused_is_a_failure(observed: Observe, server: Broker, topic: str) -> None:
    """The error comes with the future, as without us; the span has it too."""
    server.refused.add(topic)
    with observed("kafka") as seen:
        producer = new_producer(server, retries=0, **NOT_IDEMPOTENT)
        future = producer.send(topic, b"hello")
        with pytest.raises(kafka.errors.MessageSizeTooLargeError):
            future.get(5)
        with pytest.raises((ValueError, AssertionError)) as raised:
            producer.send(topic)
        producer.close()
    refused, wrong = spans(seen, "send")
    assert refused.attributes["error.type"] == "kafka.errors.MessageSizeTooLargeError"
    assert refused.status.status_code is StatusCode.ERROR
    assert wrong.attributes["error.type"] == type(raised.value).__name__


@pytest.mark.filterwarnings("ignore::DeprecationWarning:kafka")
@pytest.mark.filterwarnings("ignore:.*does not implement:DeprecationWarning")
def test_serializers_see_what_the_application_sent(observed: Observe, server: Broker, topic: str) -> None:
    """Keys are told where they are text; values are not even looked at."""
    with observed("kafka") as seen:
        producer = new_producer(
            server,
            key_serializer=lambda key: b"%d" % key,
            value_serializer=lambda value: repr(value).encode(),
        )
        producer.send(topic, {"secret": 1}, 7).get(5)
        producer.send(topic, None, 7).get(5)
        producer.send(topic, {}, 7, None, 0).get(5)
        producer.close()
    first, deleted, _ = spans(seen, "send")
    assert first.attributes["messaging.kafka.message.key"] == "7"
    assert first.attributes["messaging.message.body.size"] == len(repr({"secret": 1}))
    assert "secret" not in repr(dict(first.attributes))
    assert deleted.attributes["messaging.kafka.message.tombstone"] is True


def test_a_users_hooks_see_the_record_go_and_arrive(observed: Observe, server: Broker, topic: str) -> None:
    """The first is given the producer, the second what the broker said of the record."""

    def before(span: Any, producer: Any) -> None:
        span.set_attribute("client", producer.config["client_id"])

    def after(span: Any, producer: Any, record: Any) -> None:
        span.set_attribute("size", record.serialized_value_size)

    with observed("kafka", request_hook=before, response_hook=after) as seen:
        producer = new_producer(server, client_id="mine")
        producer.send(topic, b"hello").get(5)
        producer.close()
    (sent,) = spans(seen, "send")
    assert (sent.attributes["client"], sent.attributes["size"]) == ("mine", 5)
    assert "messaging.kafka.offset" in sent.attributes


def test_headers_that_kafka_refuses_are_still_refused(observed: Observe, server: Broker, topic: str) -> None:
    """Our copy of them must not make right what was wrong."""
    with observed("kafka") as seen:
        producer = new_producer(server)
        with pytest.raises((TypeError, AssertionError)) as tupled:
            producer.send(topic, b"hello", headers=(("mine", b"1"),))
        with pytest.raises((TypeError, AssertionError)) as mistyped:
            producer.send(topic, b"hello", headers=[("mine", 1)])
        producer.close()
    raised = [type(error.value).__name__ for error in (tupled, mistyped)]
    assert [span.attributes["error.type"] for span in spans(seen, "send")] == raised


def test_a_record_that_is_passed_on_has_one_context(observed: Observe, server: Broker, topic: str) -> None:
    """The headers of what was read are often those of what is sent."""
    with observed("kafka") as seen:
        producer, consumer = new_producer(server), new_consumer(server, topic)
        producer.send(topic, b"hello").get(5)
        for record in consumer:
            if len([key for key, _ in record.headers if key == "traceparent"]) != 1:
                pytest.fail(repr(record.headers))
            if record.offset:
                break
            producer.send(topic, b"again", headers=record.headers).get(5)
        consumer.close()
        producer.close()
    first, second = spans(seen, "process")
    assert first.context.trace_id == second.context.trace_id
    assert second.parent.span_id == spans(seen, "send")[1].context.span_id


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("broker:9092", ("broker", None)),
        ("broker:9093,other:9092", ("broker", 9093)),
        (["broker:9093", "other"], ("broker", 9093)),
        ("broker", ("broker", None)),
        ("SASL_SSL://broker:9094", ("broker", 9094)),
        ("[::1]:9093", ("::1", 9093)),
        ([], ("", None)),
        (None, ("", None)),
    ],
)
def test_the_first_bootstrap_server_stands_for_the_cluster(servers: Any, expected: Any) -> None:
    """`server.address` never holds a port."""
    from noops_agent.instrument.kafka import server

    assert server(servers) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"a", "a"), ("a", "a"), (7, "7"), (None, None), (b"\xff", None), (b"\x00\x01", None), ("x" * 300, None)],
)
def test_a_key_is_told_where_it_is_text(key: Any, expected: str | None) -> None:
    """The convention wants no representation of our making."""
    from noops_agent.instrument.kafka import key_of

    assert key_of(key) == expected
