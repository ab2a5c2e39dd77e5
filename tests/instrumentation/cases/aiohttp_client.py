"""Calls of aiohttp client sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from tests.instrumentation.http_origin import serve_plainly
from tests.instrumentation.loops import looping

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers."""
    with serve_plainly() as origin, looping() as loop:
        # a timer that is cancelled keeps its context until asyncio tidies up
        untimed = aiohttp.ClientTimeout(total=None)

        async def opened() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(timeout=untimed)

        session = loop.run(opened())

        async def ask(path: str, own: bool = False) -> Any:
            if own:
                async with aiohttp.ClientSession() as other, other.get(origin.url + path) as response:
                    return await response.read()
            async with session.get(origin.url + path) as response:
                return await response.read()

        yield [
            Case(
                "aiohttp_client",
                call=lambda: loop.run(ask("/status/200")),
                acall=lambda: ask("/status/200", own=True),
                fails=lambda: loop.run(ask("/abort")),
                excluded="/status",
                many=2000,
            )
        ]
        loop.run(session.close())
