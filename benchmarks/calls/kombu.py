"""One message published to a broker in memory, where no queue takes it."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = None
CONTRIB_PACKAGE = ""
DDTRACE = "kombu"
REQUIRES = ("kombu",)


def prepare() -> Callable[[], object]:
    """Connect."""
    import kombu

    connection = kombu.Connection("memory://")
    exchange = kombu.Exchange("nobody", type="topic")
    producer = connection.Producer(exchange=exchange, auto_declare=True)
    return lambda: producer.publish("x", routing_key="nobody-listens-here")
