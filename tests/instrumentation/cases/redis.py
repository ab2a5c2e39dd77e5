"""Redis: a command in both flavours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a command, and a pipeline."""
    redis = pytest.importorskip("redis")
    aioredis = pytest.importorskip("redis.asyncio")
    key = f"noops-test:{uuid.uuid4().hex}"
    client = redis.Redis(host="127.0.0.1")
    try:
        client.ping()
    except redis.ConnectionError:
        pytest.skip("Redis does not answer at 127.0.0.1:6379; start it with: redis-server --port 6379")

    async def get() -> None:
        other = aioredis.Redis(host="127.0.0.1", single_connection_client=True)
        try:
            await other.get(key)
        finally:
            await (other.aclose() if hasattr(other, "aclose") else other.close())

    def pipelined() -> None:
        client.pipeline().set(key, "1").delete(key).execute()

    async def apipelined() -> None:
        other = aioredis.Redis(host="127.0.0.1")
        try:
            await other.pipeline().set(key, "1").delete(key).execute()
        finally:
            await (other.aclose() if hasattr(other, "aclose") else other.close())

    def refused() -> None:
        client.execute_command("NOSUCHCOMMAND")

    yield [
        Case("redis", call=lambda: client.get(key), acall=get, fails=refused),
        Case("redis", call=pipelined, acall=apipelined, name="pipeline"),
    ]
    client.close()
