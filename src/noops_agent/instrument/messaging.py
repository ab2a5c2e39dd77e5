"""What messaging calls mean: names, attributes, links and measurements, for every system alike.

An integration describes its calls with `send`, `process`, `process_batch`, `receive` and `settle`, and names `SENDING`,
`RECEIVING` or `PROCESSING` as the duration of the hook, which brings the counters with it.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md and messaging-metrics.md. These are
"development", so all their names live here. The dwell time is our own: the convention has no word for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import Getter

from .carriers import extract, link_to
from .model import Args, Call, Duration, Kwargs, Measure

LAYER = "messaging"
"""The layer of every messaging hook: of a framework and the client beneath it, the outer one speaks."""

SENT_AT = "noops-sent-at"
"""Header with the wall time of sending, in nanoseconds since the epoch, where a message has no time of its own."""

DWELL_TIME = "noops.messaging.dwell_time"
"""Attribute and histogram: seconds between sending a message and beginning to process it; never below 0, since the
clocks of two machines differ."""

MAX_LINKS = 128
"""Links of one span, as the default of `OTEL_SPAN_LINK_COUNT_LIMIT`: of a larger batch the first ones are linked."""

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION_NAME = "messaging.destination.name"
DESTINATION_TEMPLATE = "messaging.destination.template"
DESTINATION_TEMPORARY = "messaging.destination.temporary"
DESTINATION_ANONYMOUS = "messaging.destination.anonymous"
PARTITION_ID = "messaging.destination.partition.id"
SUBSCRIPTION_NAME = "messaging.destination.subscription.name"
CONSUMER_GROUP_NAME = "messaging.consumer.group.name"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"
BATCH_COUNT = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"

Carrier = Mapping[str, Any]
"""The headers of one message; keys in lower case, values texts, bytes, or lists of these; others are passed over."""
Inject = MutableMapping[str, Any] | Callable[[str, str], object]


# ---- measurements ----------------------------------------------------------------------------------------

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
DWELL_BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Our own: a queue that is behind is behind by minutes."""

_KEYS = (
    OPERATION_NAME,
    SYSTEM,
    "error.type",
    DESTINATION_NAME,
    DESTINATION_TEMPLATE,
    PARTITION_ID,
    "server.address",
    "server.port",
)
_CONSUMER_KEYS = (*_KEYS, CONSUMER_GROUP_NAME, SUBSCRIPTION_NAME)


def _messages(attributes: Mapping[str, Any]) -> int:
    count: int = attributes.get(BATCH_COUNT, 1)
    return count


def _dwell(attributes: Mapping[str, Any]) -> float | None:
    return attributes.get(DWELL_TIME)


SENT = Measure(
    "messaging.client.sent.messages",
    "{message}",
    "Number of messages producer attempted to send to the broker.",
    _messages,
)
CONSUMED = Measure(
    "messaging.client.consumed.messages",
    "{message}",
    "Number of messages that were delivered to the application.",
    _messages,
)
DWELL = Measure(
    DWELL_TIME, "s", "Time between sending a message and beginning to process it.", _dwell, bounds=DWELL_BOUNDS
)

_OPERATION = (
    "messaging.client.operation.duration",
    "Duration of messaging operation initiated by a producer or consumer client.",
)
SENDING = Duration(*_OPERATION, (*_KEYS, OPERATION_TYPE), BOUNDS, also=(SENT,))
"""Of `send`; counts the messages."""
RECEIVING = Duration(*_OPERATION, (*_CONSUMER_KEYS, OPERATION_TYPE), BOUNDS, also=(CONSUMED, DWELL))
"""Of `receive`; counts the messages."""
SETTLING = Duration(*_OPERATION, (*_CONSUMER_KEYS, OPERATION_TYPE), BOUNDS)
"""Of `settle`."""
PROCESSING = Duration(
    "messaging.process.duration", "Duration of processing operation.", _CONSUMER_KEYS, BOUNDS, also=(CONSUMED, DWELL)
)
"""Of `process` where the library delivers the message itself; counts the messages."""
PROCESSING_RECEIVED = Duration(PROCESSING.name, PROCESSING.description, _CONSUMER_KEYS, BOUNDS, also=(DWELL,))
"""Of `process` where a `receive` has counted the messages already."""


# ---- what a call means -----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _place(
    system: str,
    operation: str,
    kind: str,
    destination: str,
    template: str,
    temporary: bool,
    anonymous: bool,
    group: str,
    address: str,
    port: int | None,
) -> tuple[str, dict[str, Any]]:
    """Give the name of the span and the attributes that every call of an operation on a destination shares."""
    attributes: dict[str, Any] = {SYSTEM: system, OPERATION_NAME: operation, OPERATION_TYPE: kind}
    told = {
        DESTINATION_NAME: destination,
        DESTINATION_TEMPLATE: template,
        DESTINATION_TEMPORARY: temporary,
        DESTINATION_ANONYMOUS: anonymous,
        CONSUMER_GROUP_NAME: group,
        "server.address": address,
        "server.port": port,
    }
    attributes.update((key, value) for key, value in told.items() if value)
    shown = template or ("" if temporary or anonymous else destination)
    return f"{operation} {shown}" if shown else operation, attributes


