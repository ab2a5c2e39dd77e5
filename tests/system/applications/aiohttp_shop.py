"""aiohttp with redis.asyncio and a client session; sub-applications, streams, WebSockets."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import aiohttp
import metering
import redis.asyncio as redis
from aiohttp import web

metering.measure()
KEY = os.environ.get("QUEUE", "noops-applications")
CACHE = web.AppKey("cache", redis.Redis)
CLIENT = web.AppKey("client", aiohttp.ClientSession)


async def resources(app: web.Application) -> AsyncIterator[None]:
    """Open what the handlers use."""
    app[CACHE] = redis.Redis(db=9)
    async with aiohttp.ClientSession() as app[CLIENT]:
        yield
    await app[CACHE].aclose()


async def index(request: web.Request) -> web.Response:
    """Answer at once."""
    return web.Response(text="ok")


async def user(request: web.Request) -> web.Response:
    """Ask the cache, in a pipeline too."""
    cache = request.app[CACHE]
    await cache.set(f"{KEY}:{request.match_info['user']}", "secret-value", ex=60)
    async with cache.pipeline() as pipeline:
        pipeline.get(f"{KEY}:1").delete(f"{KEY}:{request.match_info['user']}")
        await pipeline.execute()
    return web.json_response({"user": request.match_info["user"]})


async def proxy(request: web.Request) -> web.Response:
    """Ask this server itself."""
    async with request.app[CLIENT].get(f"http://{request.host}/users/1") as answer:
        return web.Response(body=await answer.read())


async def stream(request: web.Request) -> web.StreamResponse:
    """Send in pieces."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(3):
        await response.write(b"x" * 1000)
    await response.write_eof()
    return response


async def boom(request: web.Request) -> web.Response:
    """Fail."""
    raise RuntimeError("boom")


async def refuse(request: web.Request) -> web.Response:
    """Refuse."""
    raise web.HTTPForbidden(text="no")


def application() -> web.Application:
    """Make the application."""
    app, sub = web.Application(), web.Application()
    sub.router.add_get("/things/{thing}", index)
    app.router.add_get("/", index)
    app.router.add_get("/users/{user}", user)
    app.router.add_get("/proxy", proxy)
    app.router.add_get("/stream", stream)
    app.router.add_get("/boom", boom)
    app.router.add_get("/refuse", refuse)
    app.add_subapp("/sub", sub)
    app.cleanup_ctx.append(resources)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
