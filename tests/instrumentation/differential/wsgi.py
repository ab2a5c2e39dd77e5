"""A bare WSGI application, below the server of the standard library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import Request, wire

LIBRARIES = ("wsgi",)


def listed(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    """One chunk, of which the server derives the length."""
    start_response("200 OK", [("X-Keys", " ".join(sorted(environ)).replace(" noops.exchange", ""))])
    return [b"here"]


def generated(environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
    """A generator that starts its response late, and fails in the end."""
    yield b""
    start_response("200 OK", [])
    yield b"here"
    raise ZeroDivisionError("on purpose")


def written(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    """The oldest way."""
    start_response("200 OK", [])(b"here")
    return [b"and here"]


def silent(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    """Never starts its response: the server complains."""
    return [b"here"]


def failing(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    """Fails before anything is sent."""
    raise ZeroDivisionError("on purpose")


def texts(environ: Any, start_response: Callable[..., Any]) -> list[Any]:
    """Gives what no server takes."""
    start_response("200 OK", [])
    return ["here"]


def requests() -> dict[str, Request]:
    """Good and bad applications."""
    return {app.__name__: partial(wire, app, "/") for app in (listed, generated, written, silent, failing, texts)}
