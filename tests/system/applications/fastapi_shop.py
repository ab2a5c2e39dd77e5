"""FastAPI with asyncpg, httpx, aio-pika, background tasks, streams, middleware, a mounted application, WebSockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aio_pika
import asyncpg
import httpx
import metering
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

metering.measure()
QUEUE = os.environ.get("QUEUE", "noops-applications")
state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the pools."""
    state["pool"] = await asyncpg.create_pool(
        host="127.0.0.1", user="postgres", database="test", min_size=1, max_size=4
    )
    state["client"] = httpx.AsyncClient()
    if os.environ.get("RABBIT"):
        state["rabbit"] = await aio_pika.connect_robust("amqp://guest:guest@127.0.0.1/")
        state["channel"] = await state["rabbit"].channel()
        queue = await state["channel"].declare_queue(QUEUE, auto_delete=True)
        await queue.consume(consumed, no_ack=True)
    yield
    if "rabbit" in state:
        await state["rabbit"].close()
    await state["client"].aclose()
    await state["pool"].close()


async def consumed(message: Any) -> None:
    """Handle a message."""
    await state["pool"].fetchval("SELECT 'consumed'")


app = FastAPI(lifespan=lifespan)
sub = FastAPI()
router = APIRouter(prefix="/router")


class Stamp(BaseHTTPMiddleware):
    """A middleware as most people write them."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Add a header."""
        response: Response = await call_next(request)
        response.headers["x-stamp"] = "1"
        return response


app.add_middleware(Stamp)


async def database() -> AsyncIterator[Any]:
    """Give a connection for the time of the request."""
    async with state["pool"].acquire() as connection:
        yield connection


@app.get("/")
async def index() -> str:
    """Answer at once."""
    return "ok"


@app.get("/users/{user}")
async def user(user: int, connection: Annotated[Any, Depends(database)]) -> Any:
    """Ask the database."""
    return await connection.fetchval("SELECT $1::int + 41", user)


@app.get("/sync/{number}")
def sync(number: int) -> int:
    """Answer from the thread pool."""
    return number


@app.get("/proxy/{number}")
async def proxy(number: int, request: Request) -> Any:
    """Ask this server itself twice at once."""
    url = f"http://{request.headers['host']}/users/{number}?sig=secret"
    answers = await asyncio.gather(*(state["client"].get(url) for _ in range(2)))
    return [answer.json() for answer in answers]


@app.get("/publish")
async def publish() -> str:
    """Send a message."""
    message = aio_pika.Message(b"secret-body")
    await state["channel"].default_exchange.publish(message, routing_key=QUEUE)
    return "sent"


async def later(number: int) -> None:
    """Ask the database after the response."""
    await state["pool"].fetchval("SELECT $1::int", number)


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    """Leave work for later."""
    tasks.add_task(later, 1)
    return "later"


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Ask the database in the midst of the body."""

    async def rows() -> AsyncIterator[str]:
        yield "first\n"
        yield f"{await state['pool'].fetchval('SELECT 2')}\n"
        yield "last\n"

    return StreamingResponse(rows(), media_type="text/plain")


@app.get("/forever")
async def forever() -> StreamingResponse:
    """Stream until the client leaves."""

    async def rows() -> AsyncIterator[str]:
        while True:
            yield "x" * 10_000
            await asyncio.sleep(0.01)

    return StreamingResponse(rows(), media_type="text/plain")


@app.get("/boom")
async def boom() -> str:
    """Fail."""
    raise RuntimeError("boom")


@app.get("/teapot")
async def teapot() -> str:
    """Refuse."""
    raise HTTPException(418, "teapot")


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Answer with the body."""
    return Response(await request.body())


@router.get("/items/{item}")
async def item(item: str) -> str:
    """Answer with the name."""
    return item


@sub.get("/things/{thing}")
async def thing(thing: str) -> str:
    """Answer with the name."""
    return thing


@sub.get("/boom")
async def sub_boom() -> str:
    """Fail in the mounted application."""
    raise RuntimeError("sub boom")


@app.websocket("/ws/{room}")
async def talk(socket: WebSocket, room: str) -> None:
    """Say what was heard."""
    await socket.accept()
    heard = await socket.receive_text()
    await socket.send_text(f"{room}: {heard} {await state['pool'].fetchval('SELECT 7')}")
    await socket.close()


app.include_router(router)
app.mount("/sub", sub)
