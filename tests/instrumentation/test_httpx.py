"""What is particular to HTTPX; the rest is in test_http_clients.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.trace import StatusCode

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


def echo(request: httpx.Request) -> httpx.Response:
    """Answer with the headers, over HTTP/2."""
    return httpx.Response(200, json=dict(request.headers), extensions={"http_version": b"HTTP/2"})


def test_any_transport_is_seen(observed: Observe) -> None:
    """The program's own as well as mounted ones; the version is what the transport says."""
    own = httpx.MockTransport(echo)
    with observed("httpx") as seen, httpx.Client(mounts={"all://mounted": own}) as mounted:
        with httpx.Client(transport=own) as client:
            assert "traceparent" in client.get("http://own/").json()
        assert "traceparent" in mounted.get("http://mounted/").json()
    assert [span.attributes["server.address"] for span in seen.spans] == ["own", "mounted"]
    assert {span.attributes["network.protocol.version"] for span in seen.spans} == {"2"}


def test_a_request_is_as_it_was(observed: Observe) -> None:
    """The headers of an attempt are its own: the program's request is the same object, with the same headers."""
    with observed("httpx"), httpx.Client(transport=httpx.MockTransport(echo)) as client:
        request = client.build_request("GET", "http://there/", headers={"X-Mine": "1"})
        headers, before = request.headers, request.headers.multi_items()
        response = client.send(request)
        assert response.request is request
        assert request.headers is headers
        assert headers.multi_items() == before


def test_event_hooks_and_authentication_stay(origin: Origin, observed: Observe) -> None:
    """What the program hung onto its client is called as without us, and an answer to a challenge is a span too."""
    called: list[Any] = []
    hooks = {"request": [lambda request: called.append(request.method)], "response": [called.append]}

    class Answer(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Any:
            response = yield request
            if response.status_code == 401:
                request.headers["Authorization"] = "x"
                yield request

    with observed("httpx") as seen, httpx.Client(event_hooks=hooks, trust_env=False) as client:
        assert client.get(f"{origin.url}/auth", auth=Answer()).status_code == 200
    assert [span.attributes["http.response.status_code"] for span in seen.spans] == [401, 200]
    assert len(called) == 4


def test_a_stream_is_read_after_its_span(origin: Origin, observed: Observe) -> None:
    """The span ends with the headers; the body comes whole, in both flavours."""

    async def read() -> bytes:
        url = f"{origin.url}/stream"
        async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
            return b"".join([part async for part in response.aiter_bytes()])

    with observed("httpx") as seen, httpx.Client(trust_env=False) as client:
        with client.stream("GET", f"{origin.url}/stream") as response:
            assert len(seen.spans) == 1
            assert b"".join(response.iter_bytes()) == b"onetwothree"
        assert asyncio.run(read()) == b"onetwothree"
    assert len(seen.spans) == 2


def test_a_streamed_request_is_sent_whole(origin: Origin, observed: Observe) -> None:
    """A body that is made while it is sent passes through us untouched."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def send() -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(f"{origin.url}/status/200", content=parts())).status_code

    with observed("httpx") as seen:
        assert asyncio.run(send()) == 200
    assert seen.span.name == "POST"


def test_a_cancelled_request_is_told_as_such(origin: Origin, observed: Observe) -> None:
    """Cancellation reaches the task, and is no failure that anybody needs to look into."""

    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            task = asyncio.ensure_future(client.get(f"{origin.url}/slow"))
            while not origin.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with observed("httpx") as seen:
        asyncio.run(ask())
    assert seen.span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert seen.span.status.status_code is StatusCode.UNSET
    assert seen.span.events == ()


def test_concurrent_requests_do_not_mix(observed: Observe) -> None:
    """Each task's request is a child of what is current there."""

    async def one(client: httpx.AsyncClient, tracer: Any, name: str) -> None:
        with tracer.start_as_current_span(name):
            await client.get(f"http://{name}/")

    async def all_of_them(tracer: Any) -> None:
        async def slow(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0)
            return httpx.Response(200)

        async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as client:
            await asyncio.gather(*(one(client, tracer, f"host{at}") for at in range(20)))

    with observed("httpx") as seen:
        asyncio.run(all_of_them(seen.tracer))
    outer = {span.name: span.get_span_context().span_id for span in seen.spans if span.name != "GET"}
    inner = [span for span in seen.spans if span.name == "GET"]
    assert len(inner) == 20
    assert all(span.parent.span_id == outer[span.attributes["server.address"]] for span in inner)


def test_a_url_is_shown_as_it_is_asked_for(observed: Observe) -> None:
    """Ports, brackets, and what must be encoded."""
    with observed("httpx") as seen, httpx.Client(transport=httpx.MockTransport(echo)) as client:
        for url in ("http://[::1]:81/a b?c=d e", "https://h:443", "http://u:p@h/x#y", "http://bücher.example/é"):
            client.get(url)
    assert [span.attributes["url.full"] for span in seen.spans] == [
        "http://[::1]:81/a%20b?c=d%20e",
        "https://h",
        "http://REDACTED:REDACTED@h/x#y",
        "http://xn--bcher-kva.example/%C3%A9",
    ]
    assert [span.attributes["server.port"] for span in seen.spans] == [81, 443, 80, 80]
