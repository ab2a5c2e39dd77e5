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
from noops_agent.instrument.kafka import Delivering, Report, Subclass, report_done

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
_HEADERS = (list, dict, type(None))
_SERIALIZING = ("topic", "key", "value", "partition", "on_delivery", "timestamp", "headers")


def _described(client: Any, names: tuple[str, ...], args: Args, kwargs: Kwargs) -> Call | None:
    """Describe a call of `produce` whose positional arguments have these names."""
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    topic, given = named.get("topic"), named.get("headers")
    if len(named) != len(args) + len(kwargs) or not isinstance(topic, str) or not isinstance(given, _HEADERS):
        return None  # too many arguments, one of them twice, or one of another type: the client will say so
    headers = Pairs(given.items() if isinstance(given, dict) else given, encoded=True)
    call = kafka.sent(topic, named.get("key"), named.get("value"), named.get("partition"), headers, _servers(client))
    named["headers"] = headers.pairs
    for name in ("callback", "on_delivery"):
        if callable(named.get(name)):
            call.state = named[name] = Report(named[name])
            break
    call.args, call.kwargs = (), named
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


def _sending(target: str, describe: Any) -> Delivering:
    return Delivering(
        target,
        PRODUCER,
        describe,
        result=_reported,
        duration=messaging.SENDING,
        layer=messaging.LAYER,
        follow=report_done,
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
