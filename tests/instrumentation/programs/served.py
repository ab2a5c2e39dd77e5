"""Applications that real servers run under the agent; none of them knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Nobody's framework, below WSGI."""
    start_response("200 OK", [("Content-Length", "4")])
    return [b"here"]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Nobody's framework, below ASGI."""
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"here"})


def flask() -> Any:
    """Flask, made by a factory."""
    import flask as framework

    app = framework.Flask("served")
    app.add_url_rule("/users/<int:number>", view_func=lambda number: "here")
    return app


def fastapi() -> Any:
    """FastAPI, made by a factory."""
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()

    @app.get("/users/{number}")
    async def user(number: int) -> PlainTextResponse:
        return PlainTextResponse("here")

    return app
