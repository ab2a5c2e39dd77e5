"""One request through FastAPI, in-process: the smallest coroutine, a path parameter, JSON back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CONTRIB = "opentelemetry.instrumentation.fastapi:FastAPIInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-fastapi"
DDTRACE = "fastapi"
REQUIRES = ("fastapi",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the request."""
    from fastapi import FastAPI

    from .asgi import request

    app = FastAPI()

    @app.get("/user/{number}")
    async def user(number: int) -> dict[str, int]:
        return {"user": number}

    return request(app)
