"""aiokafka: a record that is sent and acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..fake_kafka import broker
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a record that is sent."""
    aiokafka = pytest.importorskip("aiokafka")
    with broker() as server:
        server.keeps = False
        loop = asyncio.new_event_loop()

        async def start() -> Any:
            made = aiokafka.AIOKafkaProducer(bootstrap_servers=server.address)
            await made.start()
            return made

        async def asend() -> None:
            other = await start()
            try:
                await other.send_and_wait("cases", b"x")
                await asyncio.sleep(0)
            finally:
                await other.stop()

        async def refused() -> None:
            await producer.send("cases", b"x", partition=7)

        producer = loop.run_until_complete(start())
        yield [
            Case(
                "aiokafka",
                call=lambda: loop.run_until_complete(producer.send_and_wait("cases", b"x")),
                acall=asend,
                fails=lambda: loop.run_until_complete(refused()),
                many=1000,
            )
        ]
        loop.run_until_complete(producer.stop())
        loop.close()
