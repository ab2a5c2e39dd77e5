"""What is particular to aiohttp's client; the rest is in test_http_clients.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from opentelemetry.trace import StatusCode
from yarl import URL

from .conftest import Observe
from .http_origin import Origin, serve


@pytest.fixture(scope="module")
def running() -> Iterator[Origin]:
    """One server for all tests."""
    with serve() as origin:
        yield origin


@pytest.fixture
def origin(running: Origin) -> Origin:
    """The server, with no request so far."""
    running.requests.clear()
    return running


def test_traces_of_the_program_stay(origin: Origin, observed: Observe) -> None:
    """Its `TraceConfig`s are the ones of its session, and none of ours is among them."""
    events: list[str] = []
    config = aiohttp.TraceConfig()

    async def started(session: Any, context: Any, given: Any) -> None:
        events.append(given.method)

    config.on_request_start.append(started)

    async def ask() -> None:
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            assert session.trace_configs == [config]
            async with session.get(f"{origin.url}/status/200"):
                pass

    with observed("aiohttp_client") as seen:
        asyncio.run(ask())
    assert events == ["GET"]
    assert len(seen.spans) == 1


def test_a_url_is_shown_as_it_is_asked_for(origin: Origin, observed: Observe) -> None:
    """Joined to the session's own, and with the parameters of the call."""

    async def ask() -> None:
        async with aiohttp.ClientSession(origin.url) as session:
            await session.get("/status/200", params={"a": "b c"})
        async with aiohttp.ClientSession() as session:
            await session.get(URL(origin.url) / "status/200", params=[("a", "1"), ("a", "2")])
            await session.get(f"{origin.url}/status/200?x=1", params="y=2")

    with observed("aiohttp_client") as seen:
        asyncio.run(ask())
    shown = [span.attributes["url.full"].removeprefix(f"{origin.url}/status/200") for span in seen.spans]
    assert shown == ["?a=b+c", "?a=1&a=2", "?x=1&y=2"]
    assert [target for _, target, _ in origin.requests] == [f"/status/200{query}" for query in shown]


def test_headers_of_every_kind_stay_as_they_are(origin: Origin, observed: Observe) -> None:
    """We write into a copy; a session's own header of the name gives way too."""
    own = CIMultiDict([("X-Mine", "1"), ("X-Mine", "2")])
    old = {"traceparent": "00-1-1-01"}

    async def ask() -> None:
        async with aiohttp.ClientSession(headers=old) as session:
            await session.get(f"{origin.url}/status/200", headers=own)
            await session.get(f"{origin.url}/status/200", headers=[("X-Mine", "3")])

    with observed("aiohttp_client"):
        asyncio.run(ask())
    assert list(own.items()) == [("X-Mine", "1"), ("X-Mine", "2")]
    assert old == {"traceparent": "00-1-1-01"}
    assert origin.headers("x-mine", 0) == ["1", "2"]
    assert origin.headers("x-mine", 1) == ["3"]
    assert [len(origin.headers("traceparent", at)) for at in (0, 1)] == [1, 1]
    assert "00-1-1-01" not in origin.headers("traceparent")


def test_a_status_that_is_raised_is_known(origin: Origin, observed: Observe) -> None:
    """`raise_for_status` makes an exception of an answer."""

    async def ask() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            with pytest.raises(aiohttp.ClientResponseError):
                await session.get(f"{origin.url}/status/503")

    with observed("aiohttp_client") as seen:
        asyncio.run(ask())
    assert seen.span.attributes["http.response.status_code"] == 503
    assert seen.span.attributes["error.type"] == "503"


def test_misuse_is_refused_as_ever(observed: Observe) -> None:
    """However often: what is wrong with the program must not switch us off."""

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(5):
                with pytest.raises(TypeError):
                    await session.get(42)  # type: ignore[arg-type]
                with pytest.raises(aiohttp.InvalidURL):
                    await session.get("no-host")
                with pytest.raises((TypeError, ValueError)):
                    await session.get("http://127.0.0.1/", headers=42)  # type: ignore[arg-type]

    with observed("aiohttp_client") as seen:
        asyncio.run(ask())
        assert seen.handle is not None
        assert seen.handle.live._failures == {}


def test_a_cancelled_request_is_told_as_such(origin: Origin, observed: Observe) -> None:
    """Cancellation reaches the task, and is no failure that anybody needs to look into."""

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            task = asyncio.ensure_future(session._request("GET", f"{origin.url}/slow"))
            while not origin.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with observed("aiohttp_client") as seen:
        asyncio.run(ask())
    assert seen.span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert seen.span.status.status_code is StatusCode.UNSET


def test_a_websocket_is_one_handshake(observed: Observe) -> None:
    """The request that asks for it is a span; what is said over it is not."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def ask() -> str:
        app = web.Application()
        app.add_routes([web.get("/ws", talk)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/ws"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_str("hello")
            said = await socket.receive_str()
        await runner.cleanup()
        return said

    with observed("aiohttp_client") as seen:
        assert asyncio.run(ask()) == "hello"
    assert seen.span.attributes["http.response.status_code"] == 101
    assert seen.span.status.status_code is StatusCode.UNSET