def send(
    system: str,
    destination: str,
    carrier: Inject | None = None,
    *,
    operation: str = "send",
    template: str = "",
    temporary: bool = False,
    anonymous: bool = False,
    address: str = "",
    port: int | None = None,
    message_id: str | None = None,
    body_size: int | None = None,
    count: int | None = None,
    stamped: bool = False,
    attributes: Mapping[str, Any] | None = None,
    args: Args | None = None,
    kwargs: Kwargs | None = None,
) -> Call:
    """Describe handing messages to a broker; for a hook of kind PRODUCER with duration `SENDING`.

    Args:
        system: The `messaging.system`, such as "rabbitmq".
        destination: Name of queue, topic or exchange. It is an attribute of metrics as well: where names are made up
            by the broker, give what they begin with, and say so with *temporary* or *anonymous*.
        carrier: Where the headers go: a mapping, or a function of a key and a value. For a batch see `each`.
        operation: The system's own word, where it isn't "send".
        template: What *destination* is made from, where it varies.
        temporary: Whether the destination goes when its users do.
        anonymous: Whether the broker made up its name.
        address: Host of the broker, without port.
        port: Its port.
        message_id: The message's own id.
        body_size: Bytes of the body.
        count: Number of messages, where this is a call for batches.
        stamped: Whether the message carries a time of its own, so that it needs no `SENT_AT`.
        attributes: More attributes, of the system.
        args: Positional arguments that replace the call's own.
        kwargs: Keyword arguments that replace the call's own.
    """
    name, shared = _place(system, operation, "send", destination, template, temporary, anonymous, "", address, port)
    known = _message(shared, message_id, body_size, attributes)
    if count is not None:
        known[BATCH_COUNT] = count
    if carrier is not None and not stamped:
        now = str(time.time_ns())
        if callable(carrier):
            carrier(SENT_AT, now)
        else:
            carrier[SENT_AT] = now
    return Call(name, known, inject=carrier, args=args, kwargs=kwargs)


