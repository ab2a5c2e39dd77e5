"""NATS: publish and request, subscriptions, and JetStream.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md; the convention doesn't know NATS, so
`messaging.system` is a name of ours.

`publish` and `request` are told of by what they send; a request lasts until its answer is there. A callback, and the
body of `async for message in subscription.messages`, process a message, as children of its sender: the span of a loop
is current until the loop asks for the next message, or the subscription is left. `next_msg` and JetStream's `fetch`
receive, with a link to each sender; where nothing came, nothing is told. Acknowledgements of JetStream are `settle`.

Inboxes are one destination, `_INBOX`, as their names are made up for each request. So are the keys of a bucket. What
the client says to JetStream itself (subjects that begin with `$JS`) is left alone. Headers are added to a message only
where the server knows headers, which it has since version 2.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from noops_agent.instrument import CLIENT, CONSUMER, PRODUCER, Args, Call, Hook, Instrumentation, Kwargs, messaging
from noops_agent.instrument.deliveries import Deliveries, Handed, Received
from noops_agent.instrument.leaf import Leaf

SYSTEM = "nats"
_INBOX = "_INBOX"
_ACK = "$JS.ACK."
_BUCKETS = ("$KV.", "$O.")
_ID = "Nats-Msg-Id"
_DEFAULT_PORT = 4222
_PAYLOADS = (bytes, bytearray, memoryview)
_HEADERS = (dict, type(None))
_OWN_CALLBACKS = ("_request_sub_callback", "_handle_async_reply")
"""Callbacks of the client itself, which hand answers to those who wait for them."""


@lru_cache(maxsize=4096)
def _destination(subject: str) -> str | None:
    """Give the destination that a subject stands for; None for what the client says to JetStream itself."""
    if subject.startswith("_INBOX."):
        return _INBOX
    if not subject.startswith("$"):
        return subject
    if subject.startswith(_BUCKETS):
        return ".".join(subject.split(".", 2)[:2])
    return None


@lru_cache(maxsize=64)
def _address(uri: Any) -> tuple[str, int | None]:
    return uri.hostname or "", None if uri.port == _DEFAULT_PORT else uri.port


def _server(client: Any) -> tuple[str, int | None]:
    server = client._current_server
    return ("", None) if server is None else _address(server.uri)


# ---- sending ---------------------------------------------------------------------------------------------


def _sent(client: Any, operation: str, args: Args, kwargs: Kwargs, place: int, stamped: bool = False) -> Call | None:
    """Describe a call `(subject, payload, ...)` whose headers are its argument number *place*."""
    subject = args[0] if args else kwargs.get("subject")
    headers = args[place] if len(args) > place else kwargs.get("headers")
    payload = args[1] if len(args) > 1 else kwargs.get("payload", b"")
    if not isinstance(subject, str) or not isinstance(payload, _PAYLOADS) or not isinstance(headers, _HEADERS):
        return None  # the client will say so
    destination = _destination(subject)
    if destination is None:
        return None
    message_id = headers.get(_ID) if headers else None
    if client._server_info.get("headers", True):
        headers = dict(headers) if headers else {}
        if len(args) > place:
            args = (*args[:place], headers, *args[place + 1 :])
        else:
            kwargs["headers"] = headers
    else:
        headers = None
    address, port = _server(client)
    return messaging.send(
        SYSTEM,
        destination,
        headers,
        operation=operation,
        temporary=destination is _INBOX,
        address=address,
        port=port,
        message_id=message_id,
        body_size=len(payload),
        stamped=stamped,
        args=args,
    )


def _publish(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _sent(client, "publish", args, kwargs, 3)


def _request(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    if args[3] if len(args) > 3 else kwargs.get("old_style"):
        return None  # it drops headers; what it publishes is told of
    return _sent(client, "request", args, kwargs, 4)


def _stream_publish(stream: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _sent(stream._nc, "publish", args, kwargs, 4, stamped=True)


# ---- receiving -------------------------------------------------------------------------------------------


def _stored(reply: str) -> tuple[int | None, str | None]:
    """Give the time (nanoseconds since the epoch) and the consumer of a message out of a stream.

    Its reply subject says so: `$JS.ACK.<stream>.<consumer>.<delivered>.<sequences: two>.<time>.<pending>`, where newer
    servers put a domain and an account before the stream.
    """
    if not reply.startswith(_ACK):
        return None, None
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    return int(tokens[first + 5]), tokens[first + 1]


def _processed(message: Any, pattern: str, group: str) -> Call | None:
    """Describe the processing of a message of a subscription."""
    destination = _destination(message.subject)
    if destination is None or destination.startswith("$"):
        return None  # watchers of buckets keep their own books
    headers = message.headers or messaging.NO_HEADERS
    sent_at, consumer = _stored(message.reply)
    address, port = _server(message._client)
    return messaging.process(
        SYSTEM,
        destination,
        headers,
        template=pattern if ("*" in pattern or ">" in pattern) and destination is not _INBOX else "",
        temporary=destination is _INBOX,
        group=group,
        address=address,
        port=port,
        message_id=headers.get(_ID),
        body_size=len(message.data),
        sent_at=sent_at,
        attributes={messaging.SUBSCRIPTION_NAME: consumer} if consumer else None,
    )


def _callback(client: Any, args: Args, kwargs: Kwargs) -> Hook | None:
    """Watch the callbacks of a subscription `(subject, queue, cb, ...)`."""
    pattern = args[0] if args else kwargs.get("subject", "")
    group = args[1] if len(args) > 1 else kwargs.get("queue", "")
    given = args[2] if len(args) > 2 else kwargs.get("cb")
    if given is None or getattr(given, "__name__", "") in _OWN_CALLBACKS or pattern.startswith("$"):
        return None

    def describe(_: Any, args: Args, kwargs: Kwargs) -> Call | None:
        return _processed(args[0], pattern, group)

    return Hook("nats.aio.client:Client.subscribe", CONSUMER, describe, duration=messaging.PROCESSING)


def _iterated(iterator: Any, args: Args, kwargs: Kwargs, message: Any) -> Call | None:
    subscription = iterator._sub
    return _processed(message, subscription.subject, subscription.queue)


def _next(subscription: Any, args: Args, kwargs: Kwargs, message: Any) -> Call | None:
    destination = _destination(message.subject)
    if destination is None:
        return None
    headers = message.headers or messaging.NO_HEADERS
    sent_at, consumer = _stored(message.reply)
    address, port = _server(message._client)
    return messaging.receive(
        SYSTEM,
        destination,
        (headers,),
        temporary=destination is _INBOX,
        group=subscription.queue or "",
        address=address,
        port=port,
        message_id=headers.get(_ID),
        body_size=len(message.data),
        sent_at=sent_at,
        attributes={messaging.SUBSCRIPTION_NAME: consumer} if consumer else None,
    )


def _fetched(subscription: Any, args: Args, kwargs: Kwargs, messages: list[Any]) -> Call | None:
    if not messages:
        return None
    subjects = {message.subject for message in messages}
    destination = _destination(subjects.pop()) if len(subjects) == 1 else None
    address, port = _server(subscription._nc)
    return messaging.receive(
        SYSTEM,
        destination or subscription._stream or "",
        [message.headers or messaging.NO_HEADERS for message in messages],
        operation="fetch",
        address=address,
        port=port,
        sent_at=min((at for at, _ in (_stored(message.reply) for message in messages) if at is not None), default=None),
        batch=True,
        attributes={messaging.SUBSCRIPTION_NAME: subscription._consumer} if subscription._consumer else None,
    )


def _settled(operation: str) -> Leaf:
    def describe(message: Any, args: Args, kwargs: Kwargs) -> Call | None:
        destination = _destination(message.subject)
        sent_at, consumer = _stored(message.reply)
        if sent_at is None or destination is None:
            return None
        address, port = _server(message._client)
        attributes = {messaging.SUBSCRIPTION_NAME: consumer}
        return messaging.settle(SYSTEM, destination, operation, address=address, port=port, attributes=attributes)

    return Leaf(
        f"nats.aio.msg:Msg.{operation}",
        CLIENT,
        describe,
        duration=messaging.SETTLING,
        layer=messaging.LAYER,
    )


_loops = Deliveries()
_ITERATOR = "nats.aio.subscription:_SubscriptionMessageIterator"

INSTRUMENTATION = Instrumentation(
    library="nats",
    distribution="nats-py",
    versions=">=2.1",
    hooks=(
        Leaf(
            "nats.aio.client:Client.publish",
            PRODUCER,
            _publish,
            duration=messaging.SENDING,
            layer=messaging.LAYER,
        ),
        Hook(
            "nats.aio.client:Client.request",
            CLIENT,
            _request,
            duration=messaging.SENDING,
            layer=messaging.LAYER,
        ),
        Hook(
            "nats.js.client:JetStreamContext.publish",
            PRODUCER,
            _stream_publish,
            duration=messaging.SENDING,
            layer=messaging.LAYER,
        ),
        Handed("nats.aio.client:Client.subscribe", 2, "cb", _callback),
        _loops.next(f"{_ITERATOR}.__anext__", _iterated),
        _loops.end(f"{_ITERATOR}._cancel", optional=True),
        Received("nats.aio.subscription:Subscription.next_msg", _next),
        Received("nats.js.client:JetStreamContext.PushSubscription.next_msg", _next, optional=True),
        Received("nats.js.client:JetStreamContext.PullSubscription.fetch", _fetched),
        _settled("ack"),
        _settled("ack_sync"),
        _settled("nak"),
        _settled("term"),
    ),
)
