"""OpenAI's client: an answer and a stream, in both flavours, against a model on the loopback."""

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
    openai = pytest.importorskip("openai")
    with serving() as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:

        def answer() -> None:
            client.chat.completions.create(model="m", messages=MESSAGES)

        async def aanswer() -> None:
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as other:
                await other.chat.completions.create(model="m", messages=MESSAGES)

        def refused() -> None:
            client.chat.completions.create(model="refused", messages=MESSAGES)

        def stream() -> None:
            list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

        async def astream() -> None:
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as other:
                async for _ in await other.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                    pass

        yield [
            Case("openai", call=answer, acall=aanswer, fails=refused, many=300),
            Case("openai", call=stream, acall=astream, name="stream", many=300),
        ]
