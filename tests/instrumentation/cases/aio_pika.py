"""aio-pika: sending through the default exchange."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case

URL = "amqp://guest:guest@127.0.0.1:5672/?heartbeat=0"


@contextmanager
def cases() -> Iterator[list[Case]]:
    """One call with a connection of its own: the suite has an event loop for each."""
    aio_pika = pytest.importorskip("aio_pika")
    try:
        socket.create_connection(("127.0.0.1", 5672), 2).close()
    except OSError:
        pytest.skip("RabbitMQ does not answer at 127.0.0.1:5672; start it with: rabbitmq-server -detached")

    async def publish() -> Any:
        async with await aio_pika.connect(URL) as connection:
            channel = await connection.channel(publisher_confirms=False)
            message = aio_pika.Message(b"x")
            await channel.default_exchange.publish(message, "nobody-listens-here", mandatory=False)

    yield [Case("aio_pika", acall=publish, many=200)]
