"""Kafka with confluent-kafka: records that are produced, polled and consumed.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/kafka.md.

`produce` lasts until the delivery report where the application asked for one, else until the client has taken the
record. `poll` and `consume` receive, with a link to the sender of each record: the client has no callback for records,
so when their processing ends nobody can say. What gives nothing is not told of, nor are the client's own events, such
as the end of a partition. `produce_batch` is one span for each batch, whose records carry no context.

`Producer` and `Consumer` are written in C; subclasses take their place.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from noops_agent.instrument import (
    PRODUCER,
    After,
    Args,
    Attributes,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    kafka,
    messaging,
)
from noops_agent.instrument.carriers import Pairs
from noops_agent.instrument.deliveries import Received
from noops_agent.instrument.kafka import Report, Subclass, expect_report, report_done
from noops_agent.instrument.outcome import Later

_SERVERS = ("bootstrap.servers", "metadata.broker.list")


# ---- what a client was made with -------------------------------------------------------------------------


def _remember(client: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    """Keep the servers and the group that a client was made with: it doesn't tell them any more."""
    given = {**(args[0] if args and isinstance(args[0], dict) else {}), **kwargs}
    client._noops_servers = next((given[name] for name in _SERVERS if given.get(name)), "")
    client._noops_group = given.get("group.id") or ""
    return returned


def _servers(client: Any) -> str:
    return getattr(client, "_noops_servers", "")


def _group(client: Any) -> str:
    return getattr(client, "_noops_group", "")


# ---- producers -------------------------------------------------------------------------------------------


_PRODUCE = ("topic", "value", "key", "partition", "callback", "on_delivery", "timestamp", "headers")
_COMMON = 4
"""Number of the arguments that both begin with: topic, value and key in either order, and partition."""
_HEADERS = (list, dict, type(None))
_SERIALIZING = ("topic", "key", "value", "partition", "on_delivery", "timestamp", "headers")


def _described(client: Any, names: tuple[str, ...], args: Args, kwargs: Kwargs) -> Call | None:
    """Describe a call of `produce` whose positional arguments have these names."""
    count = len(args)
    if count > _COMMON:  # what is to be replaced must have a name
        named = dict(zip(names, args, strict=False))
        if len(named) < count or not named.keys().isdisjoint(kwargs):
            return None  # too many arguments, or one of them twice: the client will say so
        kwargs.update(named)
        count, args = 0, ()
    topic = args[0] if count else kwargs.get("topic")
    given = kwargs.get("headers")
    if not isinstance(topic, str) or not isinstance(given, _HEADERS):
        return None
    second = args[1] if count > 1 else kwargs.get(names[1])
    third = args[2] if count > 2 else kwargs.get(names[2])
    partition = args[3] if count > 3 else kwargs.get("partition")
    key, value = (third, second) if names is _PRODUCE else (second, third)
    headers = Pairs(given.items() if isinstance(given, dict) else given, encoded=True)
    call = kafka.sent(topic, key, value, partition, headers, _servers(client))
    kwargs["headers"] = headers.pairs
    if not count:
        call.args = args
    name = "callback" if "callback" in kwargs else "on_delivery"  # of both names the client takes the first, or None
    callback = kwargs.get(name)
    if callable(callback):
        call.state = kwargs[name] = Report(callback)
    return call


def _produce(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _described(producer, _PRODUCE, args, kwargs)


def _serialize(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _described(producer, _SERIALIZING, args, kwargs)


def _produce_batch(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    topic = args[0] if args else kwargs.get("topic")
    messages = args[1] if len(args) > 1 else kwargs.get("messages")
    if not isinstance(topic, str) or not isinstance(messages, list):
        return None
    address, port = kafka.server(_servers(producer))
    return messaging.send(kafka.SYSTEM, topic, address=address, port=port, count=len(messages))


def _reported(call: Call, message: Any) -> Attributes | None:
    """Tell of a delivery report: a message, or an error in its place; None where there is no report."""
    if message is None:
        return None
    if isinstance(message, KafkaError):
        return {"error.type": message.name()}
    found = {messaging.PARTITION_ID: str(message.partition())}
    offset = message.offset()
    if offset is not None and offset >= 0:
        found[kafka.OFFSET] = offset
    return found


def _sending(target: str, describe: Any) -> Later:
    return Later(
        target,
        PRODUCER,
        describe,
        result=_reported,
        duration=messaging.SENDING,
        layer=messaging.LAYER,
        follow=report_done,
        prepare=expect_report,
    )


# ---- consumers -------------------------------------------------------------------------------------------


def _sent_at(message: Any) -> int:
    """Give when a record was sent, in milliseconds since the epoch; 0 or less: unknown."""
    kind, milliseconds = message.timestamp()
    return milliseconds if kind else 0


def _polled(consumer: Any, args: Args, kwargs: Kwargs, message: Any) -> Call | None:
    if message is None or message.error() is not None:
        return None
    address, port = kafka.server(_servers(consumer))
    sent_at = _sent_at(message)
    value = message.value()
    return messaging.receive(
        kafka.SYSTEM,
        message.topic(),
        (kafka.carrier_of(message.headers()),),
        operation="poll",
        group=_group(consumer),
        address=address,
        port=port,
        body_size=len(value) if isinstance(value, bytes) else None,
        sent_at=sent_at * 1_000_000 if sent_at > 0 else None,
        attributes=kafka.facts(message.partition(), message.offset(), message.key(), value),
    )


def _consumed(consumer: Any, args: Args, kwargs: Kwargs, messages: Any) -> Call | None:
    good = [message for message in messages if message.error() is None]
    if not good:
        return None
    return kafka.polled(
        {message.topic() for message in good},
        {message.partition() for message in good},
        [kafka.carrier_of(message.headers()) for message in good],
        min(map(_sent_at, good)),
        _group(consumer),
        _servers(consumer),
    )


_MODULE = "confluent_kafka"
_SERIALIZING_PRODUCER = f"{_MODULE}.serializing_producer:SerializingProducer"
_DESERIALIZING_CONSUMER = f"{_MODULE}.deserializing_consumer:DeserializingConsumer"

INSTRUMENTATION = Instrumentation(
    library="confluent_kafka",
    distribution="confluent-kafka",
    versions=">=1.8.2",
    hooks=(
        Subclass(
            f"{_MODULE}:Producer",
            __init__=After("", _remember),
            produce=_sending(f"{_MODULE}:Producer.produce", _produce),
            produce_batch=Hook(
                f"{_MODULE}:Producer.produce_batch",
                PRODUCER,
                _produce_batch,
                duration=messaging.SENDING,
                layer=messaging.LAYER,
            ),
        ),
        Subclass(
            f"{_MODULE}:Consumer",
            __init__=After("", _remember),
            poll=Received("", _polled),
            consume=Received("", _consumed),
        ),
        After(f"{_SERIALIZING_PRODUCER}.__init__", _remember),
        _sending(f"{_SERIALIZING_PRODUCER}.produce", _serialize),
        After(f"{_DESERIALIZING_CONSUMER}.__init__", _remember),
        Received(f"{_DESERIALIZING_CONSUMER}.poll", _polled),
    ),
)
