"""Calls of http.client."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.instrumentation.http_origin import serve_plainly

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers, over one connection."""
    with serve_plainly() as origin, closing(http.client.HTTPConnection("127.0.0.1", origin.port)) as connection:

        def get(path: str) -> bytes:
            connection.request("GET", path)
            return connection.getresponse().read()

        def break_off() -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", origin.port)) as other:
                other.request("GET", "/abort")
                other.getresponse()

        yield [
            Case("http_client", call=lambda: get("/status/200"), fails=break_off, excluded="/status", many=1000),
        ]
