"""Anthropic's client: an answer and a stream, in both flavours, against a model on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.instrumentation.fake_genai import KEY, serving

from . import Case

MESSAGES = [{"role": "user", "content": "hi"}]


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield an answer, and a stream that is used up."""
    anthropic = pytest.importorskip("anthropic")
    with serving() as server, anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:

        def answer() -> None:
            client.messages.create(model="m", max_tokens=9, messages=MESSAGES)

        async def aanswer() -> None:
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, max_retries=0) as other:
                await other.messages.create(model="m", max_tokens=9, messages=MESSAGES)

        def refused() -> None:
            client.messages.create(model="refused", max_tokens=9, messages=MESSAGES)

        def stream() -> None:
            list(client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True))

        async def astream() -> None:
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, max_retries=0) as other:
                async for _ in await other.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True):
                    pass

        yield [
            Case("anthropic", call=answer, acall=aanswer, fails=refused, many=300),
            Case("anthropic", call=stream, acall=astream, name="stream", many=300),
        ]
