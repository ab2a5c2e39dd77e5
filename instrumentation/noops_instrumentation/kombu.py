"""Messages with kombu: producers, consumers' callbacks, simple queues and `Queue.get`, over any transport.

What kombu and Celery send for themselves (events, remote control, results) is no message of the application's, and what
the Redis transport does in the database is neither: it makes no spans.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md and rabbitmq.md.
"""

from __future__ import annotations

from functools import lru_cache
from queue import Empty
from typing import Any

from noops_agent.instrument import CONSUMER, PRODUCER, Args, Call, Hook, Instrumentation, Kwargs, messaging
from noops_agent.instrument.deliveries import Handed, Received
from noops_agent.instrument.frameworks import Muted
from noops_agent.instrument.messaging import DELIVERY_TAG, RABBITMQ, ROUTING_KEY, amqp_destination, amqp_time

_INTERNAL = frozenset(("celery", "kombu"))
"""Packages whose callbacks are no consumers of the application's."""
_SYSTEMS = {
    "amqp": RABBITMQ,
    "azureservicebus": "servicebus",
    "confluentkafka": "kafka",
    "gcpubsub": "gcp_pubsub",
    "sqs": "aws_sqs",
}
_DEFAULT_PORTS = {"amqp": 5672, "redis": 6379}
_HEADERS_AT, _EXCHANGE_AT = 9, 11
"""Places of arguments of `Producer.publish`, counted without the producer."""


# ---- brokers and destinations ----------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _broker(driver: str, hostname: str | None, port: int | None) -> tuple[str, str, int | None]:
    """Give system, host and port; some transports have a URL with a password for a host name."""
    if hostname is None or "/" in hostname or "@" in hostname:
        hostname, port = "", None
    return _SYSTEMS.get(driver, driver), hostname, None if port == _DEFAULT_PORTS.get(driver) else port


def _broker_of(connection: Any) -> tuple[str, str, int | None]:
    return _broker(connection.transport.driver_type, connection.hostname, connection.port or None)


def _internal(exchange: str) -> bool:
    """Whether an exchange is one of Celery's for events and remote control."""
    return exchange.endswith(".pidbox") or exchange.startswith("celeryev")


