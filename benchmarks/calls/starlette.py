"""One request through Starlette, in-process: the smallest coroutine, a path parameter, text back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.starlette:StarletteInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-starlette"
DDTRACE = "starlette"
REQUIRES = ("starlette",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the request."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from .asgi import request

    async def user(received: Any) -> PlainTextResponse:
        return PlainTextResponse("user")

    return request(Starlette(routes=[Route("/user/{number:int}", user)]))
