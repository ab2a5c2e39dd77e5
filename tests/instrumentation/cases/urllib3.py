"""Calls of urllib3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3

from tests.instrumentation.http_origin import serve_plainly

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers, over one connection."""
    with serve_plainly() as origin, urllib3.PoolManager() as pool:
        yield [
            Case(
                "urllib3",
                call=lambda: pool.request("GET", f"{origin.url}/status/200"),
                fails=lambda: pool.request("GET", f"{origin.url}/abort", retries=False),
                excluded="/status",
                many=1000,
            )
        ]
