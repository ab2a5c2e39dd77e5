"""Calls of urllib.request."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.instrumentation.http_origin import serve_plainly

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers."""
    with serve_plainly() as origin:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        yield [
            Case(
                "urllib",
                call=lambda: opener.open(f"{origin.url}/status/200").read(),
                fails=lambda: opener.open(f"{origin.url}/abort"),
                excluded="/status",
                many=1000,
            )
        ]
