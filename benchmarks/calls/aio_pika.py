"""One message published without confirmation; the broker drops it, as no queue is bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CONTRIB = "opentelemetry.instrumentation.aio_pika:AioPikaInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-aio-pika"
DDTRACE = None
REQUIRES = ("aio-pika",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Connect."""
    import aio_pika

    connection = await aio_pika.connect("amqp://guest:guest@127.0.0.1:5672/?heartbeat=0")
    channel = await connection.channel(publisher_confirms=False)
    exchange = channel.default_exchange
    return lambda: exchange.publish(aio_pika.Message(b"x"), "nobody-listens-here", mandatory=False)
