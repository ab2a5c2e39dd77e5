"""Calls of aiohttp client sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from tests.instrumentation.http_origin import serve
from tests.instrumentation.loops import looping

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers."""
    with serve() as origin, looping() as loop:

        async def opened() -> aiohttp.ClientSession:
            return aiohttp.ClientSession()

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
                many=500,
            )
        ]
        loop.run(session.close())
