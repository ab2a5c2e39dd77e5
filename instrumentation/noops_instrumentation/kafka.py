"""Kafka with kafka-python: records that are sent, polled, or read in a loop.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/kafka.md.

`send` lasts until the broker has acknowledged the record, or refused it; then partition and offset are known. `poll`
receives, with a link to the sender of each record; one that gives nothing is not told of. In a loop over the consumer
the code that follows belongs to one record, and so does a span of its processing, a child of its sender: it is current
until the loop asks for the next record, or the consumer is polled, closed or unsubscribed. Keys are told where they
are text, values never.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import PRODUCER, Args, Attributes, Call, Instrumentation, Kwargs, kafka, messaging
from noops_agent.instrument.carriers import Pairs
from noops_agent.instrument.deliveries import Deliveries, Received
from noops_agent.instrument.kafka import future_done
from noops_agent.instrument.outcome import Later

_HEADERS_SINCE = (0, 11)


def _send(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe `send(topic, value, key, headers, partition, timestamp_ms)`."""
    topic = args[0] if args else kwargs.get("topic")
    if not isinstance(topic, str):
        return None  # the client will say so
    value = args[1] if len(args) > 1 else kwargs.get("value")
    key = args[2] if len(args) > 2 else kwargs.get("key")
    given = args[3] if len(args) > 3 else kwargs.get("headers")
    config = producer.config
    headers = replaced = None
    if (given is None or isinstance(given, list)) and (config.get("api_version") or _HEADERS_SINCE) >= _HEADERS_SINCE:
        headers = Pairs(given, encoded=True)
        if len(args) > 3:
            replaced = (*args[:3], headers.pairs, *args[4:])
        else:
            kwargs["headers"] = headers.pairs
    partition = args[4] if len(args) > 4 else kwargs.get("partition")
    call = kafka.sent(topic, key, value, partition, headers, config["bootstrap_servers"])
    call.args = replaced
    return call


def _acknowledged(call: Call, record: Any) -> Attributes:
    found = {messaging.PARTITION_ID: str(record.partition)}
    if record.offset is not None and record.offset >= 0:  # without acknowledgements nobody knows it
        found[kafka.OFFSET] = record.offset
    if record.serialized_value_size >= 0:
        found[messaging.BODY_SIZE] = record.serialized_value_size
    return found


def _group(consumer: Any) -> str:
    return consumer.config["group_id"] or ""


def _polled(consumer: Any, args: Args, kwargs: Kwargs, records: Any) -> Call | None:
    return kafka.batch(records, _group(consumer), consumer.config["bootstrap_servers"])


def _looped(consumer: Any, args: Args, kwargs: Kwargs, record: Any) -> Call:
    return kafka.processed(record, _group(consumer), consumer.config["bootstrap_servers"])


_loops = Deliveries()
_CONSUMER = "kafka.consumer.group:KafkaConsumer"

INSTRUMENTATION = Instrumentation(
    library="kafka",
    distribution=("kafka-python", "kafka-python-ng"),
    versions=">=2.0",
    hooks=(
        Later(
            "kafka.producer.kafka:KafkaProducer.send",
            PRODUCER,
            _send,
            result=_acknowledged,
            duration=messaging.SENDING,
            layer=messaging.LAYER,
            follow=future_done,
        ),
        Received(f"{_CONSUMER}.poll", _polled),
        _loops.next(f"{_CONSUMER}.__next__", _looped),
        _loops.end(f"{_CONSUMER}.poll"),
        _loops.end(f"{_CONSUMER}.close"),
        _loops.end(f"{_CONSUMER}.unsubscribe"),
    ),
)
