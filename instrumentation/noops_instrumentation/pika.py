"""AMQP with pika: blocking channels, and the asynchronous ones beneath them.

`basic_publish` is a producer. The callbacks of `basic_consume` and each message of the generator `consume()` are
processed, as children of their senders; `basic_get` receives. Messages that only wait in a client's buffer are nothing.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/rabbitmq.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.spec import BasicProperties

from noops_agent.instrument import CONSUMER, PRODUCER, Args, Call, Hook, Instrumentation, Kwargs, messaging
from noops_agent.instrument.deliveries import Handed, Loop, Received
from noops_agent.instrument.messaging import DELIVERY_TAG, RABBITMQ, ROUTING_KEY, amqp_destination, amqp_time

_CALLBACK = "on_message_callback"
_BLOCKING = "pika.adapters.blocking_connection"


def _server(channel: Any) -> tuple[str, int | None]:
    """Give host and port of a channel's broker."""
    connection = channel.connection
    parameters = getattr(connection, "_impl", connection).params
    return parameters.host, None if parameters.port == parameters.DEFAULT_PORT else parameters.port


# ---- sending ---------------------------------------------------------------------------------------------


def _with_headers(given: Any) -> Any:
    """Copy the properties of a message, with headers to write to: the caller may use its own again."""
    properties = BasicProperties()
    if given is not None:
        properties.__dict__.update(given.__dict__)
    properties.headers = dict(properties.headers) if properties.headers else {}
    return properties


def _publish(channel: Any, args: Args, kwargs: Kwargs) -> Call:
    exchange, routing_key, body = args[:3] if len(args) > 2 else _named(args, kwargs)
    if len(args) > 3:
        properties = _with_headers(args[3])
        args = (*args[:3], properties, *args[4:])
    else:
        properties = kwargs["properties"] = _with_headers(kwargs.get("properties"))
    destination, made_up = amqp_destination(exchange, routing_key)
    address, port = _server(channel)
    return messaging.send(
        RABBITMQ,
        destination,
        properties.headers,
        operation="publish",
        anonymous=made_up,
        address=address,
        port=port,
        message_id=properties.message_id,
        body_size=len(body) if isinstance(body, bytes) else None,
        stamped=properties.timestamp is not None,
        attributes={ROUTING_KEY: routing_key} if routing_key else None,
        args=args,
    )


def _named(args: Args, kwargs: Kwargs) -> Args:
    """Give exchange, routing key and body of a call that names some of them."""
    return *args, *(kwargs[name] for name in ("exchange", "routing_key", "body")[len(args) :])


# ---- receiving -------------------------------------------------------------------------------------------


def _facts(method: Any, properties: Any) -> dict[str, Any]:
    facts = {DELIVERY_TAG: method.delivery_tag}
    if method.routing_key:
        facts[ROUTING_KEY] = method.routing_key
    if properties.correlation_id is not None:
        facts[messaging.CONVERSATION_ID] = properties.correlation_id
    return facts


def _delivered(channel: Any, queue: str, method: Any, properties: Any, body: Any) -> Call:
    destination, made_up = amqp_destination(method.exchange, method.routing_key, queue)
    address, port = _server(channel)
    return messaging.process(
        RABBITMQ,
        destination,
        properties.headers,
        anonymous=made_up,
        address=address,
        port=port,
        message_id=properties.message_id,
        body_size=len(body),
        sent_at=amqp_time(properties.timestamp),
        linked=INSTRUMENTATION.options.get("links", False),
        attributes=_facts(method, properties),
    )


def _callback(target: str) -> Callable[[Any, Args, Kwargs], Hook | None]:
    """Give what watches the callbacks that *target* is given; those of pika itself only fill its buffers."""

    def watch(channel: Any, args: Args, kwargs: Kwargs) -> Hook | None:
        queue = args[0] if args else kwargs["queue"]
        given = args[1] if len(args) > 1 else kwargs[_CALLBACK]
        if getattr(given, "__module__", None) == _BLOCKING:
            return None

        def describe(_: Any, args: Args, kwargs: Kwargs) -> Call:
            channel, method, properties, body = args
            return _delivered(channel, queue, method, properties, body)

        return Hook(target, CONSUMER, describe, duration=messaging.PROCESSING)

    return watch


def _next_message(channel: Any, args: Args, kwargs: Kwargs, item: Any) -> Call | None:
    method, properties, body = item
    if method is None:
        return None  # nothing came within the inactivity timeout
    return _delivered(channel, args[0] if args else kwargs["queue"], method, properties, body)


def _got(channel: Any, args: Args, kwargs: Kwargs, returned: Any) -> Call | None:
    method, properties, body = returned
    if method is None:
        return None
    destination, made_up = amqp_destination(method.exchange, method.routing_key, args[0] if args else kwargs["queue"])
    address, port = _server(channel)
    return messaging.receive(
        RABBITMQ,
        destination,
        (properties.headers or messaging.NO_HEADERS,),
        operation="get",
        anonymous=made_up,
        address=address,
        port=port,
        message_id=properties.message_id,
        body_size=len(body),
        sent_at=amqp_time(properties.timestamp),
        attributes=_facts(method, properties),
    )


def _failed(channel: Any, args: Args, kwargs: Kwargs, error: Any) -> Call:
    destination, made_up = amqp_destination("", "", args[0] if args else kwargs["queue"])
    address, port = _server(channel)
    return messaging.receive(RABBITMQ, destination, operation="get", anonymous=made_up, address=address, port=port)


INSTRUMENTATION = Instrumentation(
    library="pika",
    distribution="pika",
    versions=">=1.0",
    options=("links",),
    hooks=(
        *(
            Hook(target, PRODUCER, _publish, duration=messaging.SENDING, layer=messaging.LAYER)
            for target in (f"{_BLOCKING}:BlockingChannel.basic_publish", "pika.channel:Channel.basic_publish")
        ),
        *(
            Handed(target, 1, _CALLBACK, _callback(target))
            for target in (f"{_BLOCKING}:BlockingChannel.basic_consume", "pika.channel:Channel.basic_consume")
        ),
        Loop(f"{_BLOCKING}:BlockingChannel.consume", _next_message),
        Received(f"{_BLOCKING}:BlockingChannel.basic_get", _got, failed=_failed),
    ),
)
