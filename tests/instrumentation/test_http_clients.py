"""What all HTTP clients have in common, each library against a real socket on loopback."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest
import requests
import urllib3
from opentelemetry.trace import SpanKind, StatusCode
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from .conftest import Observe, Seen
from .http_origin import Origin, free_port, serve

BASE = "http.request.method", "server.address", "server.port", "url.full"


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


# ---- the same request by every library ---------------------------------------------------------------------


def by_urllib(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by urllib."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=timeout) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def by_http_client(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by http.client, which knows nothing of redirects."""
    parts = urllib3.util.parse_url(url)
    with closing(http.client.HTTPConnection(parts.host, parts.port, timeout=timeout)) as connection:
        connection.request(method, parts.request_uri, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status


def by_urllib3(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by urllib3."""
    with urllib3.PoolManager() as pool:
        retries = urllib3.Retry(total=5, connect=False, read=False)
        return int(pool.request(method, url, headers=headers, timeout=timeout, retries=retries).status)


def by_requests(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by requests."""
    with requests.Session() as session:
        session.trust_env = False
        return int(session.request(method, url, headers=headers, timeout=timeout).status_code)


def by_httpx(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by HTTPX."""
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=timeout) as client:
        return int(client.request(method, url, headers=headers).status_code)


def by_async_httpx(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by HTTPX in asyncio."""

    async def ask() -> int:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True, timeout=timeout) as client:
            return int((await client.request(method, url, headers=headers)).status_code)

    return asyncio.run(ask())


def by_aiohttp(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by aiohttp."""

    async def ask() -> int:
        limit = aiohttp.ClientTimeout(total=timeout)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers, timeout=limit) as response,
        ):
            await response.read()
            return int(response.status)

    return asyncio.run(ask())


def by_tornado(url: str, headers: Any, method: str = "GET", timeout: float = 5) -> int:
    """Ask by Tornado's client."""

    async def ask() -> int:
        try:
            response = await AsyncHTTPClient().fetch(
                url, headers=headers, method=method, request_timeout=timeout, allow_nonstandard_methods=True
            )
        except HTTPClientError as error:
            if error.response is None:
                raise
            return int(error.code)
        return int(response.code)

    return asyncio.run(ask())


class Client(NamedTuple):
    """A library, and how it asks."""

    library: str
    ask: Callable[..., int]
    attempts: bool = True
    """Each attempt has a span."""
    redirects: bool = True
    """It follows redirects."""


CLIENTS = {
    "urllib": Client("urllib", by_urllib),
    "http.client": Client("http_client", by_http_client, redirects=False),
    "urllib3": Client("urllib3", by_urllib3),
    "requests": Client("requests", by_requests),
    "httpx": Client("httpx", by_httpx),
    "httpx-async": Client("httpx", by_async_httpx),
    "aiohttp": Client("aiohttp_client", by_aiohttp, attempts=False),
    "tornado": Client("tornado", by_tornado, attempts=False),
}
every = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


# ---- what is recorded --------------------------------------------------------------------------------------


@every
def test_a_request_is_a_client_span_named_by_its_method(client: Client, origin: Origin, observed: Observe) -> None:
    """The path is no part of the name: it would make as many names as there are users."""
    with observed(client.library) as seen:
        assert client.ask(f"{origin.url}/status/200?a=b", {}) == 200
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("GET", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": origin.port,
        "url.full": f"{origin.url}/status/200?a=b",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }


@every
def test_its_duration_is_measured_with_few_attributes(client: Client, origin: Origin, observed: Observe) -> None:
    """An attribute of a measurement must have few values: never the URL."""
    with observed(client.library) as seen:
        client.ask(f"{origin.url}/status/404", {})
        (point,) = seen.metrics()["http.client.request.duration"]
    assert point.count == 1
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": origin.port,
        "http.response.status_code": 404,
        "error.type": "404",
        "network.protocol.version": "1.1",
    }


@every
@pytest.mark.parametrize("status", [404, 500])
def test_a_status_from_400_is_an_error_of_a_client(
    client: Client, status: int, origin: Origin, observed: Observe
) -> None:
    """Whoever asked did not get what was asked for; the code says why, so there is no description."""
    with observed(client.library) as seen:
        assert client.ask(f"{origin.url}/status/{status}", {}) == status
    span = seen.span
    assert span.attributes["error.type"] == str(status)
    assert span.attributes["http.response.status_code"] == status
    assert span.status.status_code is StatusCode.ERROR


@every
def test_the_servers_parent_is_the_span_of_the_attempt(client: Client, origin: Origin, observed: Observe) -> None:
    """The header names the span that is recorded, which is a child of what was current."""
    with observed(client.library) as seen, seen.tracer.start_as_current_span("outer") as outer:
        client.ask(f"{origin.url}/status/200", {})
    span = seen.named("GET")
    (header,) = origin.headers("traceparent")
    context = span.get_span_context()
    assert header.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert span.parent.span_id == outer.get_span_context().span_id


@every
@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TraceParent"])
def test_a_header_that_is_there_already_is_replaced(
    client: Client, name: str, origin: Origin, observed: Observe
) -> None:
    """A second `traceparent` makes both invalid; and what the program handed in stays as it was."""
    headers = {name: f"00-{1:032x}-{1:016x}-01", "X-Mine": "1"}
    given = dict(headers)
    with observed(client.library) as seen:
        client.ask(f"{origin.url}/status/200", headers)
    (header,) = origin.headers("traceparent")
    assert f"{seen.span.get_span_context().span_id:016x}" in header
    assert origin.headers("x-mine") == ["1"]
    assert headers == given


@every
def test_baggage_and_trace_state_travel_too(client: Client, origin: Origin, observed: Observe) -> None:
    """All propagators write, not only the one for the span."""
    from opentelemetry import baggage, context

    with observed(client.library):
        token = context.attach(baggage.set_baggage("user", "ann"))
        client.ask(f"{origin.url}/status/200", {})
        context.detach(token)
    assert origin.headers("baggage") == ["user=ann"]


@every
def test_secrets_in_a_url_are_redacted(client: Client, origin: Origin, observed: Observe) -> None:
    """Keys of the convention keep their name and lose their value."""
    with observed(client.library) as seen:
        client.ask(f"{origin.url}/status/200?x=1&X-Amz-Signature=s3cr3t&sig=s3cr3t", {})
    assert seen.span.attributes["url.full"] == f"{origin.url}/status/200?x=1&X-Amz-Signature=REDACTED&sig=REDACTED"
    assert "s3cr3t" in origin.requests[0][1]


@every
def test_excluded_urls_make_nothing(client: Client, origin: Origin, observed: Observe) -> None:
    """No span, no measurement, no headers: as if the library were not instrumented."""
    with observed(client.library, excluded_urls=("/status",)) as seen:
        client.ask(f"{origin.url}/status/200", {})
        assert seen.spans == []
        assert "http.client.request.duration" not in seen.metrics()
    assert origin.headers("traceparent") == []


@every
def test_headers_are_recorded_where_the_user_asks(client: Client, origin: Origin, observed: Observe) -> None:
    """Those that carry secrets say only that they were there."""
    options = {"request_headers": ("x-mine", "authorization"), "response_headers": ("X-Answer",)}
    with observed(client.library, **options) as seen:
        client.ask(f"{origin.url}/status/200", {"X-Mine": "1", "Authorization": "Basic czNjcjN0"})
    attributes = seen.span.attributes
    assert attributes["http.request.header.x-mine"] == ("1",)
    assert attributes["http.request.header.authorization"] == ("[REDACTED]",)
    assert attributes["http.response.header.x-answer"] == ("42",)


@every
def test_hooks_see_span_request_and_response(client: Client, origin: Origin, observed: Observe) -> None:
    """A program can rename and enrich; what a hook raises stays with us."""

    def on_request(span: Any, request: Any) -> None:
        assert request is not None
        span.update_name("renamed")

    def on_response(span: Any, request: Any, response: Any) -> None:
        span.set_attribute("response.type", type(response).__name__)
        raise RuntimeError("a mistake of the user's")

    with observed(client.library, request_hook=on_request, response_hook=on_response) as seen:
        assert client.ask(f"{origin.url}/status/200", {}) == 200
    assert seen.span.name == "renamed"
    assert "Response" in seen.span.attributes["response.type"]


@pytest.mark.parametrize("name", ["urllib", "http.client", "urllib3", "requests", "httpx", "aiohttp", "tornado"])
def test_a_method_that_nobody_knows_is_other(name: str, origin: Origin, observed: Observe) -> None:
    """Methods are an attribute of measurements, so what a program makes up must not become one."""
    client = CLIENTS[name]
    with observed(client.library) as seen:
        assert client.ask(f"{origin.url}/status/200", {}, "BREW") == 200
    span = seen.span
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


# ---- attempts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["urllib", "urllib3", "requests", "httpx", "httpx-async"])
def test_each_step_of_a_redirect_is_a_span(name: str, origin: Origin, observed: Observe) -> None:
    """Steps are siblings that count; each server sees the span of its own step."""
    client = CLIENTS[name]
    with observed(client.library) as seen, seen.tracer.start_as_current_span("outer"):
        assert client.ask(f"{origin.url}/redirect/2", {}) == 200
    steps = [span for span in seen.spans if span.name == "GET"]
    assert [step.attributes["url.full"].removeprefix(origin.url) for step in steps] == [
        "/redirect/2",
        "/redirect/1",
        "/status/200",
    ]
    assert [step.attributes.get("http.request.resend_count") for step in steps] == [None, 1, 2]
    assert [step.attributes["http.response.status_code"] for step in steps] == [302, 302, 200]
    assert len({step.parent.span_id for step in steps}) == 1
    sent = [origin.headers("traceparent", at) for at in range(3)]
    assert [one[0].split("-")[2] for one in sent] == [f"{s.get_span_context().span_id:016x}" for s in steps]
    assert [len(one) for one in sent] == [1, 1, 1]


@pytest.mark.parametrize("name", ["aiohttp", "tornado"])
def test_clients_that_hide_their_steps_have_one_span(name: str, origin: Origin, observed: Observe) -> None:
    """It has the URL that was asked for, and the status that was got."""
    client = CLIENTS[name]
    with observed(client.library) as seen:
        assert client.ask(f"{origin.url}/redirect/2", {}) == 200
    assert seen.span.attributes["url.full"] == f"{origin.url}/redirect/2"
    assert seen.span.attributes["http.response.status_code"] == 200


# ---- failures ----------------------------------------------------------------------------------------------


def failure(client: Client, url: str, seen: Seen | None = None, **given: Any) -> BaseException:
    """Ask in vain."""
    with pytest.raises(BaseException) as caught:
        client.ask(url, {}, **given)
    return caught.value


@every
@pytest.mark.parametrize("path", ["/abort", "refused", "/slow"])
def test_failures_reach_the_program_as_they_are(client: Client, path: str, origin: Origin, observed: Observe) -> None:
    """Same type and text with us as without; the span has the type and the exception."""
    url, given = origin.url + path, {}
    if path == "refused":
        url = f"http://127.0.0.1:{free_port()}/"
    if path == "/slow":
        given = {"timeout": 0.05}
    without = failure(client, url, **given)
    with observed(client.library) as seen:
        error = failure(client, url, **given)
    assert type(error) is type(without)
    span = seen.span
    assert span.status.status_code is StatusCode.ERROR
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["error.type"].rpartition(".")[2] in {type(kind).__name__ for kind in chain(error)}
    (event,) = span.events
    assert event.attributes["exception.type"] == span.attributes["error.type"]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an exception and all that it came from."""
    while error is not None:
        yield error
        yield from (arg for arg in error.args if isinstance(arg, BaseException))
        error = error.__cause__ or error.__context__


@every
def test_a_body_that_breaks_off_is_the_programs_to_see(client: Client, origin: Origin, observed: Observe) -> None:
    """A span ends with the headers of the response, for the body may never be read; its error reaches the reader."""

    def outcome() -> Any:
        try:
            return client.ask(f"{origin.url}/broken", {})
        except Exception as error:
            return type(error)

    without = outcome()
    with observed(client.library) as seen:
        assert outcome() == without
    assert len(seen.spans) == 1


@every
def test_a_suppressed_request_makes_nothing(client: Client, origin: Origin, observed: Observe) -> None:
    """So is the delivery of telemetry kept out of telemetry."""
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with observed(client.library) as seen:
        with suppress_instrumentation():
            client.ask(f"{origin.url}/status/200", {})
        assert seen.spans == []
    assert origin.headers("traceparent") == []


def test_credentials_in_a_url_are_redacted(origin: Origin, observed: Observe) -> None:
    """The library uses them; the span shows that there were some."""
    url = f"http://user:s3cr3t@127.0.0.1:{origin.port}/auth"
    for name in ("requests", "httpx", "aiohttp"):
        client = CLIENTS[name]
        with observed(client.library) as seen:
            client.ask(url, {})
        (shown,) = {span.attributes["url.full"] for span in seen.spans}
        assert "s3cr3t" not in shown
        assert seen.spans[-1].attributes["server.address"] == "127.0.0.1"


# ---- layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requests", "urllib3", "urllib", "http.client"])
def test_of_clients_built_on_each_other_the_outermost_speaks(name: str, origin: Origin, observed: Observe) -> None:
    """requests on urllib3 on http.client: one request, one span, one header."""
    client = CLIENTS[name]
    others = [other for other in ("requests", "urllib3", "urllib", "http_client") if other != client.library]
    with observed(client.library, *others) as seen:
        client.ask(f"{origin.url}/status/200", {})
        assert sum(point.count for point in seen.metrics()["http.client.request.duration"]) == 1
    assert seen.span.instrumentation_scope.name.endswith(client.library)
    assert len(origin.headers("traceparent")) == 1


@pytest.mark.parametrize("name", ["requests", "urllib3", "urllib"])
def test_an_excluded_request_keeps_the_clients_beneath_quiet(name: str, origin: Origin, observed: Observe) -> None:
    """The user excludes what is asked for, not one of the libraries that have a part in it."""
    client = CLIENTS[name]
    others = [other for other in ("urllib3", "http_client") if other != client.library]
    with observed(client.library, *others, excluded_urls=("/status/200",)) as seen:
        assert client.ask(f"{origin.url}/status/200", {}) == 200
        assert seen.spans == []
        client.ask(f"{origin.url}/status/404", {})
    assert len(seen.spans) == 1
    assert [len(origin.headers("traceparent", at)) for at in (0, 1)] == [0, 1]


def test_where_nothing_above_speaks_the_one_beneath_does(origin: Origin, observed: Observe) -> None:
    """A library that is switched off leaves the word to what it is built on."""
    with observed("http_client") as seen:
        by_requests(f"{origin.url}/status/200", {})
    assert seen.span.attributes["url.full"] == f"{origin.url}/status/200"
