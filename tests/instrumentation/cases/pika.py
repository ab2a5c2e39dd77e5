"""pika: sending, and asking for what was sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Calls on one blocking connection."""
    pika = pytest.importorskip("pika")
    try:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 5672, heartbeat=0))
    except pika.exceptions.AMQPConnectionError:
        pytest.skip("RabbitMQ does not answer at 127.0.0.1:5672; start it with: rabbitmq-server -detached")
    channel, strict = connection.channel(), connection.channel()
    strict.confirm_delivery()
    queue = f"noops-case-{uuid.uuid4().hex}"
    channel.queue_declare(queue, exclusive=True)

    def publish() -> None:
        channel.basic_publish("", "nobody-listens-here", b"x")

    def round_trip() -> bytes:
        channel.basic_publish("", queue, b"x")
        body: bytes = channel.basic_get(queue, auto_ack=True)[2]
        return body

    def refused() -> None:
        strict.basic_publish("", "nobody-listens-here", b"x", mandatory=True)

    yield [
        Case("pika", publish, fails=refused, name="publish"),
        Case("pika", round_trip, spans=2, name="round trip", many=1000),
    ]
    connection.close()
