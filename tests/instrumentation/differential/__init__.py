"""Small applications whose answers must be the same with the agent and without: one file for each framework.

Each has `LIBRARIES`, what is switched on for it, and `requests()`, which gives its requests by name: functions whose
outcome, an answer or an exception, is compared.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any
from wsgiref.handlers import SimpleHandler

from tests.instrumentation.gateways import call_asgi, make_environ, make_scope

Request = Callable[[], Any]


def outcome(request: Request) -> tuple[Any, ...]:
    """Make a request; give what came of it, comparable."""
    try:
        return "answered", request()
    except BaseException as error:
        return "raised", type(error), error.args, type(error.__cause__), type(error.__context__)


class Handler(SimpleHandler):
    """A handler that leaves the date out: it would be another one each second."""

    origin_server = False


def wire(app: Callable[..., Any], path: str, method: str = "GET", **more: Any) -> bytes:
    """Give the bytes that the server of the standard library sends for an application."""
    out = io.BytesIO()
    Handler(io.BytesIO(), out, io.StringIO(), make_environ(path, method, **more)).run(app)
    return out.getvalue()


def messages(app: Callable[..., Awaitable[Any]], path: str, method: str = "GET", **more: Any) -> Any:
    """Give the answer of an application, whose messages a server puts on the wire one by one."""
    return asyncio.run(call_asgi(app, path, method, **more))


def left(app: Callable[..., Awaitable[Any]], path: str, after: int) -> tuple[Any, ...]:
    """Cancel a request after some messages, as servers do when a client leaves; give what happened."""
    sent: list[Any] = []

    async def run() -> bool:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == after:
                task.cancel()
                await asyncio.sleep(0)

        task = asyncio.ensure_future(app(make_scope(path), receive, send))
        await asyncio.wait([task])
        return task.cancelled()

    return asyncio.run(run()), sent


def undated(answer: bytes) -> bytes:
    """Leave the date out: it would be another one each second."""
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Date:"))
