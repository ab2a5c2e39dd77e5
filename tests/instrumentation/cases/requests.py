"""Calls of requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.instrumentation.http_origin import serve_plainly

from . import Case


class Immediate(requests.adapters.BaseAdapter):
    """An adapter of the program's own, without a network."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Answer at once."""
        response = requests.Response()
        response.status_code = 200
        response.request, response.url = request, request.url
        response._content = b"ok"
        return response

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A loopback server answers, and an adapter without any."""
    with serve_plainly() as origin, requests.Session() as session:
        session.trust_env = False
        session.mount("http://immediate", Immediate())
        yield [
            Case(
                "requests",
                call=lambda: session.get(f"{origin.url}/status/200"),
                fails=lambda: session.get(f"{origin.url}/abort"),
                excluded="/status",
                many=500,
            ),
            Case("requests", call=lambda: session.get("http://immediate/"), excluded="immediate", name="own adapter"),
        ]
