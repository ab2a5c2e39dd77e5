"""Calls of HTTPX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.instrumentation.http_origin import serve_plainly

from . import Case


def answer(request: httpx.Request) -> httpx.Response:
    """Answer without a network."""
    return httpx.Response(200, text="ok")


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers, and a transport without any."""
    transport = httpx.MockTransport(answer)
    with (
        serve_plainly() as origin,
        httpx.Client(trust_env=False) as client,
        httpx.Client(transport=transport) as mocked,
    ):

        async def get() -> Any:
            async with httpx.AsyncClient(transport=transport) as other:
                return await other.get("http://mocked/")

        yield [
            Case(
                "httpx",
                call=lambda: client.get(f"{origin.url}/status/200"),
                fails=lambda: client.get(f"{origin.url}/abort"),
                excluded="/status",
                many=500,
            ),
            Case(
                "httpx", call=lambda: mocked.get("http://mocked/"), acall=get, excluded="mocked", name="own", many=2000
            ),
        ]