def process(
    system: str,
    destination: str,
    carrier: Carrier | None = None,
    *,
    operation: str = "process",
    template: str = "",
    temporary: bool = False,
    anonymous: bool = False,
    group: str = "",
    address: str = "",
    port: int | None = None,
    message_id: str | None = None,
    body_size: int | None = None,
    sent_at: int | None = None,
    linked: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """Describe the processing of one message; for a CONSUMER with duration `PROCESSING`.

    Its parent is the context that was current where the message was sent; without headers it begins a trace.

    Args:
        carrier: The headers of the message.
        group: Name of the consumer group.
        sent_at: When the message was sent, by its own account, in nanoseconds since the epoch; None: `SENT_AT` tells.
        linked: Whether the sender is linked to and not the parent: the processing begins a trace of its own.
        (all others: see `send`)
    """
    name, shared = _place(
        system, operation, "process", destination, template, temporary, anonymous, group, address, port
    )
    known = _message(shared, message_id, body_size, attributes)
    if carrier and sent_at is None:
        sent_at = sending_time(carrier)
    if sent_at is not None:
        known[DWELL_TIME] = dwell(sent_at)
    if not carrier:
        return Call(name, known, parent=ROOT)
    if linked:
        return Call(name, known, parent=ROOT, links=links((carrier,)))
    return Call(name, known, parent=extract(carrier, HEADERS))


def process_batch(
    system: str,
    destination: str,
    carriers: Sequence[Carrier],
    *,
    operation: str = "process",
    template: str = "",
    temporary: bool = False,
    anonymous: bool = False,
    group: str = "",
    address: str = "",
    port: int | None = None,
    sent_at: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """Describe the processing of several messages at once: each of their senders is linked to, none is the parent.

    Args:
        carriers: The headers of each message.
        sent_at: When the first of them was sent, by its own account.
        (all others: see `process`)
    """
    name, shared = _place(
        system, operation, "process", destination, template, temporary, anonymous, group, address, port
    )
    known = _batch(shared, carriers, sent_at, attributes)
    return Call(name, known, links=links(carriers))


def receive(
    system: str,
    destination: str,
    carriers: Sequence[Carrier] = (),
    *,
    operation: str = "receive",
    template: str = "",
    temporary: bool = False,
    anonymous: bool = False,
    group: str = "",
    address: str = "",
    port: int | None = None,
    message_id: str | None = None,
    body_size: int | None = None,
    sent_at: int | None = None,
    batch: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """Describe messages that the application asked for and got; for a CLIENT with duration `RECEIVING`.

    The senders are linked to; the parent is what is current where the application asked.

    Args:
        carriers: The headers of each message.
        batch: Whether this is a call that can give several messages: their number is told then.
        (all others: see `process`)
    """
    name, shared = _place(
        system, operation, "receive", destination, template, temporary, anonymous, group, address, port
    )
    known = _batch(shared, carriers, sent_at, attributes)
    if not batch:
        del known[BATCH_COUNT]
    if message_id is not None:
        known[MESSAGE_ID] = message_id
    if body_size is not None:
        known[BODY_SIZE] = body_size
    return Call(name, known, links=links(carriers))


def settle(
    system: str,
    destination: str,
    operation: str,
    *,
    group: str = "",
    address: str = "",
    port: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """Describe an acknowledgement or rejection (*operation*: "ack", "nack", ...); for a CLIENT with `SETTLING`."""
    name, shared = _place(system, operation, "settle", destination, "", False, False, group, address, port)
    return Call(name, _message(shared, None, None, attributes))


def _message(
    shared: dict[str, Any], message_id: str | None, body_size: int | None, attributes: Mapping[str, Any] | None
) -> dict[str, Any]:
    known = shared.copy()
    if message_id is not None:
        known[MESSAGE_ID] = message_id
    if body_size is not None:
        known[BODY_SIZE] = body_size
    if attributes:
        known.update(attributes)
    return known


def _batch(
    shared: dict[str, Any],
    carriers: Sequence[Carrier],
    sent_at: int | None,
    attributes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    known = shared.copy()
    known[BATCH_COUNT] = len(carriers)
    if sent_at is None:
        sent_at = min((at for at in map(sending_time, carriers) if at is not None), default=None)
    if sent_at is not None:
        known[DWELL_TIME] = dwell(sent_at)
    if attributes:
        known.update(attributes)
    return known


# ---- headers ---------------------------------------------------------------------------------------------


def each(carriers: Iterable[MutableMapping[str, Any]]) -> Callable[[str, str], None]:
    """Give a carrier that writes each header into all of *carriers*: the messages of one batch."""
    all_of_them = tuple(carriers)

    def write(key: str, value: str) -> None:
        for carrier in all_of_them:
            carrier[key] = value

    return write


class _Headers(Getter[Carrier]):
    """Reads headers of messages: a broker hands on whatever another program has written."""

    plain = True
    """A mapping is read as it is, but for bytes."""

    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        """Give the texts of a header."""
        value = carrier.get(key)
        if type(value) is str:
            return [value]
        if value is None:
            return None
        values = value if isinstance(value, (list, tuple)) else (value,)
        return [text for text in map(text_of, values) if text is not None] or None

    def keys(self, carrier: Carrier) -> list[str]:
        """Give the names of all headers."""
        return list(carrier)


HEADERS = _Headers()
NO_HEADERS: Carrier = {}
ROOT = Context()
"""The context of what has no sender."""


def links(carriers: Sequence[Carrier]) -> tuple[Any, ...]:
    """Link to the sender of each message that tells of one."""
    return tuple(
        link for carrier in carriers[:MAX_LINKS] if carrier and (link := link_to(carrier, HEADERS)) is not None
    )


def text_of(value: Any) -> str | None:
    """Read a header's value; None where it is no text."""
    if isinstance(value, str):
        return value
    return value.decode("latin-1") if isinstance(value, bytes) else None


def sending_time(carrier: Carrier) -> int | None:
    """Read `SENT_AT`, in nanoseconds since the epoch; None where it is missing or no number."""
    value = carrier.get(SENT_AT)
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    text = text_of(value)
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


def dwell(sent_at: int) -> float:
    """Give the seconds since *sent_at* (nanoseconds since the epoch); 0 for the future."""
    passed = time.time_ns() - sent_at
    return passed / 1e9 if passed > 0 else 0.0


# ---- AMQP ------------------------------------------------------------------------------------------------
# Source: docs/messaging/rabbitmq.md, for the three libraries that speak AMQP 0-9-1.

RABBITMQ = "rabbitmq"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
DELIVERY_TAG = "messaging.rabbitmq.message.delivery_tag"
GENERATED = "amq.gen"
"""What the names begin with that RabbitMQ makes up; told in place of them."""


@lru_cache(maxsize=2048)
def amqp_destination(exchange: str, routing_key: str, queue: str = "") -> tuple[str, bool]:
    """Name the destination, and say whether its name was made up by the broker.

    Producers name exchange and routing key, consumers the queue too; what is empty or said already is left out.
    """
    made_up = queue.startswith(GENERATED) or (not queue and routing_key.startswith(GENERATED))
    parts = [GENERATED if part.startswith(GENERATED) else part for part in (exchange, routing_key, queue)]
    told = list(dict.fromkeys(part for part in parts if part))
    return ":".join(told) or "amq.default", made_up


def amqp_time(timestamp: Any) -> int | None:
    """Read the `timestamp` property, seconds since the epoch or a date, in nanoseconds; None where there is none."""
    if timestamp is None:
        return None
    seconds = timestamp.timestamp() if hasattr(timestamp, "timestamp") else timestamp
    return int(seconds * 1_000_000_000) if isinstance(seconds, (int, float)) else None
