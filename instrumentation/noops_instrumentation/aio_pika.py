"""AMQP with aio-pika: exchanges, consumers, iterators and `get`, on plain and on robust connections.

`Exchange.publish` is a producer. The callbacks of `Queue.consume` and each message of a queue's iterator are processed,
as children of their senders; `Queue.get` receives. Messages that only wait in an iterator's buffer are nothing.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/rabbitmq.md.
"""

from __future__ import annotations

from typing import Any

from aio_pika.abc import AbstractQueueIterator
from aio_pika.exceptions import QueueEmpty

from noops_agent.instrument import CONSUMER, PRODUCER, Args, Call, Hook, Instrumentation, Kwargs, messaging
from noops_agent.instrument.deliveries import Deliveries, Handed, Received
from noops_agent.instrument.messaging import DELIVERY_TAG, RABBITMQ, ROUTING_KEY, amqp_destination, amqp_time

_CONSUME = "aio_pika.queue:Queue.consume"
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


def _server(channel: Any) -> tuple[str, int | None]:
    """Give host and port of a channel's broker."""
    connection = getattr(channel, "_connection", None) or getattr(channel, "connection", None)
    url = getattr(connection, "url", None)
    if url is None:
        return "", None
    return url.host or "", None if url.port == _DEFAULT_PORTS.get(url.scheme) else url.port


# ---- sending ---------------------------------------------------------------------------------------------


class _Sent:
    """A message with headers of its own: the caller may send the one it gave again. To copy it costs much more."""

    __slots__ = ("_given", "headers")

    def __init__(self, given: Any, headers: dict[str, Any]) -> None:
        self._given = given
        self.headers = headers

    @property
    def properties(self) -> Any:
        """What is sent beside the body."""
        properties = self._given.properties
        properties.headers = self.headers
        return properties

    def __getattr__(self, name: str) -> Any:
        return getattr(self._given, name)

    def __repr__(self) -> str:
        return repr(self._given)


def _publish(exchange: Any, args: Args, kwargs: Kwargs) -> Call:
    message = args[0] if args else kwargs["message"]
    routing_key = args[1] if len(args) > 1 else kwargs["routing_key"]
    headers = dict(message.headers)
    if args:
        args = (_Sent(message, headers), *args[1:])
    else:
        kwargs["message"] = _Sent(message, headers)
    destination, made_up = amqp_destination(exchange.name, routing_key)
    address, port = _server(exchange.channel)
    return messaging.send(
        RABBITMQ,
        destination,
        headers,
        operation="publish",
        anonymous=made_up,
        address=address,
        port=port,
        message_id=message.message_id,
        body_size=message.body_size,
        stamped=message.timestamp is not None,
        attributes={ROUTING_KEY: routing_key} if routing_key else None,
        args=args,
    )


# ---- receiving -------------------------------------------------------------------------------------------


def _facts(message: Any) -> dict[str, Any]:
    facts = {DELIVERY_TAG: message.delivery_tag}
    if message.routing_key:
        facts[ROUTING_KEY] = message.routing_key
    if message.correlation_id is not None:
        facts[messaging.CONVERSATION_ID] = message.correlation_id
    return facts


def _delivered(queue: Any, message: Any) -> Call:
    destination, made_up = amqp_destination(message.exchange or "", message.routing_key or "", queue.name)
    address, port = _server(queue.channel)
    return messaging.process(
        RABBITMQ,
        destination,
        message.headers,
        anonymous=made_up,
        address=address,
        port=port,
        message_id=message.message_id,
        body_size=message.body_size,
        sent_at=amqp_time(message.timestamp),
        linked=INSTRUMENTATION.options.get("links", False),
        attributes=_facts(message),
    )


def _callback(queue: Any, args: Args, kwargs: Kwargs) -> Hook | None:
    given = args[0] if args else kwargs["callback"]
    if isinstance(getattr(given, "__self__", None), AbstractQueueIterator):
        return None  # it only fills the iterator's buffer

    def describe(_: Any, args: Args, kwargs: Kwargs) -> Call:
        return _delivered(queue, args[0])

    return Hook(_CONSUME, CONSUMER, describe, duration=messaging.PROCESSING)


def _next_message(iterator: Any, args: Args, kwargs: Kwargs, message: Any) -> Call:
    return _delivered(iterator._amqp_queue, message)


def _got(queue: Any, args: Args, kwargs: Kwargs, message: Any) -> Call | None:
    if message is None:
        return None
    destination, made_up = amqp_destination(message.exchange or "", message.routing_key or "", queue.name)
    address, port = _server(queue.channel)
    return messaging.receive(
        RABBITMQ,
        destination,
        (message.headers,),
        operation="get",
        anonymous=made_up,
        address=address,
        port=port,
        message_id=message.message_id,
        body_size=message.body_size,
        sent_at=amqp_time(message.timestamp),
        attributes=_facts(message),
    )


def _failed(queue: Any, args: Args, kwargs: Kwargs, error: Any) -> Call | None:
    if isinstance(error, QueueEmpty):
        return None
    destination, made_up = amqp_destination("", "", queue.name)
    address, port = _server(queue.channel)
    return messaging.receive(RABBITMQ, destination, operation="get", anonymous=made_up, address=address, port=port)


_iterators = Deliveries()

INSTRUMENTATION = Instrumentation(
    library="aio_pika",
    distribution="aio-pika",
    versions=">=8.0",
    options=("links",),
    hooks=(
        Hook(
            "aio_pika.exchange:Exchange.publish", PRODUCER, _publish, duration=messaging.SENDING, layer=messaging.LAYER
        ),
        Handed(_CONSUME, 0, "callback", _callback),
        _iterators.next("aio_pika.queue:QueueIterator.__anext__", _next_message),
        _iterators.next("aio_pika.robust_queue:RobustQueueIterator.__anext__", _next_message, optional=True),
        _iterators.end("aio_pika.queue:QueueIterator.close"),
        _iterators.end("aio_pika.queue:QueueIterator.__aexit__"),
        Received("aio_pika.queue:Queue.get", _got, failed=_failed),
    ),
)
