"""One record handed to aiokafka: all that its `send` does but the task that sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.aiokafka:AIOKafkaInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-aiokafka"
DDTRACE = "aiokafka"
REQUIRES = ("aiokafka",)


class Accumulator:
    """Where records wait: here the broker has them at once."""

    async def add_message(self, place: Any, *_: Any, **__: Any) -> Any:
        """Take a record."""
        from aiokafka.structs import RecordMetadata

        future = asyncio.get_running_loop().create_future()
        future.set_result(RecordMetadata(place.topic, place.partition, place, 0, 1, 0, 0))
        return future


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the call: `send` of a real producer that has no connection."""
    from aiokafka import AIOKafkaProducer

    producer: Any = AIOKafkaProducer(bootstrap_servers="127.0.0.1:9092")
    known = asyncio.get_running_loop().create_future()
    known.set_result(None)

    async def wait_on_metadata(_: str) -> None:
        await known

    producer.client._wait_on_metadata = wait_on_metadata
    producer._metadata.partitions_for_topic = lambda _: {0}
    producer._message_accumulator = Accumulator()
    producer._closed = True  # nothing was started, so nothing is to be stopped

    async def call() -> object:
        return await (await producer.send("benchmark", b"x", partition=0))

    return call