def _ours(callback: Any) -> bool:
    """Whether a callback belongs to Celery or kombu."""
    module = getattr(callback, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in _INTERNAL


# ---- sending ---------------------------------------------------------------------------------------------


def _publish(producer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    exchange = args[_EXCHANGE_AT] if len(args) > _EXCHANGE_AT else kwargs.get("exchange")
    exchange = exchange or producer.exchange
    exchange = exchange if isinstance(exchange, str) else exchange.name
    if _internal(exchange):
        return None
    routing_key = args[1] if len(args) > 1 else kwargs.get("routing_key")
    routing_key = (producer.routing_key if routing_key is None else routing_key) or ""
    args, headers = _with_headers(args, kwargs)
    connection = producer.__connection__ or producer._channel.connection.client
    system, address, port = _broker_of(connection)
    destination, made_up = amqp_destination(exchange, routing_key)
    body = args[0] if args else kwargs["body"]
    return messaging.send(
        system,
        destination,
        headers,
        operation="publish",
        anonymous=made_up,
        address=address,
        port=port,
        message_id=kwargs.get("message_id"),
        body_size=len(body) if isinstance(body, bytes) else None,
        stamped="timestamp" in kwargs,
        attributes={ROUTING_KEY: routing_key} if routing_key and system == RABBITMQ else None,
        args=args,
    )


def _with_headers(args: Args, kwargs: Kwargs) -> tuple[Args, dict[str, Any]]:
    """Give the call headers of its own to write to: the caller may use its own again."""
    if len(args) > _HEADERS_AT:
        headers = dict(args[_HEADERS_AT] or ())
        return (*args[:_HEADERS_AT], headers, *args[_HEADERS_AT + 1 :]), headers
    headers = kwargs["headers"] = dict(kwargs.get("headers") or ())
    return args, headers


# ---- receiving -------------------------------------------------------------------------------------------


def _told(message: Any, queues: Any) -> tuple[str, dict[str, Any]]:
    """Give the destination of a message, and all else that `messaging` is told of it."""
    info, properties = message.delivery_info, message.properties
    routing_key = info.get("routing_key") or ""
    queue = queues[0].name if len(queues) == 1 else ""
    destination, made_up = amqp_destination(info.get("exchange") or "", routing_key, queue or "")
    system, address, port = _broker_of(message.channel.connection.client)
    attributes = {}
    if system == RABBITMQ:
        attributes[DELIVERY_TAG] = message.delivery_tag
        if routing_key:
            attributes[ROUTING_KEY] = routing_key
    if properties.get("correlation_id"):
        attributes[messaging.CONVERSATION_ID] = properties["correlation_id"]
    told = {
        "anonymous": made_up,
        "address": address,
        "port": port,
        "message_id": properties.get("message_id"),
        "body_size": len(message.body) if isinstance(message.body, (bytes, str)) else None,
        "sent_at": amqp_time(properties.get("timestamp")),
        "attributes": attributes,
    }
    return system, {"destination": destination, **told}


def _process(message: Any, queues: Any) -> Call | None:
    if _internal(message.delivery_info.get("exchange") or ""):
        return None
    system, told = _told(message, queues)
    linked = INSTRUMENTATION.options.get("links", False)
    return messaging.process(system, carrier=message.headers, linked=linked, **told)


def _receive(consumer: Any, args: Args, kwargs: Kwargs) -> Call | None:
    if all(map(_ours, consumer.callbacks)):
        return None
    return _process(args[1] if len(args) > 1 else kwargs["message"], consumer.queues)


def _on_message(consumer: Any, args: Args, kwargs: Kwargs) -> Hook | None:
    given = args[6] if len(args) > 6 else kwargs.get("on_message")
    if given is None or _ours(given):
        return None

    def describe(_: Any, args: Args, kwargs: Kwargs) -> Call | None:
        return _process(args[0], consumer.queues)

    return Hook("kombu.messaging:Consumer.__init__", CONSUMER, describe, duration=messaging.PROCESSING)


def _got(queue: Any, args: Args, kwargs: Kwargs, message: Any) -> Call | None:
    if message is None:
        return None
    system, told = _told(message, (getattr(queue, "queue", queue),))
    return messaging.receive(system, carriers=(message.headers or messaging.NO_HEADERS,), operation="get", **told)


def _failed(queue: Any, args: Args, kwargs: Kwargs, error: Any) -> Call | None:
    if isinstance(error, Empty):
        return None
    queue = getattr(queue, "queue", queue)
    system, address, port = _broker_of(queue.channel.connection.client)
    return messaging.receive(system, queue.name or "", operation="get", address=address, port=port)


# ---- what Redis is asked for by its transport ------------------------------------------------------------

_BOOKS = {
    "Channel": """
        __init__ _brpop_read _brpop_start _delete _do_restore_message _get _has_queue _new_queue _poll_error _purge _put
        _put_fanout _queue_bind _receive _refresh_bindings _restore _size _subscribe _unsubscribe_from close get_table
        maybe_refresh_binding_expiry sweep_bindings
    """,
    "QoS": "ack append reject restore_by_tag restore_unacked restore_visible",
    "MultiChannelPoller": "maybe_check_subclient_health maybe_restore_messages",
}

INSTRUMENTATION = Instrumentation(
    library="kombu",
    distribution="kombu",
    versions=">=5.0",
    options=("links",),
    hooks=(
        Hook("kombu.messaging:Producer.publish", PRODUCER, _publish, duration=messaging.SENDING, layer=messaging.LAYER),
        Hook("kombu.messaging:Consumer.receive", CONSUMER, _receive, duration=messaging.PROCESSING),
        Handed("kombu.messaging:Consumer.__init__", 6, "on_message", _on_message),
        Received("kombu.simple:SimpleBase.get", _got, failed=_failed),
        Received("kombu.entity:Queue.get", _got, failed=_failed),
        Muted("kombu.pidbox:Mailbox._publish", messaging.LAYER),
        Muted("kombu.pidbox:Mailbox._publish_reply", messaging.LAYER),
        *(
            Muted(f"kombu.transport.redis:{owner}.{name}", "db", optional=True)
            for owner, names in _BOOKS.items()
            for name in names.split()
        ),
    ),
)
