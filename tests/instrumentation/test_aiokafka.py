"""aiokafka against a broker that speaks the protocol and little more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

aiokafka = pytest.importorskip("aiokafka")

from opentelemetry import trace  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402
from .fake_kafka import Broker, broker  # noqa: E402


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


def run(server: Broker, topic: str, use: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """Call a coroutine function with a producer, and with a consumer of the topic's first record and all after it."""

    async def inner() -> Any:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=server.address)
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=server.address, group_id="readers", auto_offset_reset="earliest"
        )
        consumer.assign([aiokafka.TopicPartition(topic, 0)])
        await producer.start()
        await consumer.start()
        try:
            return await asyncio.wait_for(use(producer, consumer), 20)
        finally:
            await consumer.stop()
            await producer.stop()

    return asyncio.run(inner())


def spans(seen: Seen, operation: str) -> list[Any]:
    """Give the spans of one operation."""
    return [span for span in seen.spans if span.attributes.get("messaging.operation.name") == operation]


def test_a_record_is_told_of_with_what_the_broker_said(observed: Observe, server: Broker, topic: str) -> None:
    """`send` gives the client's own future, and its span ends with that."""

    async def use(producer: Any, consumer: Any) -> None:
        headers = [("mine", b"1")]
        with seen.tracer.start_as_current_span("caller"):
            future = await producer.send(topic, b"hello", b"key-7", None, None, headers)
        assert type(future).__module__ == "_asyncio"
        record = await future
        assert (record.topic, record.offset) == (topic, 0)
        assert (await producer.send_and_wait(topic, b"hello")).offset == 1
        assert headers == [("mine", b"1")]

    with observed("aiokafka") as seen:
        run(server, topic, use)
    first, second = spans(seen, "send")
    assert first.kind is SpanKind.PRODUCER
    assert first.parent.span_id == seen.named("caller").context.span_id
    assert first.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.kafka.message.key": "key-7",
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert second.attributes["messaging.kafka.offset"] == 1


def test_a_loop_processes_each_record_as_a_child_of_its_sender(observed: Observe, server: Broker, topic: str) -> None:
    """The body of the loop runs in the span of its record, and what comes after the loop in none."""

    async def use(producer: Any, consumer: Any) -> list[int]:
        for _number in range(3):
            await producer.send_and_wait(topic, b"hello")
        current: list[int] = []
        async for record in consumer:
            current.append(trace.get_current_span().get_span_context().span_id)
            if record.offset == 2:
                break
        await consumer.getmany(timeout_ms=0)
        assert not trace.get_current_span().get_span_context().is_valid
        return current

    with observed("aiokafka") as seen:
        current = run(server, topic, use)
    sent, processed = spans(seen, "send"), spans(seen, "process")
    assert [span.context.span_id for span in processed] == current
    assert [span.parent.span_id for span in processed] == [span.context.span_id for span in sent]
    assert processed[0].attributes["messaging.consumer.group.name"] == "readers"
    assert 0 <= processed[0].attributes["noops.messaging.dwell_time"] < 5
    assert not spans(seen, "poll"), "what the loop itself asks for is not told of"


def test_records_that_are_asked_for_link_to_their_senders(observed: Observe, server: Broker, topic: str) -> None:
    """One, or as many as there are; none is nothing."""

    async def use(producer: Any, consumer: Any) -> None:
        assert await consumer.getmany(timeout_ms=20) == {}
        assert seen.spans == []
        for _number in range(3):
            await producer.send_and_wait(topic, b"hello")
        record = await consumer.getone()
        assert record.offset == 0
        got: list[Any] = []
        while len(got) < 2:
            got += [record for records in (await consumer.getmany(timeout_ms=5000)).values() for record in records]

    with observed("aiokafka") as seen:
        run(server, topic, use)
    one, *many = spans(seen, "poll")
    senders = [span.context.span_id for span in spans(seen, "send")]
    assert [link.context.span_id for link in one.links] == senders[:1]
    assert [link.context.span_id for span in many for link in span.links] == senders[1:]
    assert "messaging.batch.message_count" not in one.attributes
    assert sum(span.attributes["messaging.batch.message_count"] for span in many) == 2


def test_a_batch_of_the_applications_own_is_one_span(observed: Observe, server: Broker, topic: str) -> None:
    """It was written down before anybody knew where it would go."""

    async def use(producer: Any, consumer: Any) -> None:
        batch = producer.create_batch()
        for number in range(3):
            batch.append(key=None, value=b"%d" % number, timestamp=None)
        await (await producer.send_batch(batch, topic, partition=0))

    with observed("aiokafka") as seen:
        run(server, topic, use)
    (sent,) = spans(seen, "send")
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert sent.attributes["messaging.destination.partition.id"] == "0"


def test_a_record_that_is_refused_is_a_failure(observed: Observe, server: Broker, topic: str) -> None:
    """The caller gets the client's own error."""
    server.refused.add(topic)

    async def use(producer: Any, consumer: Any) -> None:
        with pytest.raises(aiokafka.errors.MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"hello")
        with pytest.raises(AssertionError):
            await producer.send(topic)

    with observed("aiokafka") as seen:
        run(server, topic, use)
    refused, wrong = spans(seen, "send")
    assert refused.attributes["error.type"] == "aiokafka.errors.MessageSizeTooLargeError"
    assert refused.status.status_code is StatusCode.ERROR
    assert wrong.attributes["error.type"] == "AssertionError"
