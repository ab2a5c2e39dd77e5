"""Requests to a bare WSGI application, through the server of the standard library."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.handlers import SimpleHandler

from tests.instrumentation.gateways import make_environ

from . import Case


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer at once."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]


def get() -> bytes:
    """Make a request."""
    out = io.BytesIO()
    SimpleHandler(io.BytesIO(), out, io.StringIO(), make_environ("/users")).run(app)
    return out.getvalue()


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The application is given to the server anew each time."""
    yield [Case("wsgi", call=get, excluded="/users", many=3000)]
