"""NATS: a message that is published."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a published message, and a request that nobody answers."""
    nats = pytest.importorskip("nats")
    try:
        socket.create_connection(("127.0.0.1", 4222), 2).close()
    except OSError:
        pytest.skip("NATS does not answer at 127.0.0.1:4222; start it with: nats-server -a 127.0.0.1 -js")
    loop = asyncio.new_event_loop()
    client: Any = loop.run_until_complete(nats.connect("nats://127.0.0.1:4222"))
    subject = f"noops.test.{uuid.uuid4().hex}"

    async def apublish() -> None:
        other = await nats.connect("nats://127.0.0.1:4222")
        try:
            await other.publish(subject, b"x")
        finally:
            await other.close()

    try:
        yield [
            Case(
                "nats",
                call=lambda: loop.run_until_complete(client.publish(subject, b"x")),
                acall=apublish,
                fails=lambda: loop.run_until_complete(client.request(subject, b"", timeout=5)),
            )
        ]
    finally:
        loop.run_until_complete(client.close())
        loop.close()
