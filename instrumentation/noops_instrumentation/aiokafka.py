"""Kafka with aiokafka: records that are sent, got, or read in a loop.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/kafka.md.

As kafka-python, see there: `send` lasts until its future is done, `getone` and `getmany` receive, with links, and the
body of `async for record in consumer` processes. A batch that the application builds itself is one span; its records
carry no context, since each was written down before anybody knew where it would go.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import PRODUCER, Args, Attributes, Call, Instrumentation, Kwargs, kafka, messaging
from noops_agent.instrument.carriers import Pairs
from noops_agent.instrument.deliveries import Deliveries, Received
from noops_agent.instrument.kafka import aio_future_done
from noops_agent.instrument.outcome import Later


def _send(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe `send(topic, value, key, partition, timestamp_ms, headers)`."""
    topic = args[0] if args else kwargs.get("topic")
    given = args[5] if len(args) > 5 else kwargs.get("headers")
    if not isinstance(topic, str) or not (given is None or isinstance(given, list)):
        return None  # the client will say so
    value = args[1] if len(args) > 1 else kwargs.get("value")
    key = args[2] if len(args) > 2 else kwargs.get("key")
    partition = args[3] if len(args) > 3 else kwargs.get("partition")
    headers = Pairs(given, encoded=True)
    call = kafka.sent(topic, key, value, partition, headers, producer.client._bootstrap_servers)
    if len(args) > 5:
        call.args = (*args[:5], headers.pairs)
    else:
        kwargs["headers"] = headers.pairs
    return call


def _send_batch(producer: Any, args: Args, kwargs: Kwargs) -> Call:
    """Describe `send_batch(batch, topic, *, partition)`."""
    batch = args[0] if args else kwargs["batch"]
    topic = args[1] if len(args) > 1 else kwargs["topic"]
    address, port = kafka.server(producer.client._bootstrap_servers)
    return messaging.send(
        kafka.SYSTEM,
        topic,
        address=address,
        port=port,
        count=batch.record_count(),
        attributes={messaging.PARTITION_ID: str(kwargs["partition"])},
    )


def _acknowledged(call: Call, record: Any) -> Attributes | None:
    if record is None:
        return None  # nothing was acknowledged, as the application wished
    found = {messaging.PARTITION_ID: str(record.partition)}
    if record.offset >= 0:
        found[kafka.OFFSET] = record.offset
    return found


def _got(consumer: Any, args: Args, kwargs: Kwargs, record: Any) -> Call:
    return kafka.received(record, consumer._group_id or "", consumer._client._bootstrap_servers)


def _got_many(consumer: Any, args: Args, kwargs: Kwargs, records: Any) -> Call | None:
    return kafka.batch(records, consumer._group_id or "", consumer._client._bootstrap_servers)


def _looped(consumer: Any, args: Args, kwargs: Kwargs, record: Any) -> Call:
    return kafka.processed(record, consumer._group_id or "", consumer._client._bootstrap_servers)


def _sending(name: str, describe: Any) -> Later:
    return Later(
        f"aiokafka.producer.producer:AIOKafkaProducer.{name}",
        PRODUCER,
        describe,
        result=_acknowledged,
        duration=messaging.SENDING,
        layer=messaging.LAYER,
        follow=aio_future_done,
    )


_loops = Deliveries()
_CONSUMER = "aiokafka.consumer.consumer:AIOKafkaConsumer"

INSTRUMENTATION = Instrumentation(
    library="aiokafka",
    distribution="aiokafka",
    versions=">=0.8",
    hooks=(
        _sending("send", _send),
        _sending("send_batch", _send_batch),
        Received(f"{_CONSUMER}.getone", _got),
        Received(f"{_CONSUMER}.getmany", _got_many),
        _loops.next(f"{_CONSUMER}.__anext__", _looped),
        _loops.end(f"{_CONSUMER}.getone"),
        _loops.end(f"{_CONSUMER}.getmany"),
        _loops.end(f"{_CONSUMER}.stop"),
        _loops.end(f"{_CONSUMER}.unsubscribe"),
    ),
)
