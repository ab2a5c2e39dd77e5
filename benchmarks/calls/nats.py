"""One message handed to a NATS connection; it is sent with others, later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CONTRIB = None
CONTRIB_PACKAGE = None
DDTRACE = None
REQUIRES = ("nats-py",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the call: a message to a subject of a real server that nobody listens to."""
    import nats

    client = await nats.connect("nats://127.0.0.1:4222")
    return lambda: client.publish("noops.benchmark", b"x")
