"""One message published on a blocking channel; the broker drops it, as no queue is bound."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.pika:PikaInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-pika"
DDTRACE = None
REQUIRES = ("pika",)


def prepare() -> Callable[[], object]:
    """Connect."""
    import pika

    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 5672, heartbeat=0))
    channel = connection.channel()
    return lambda: channel.basic_publish("", "nobody-listens-here", b"x")
