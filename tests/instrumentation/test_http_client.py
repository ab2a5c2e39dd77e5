"""What is particular to http.client; the rest is in test_http_clients.py."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

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


@pytest.fixture
def connection(origin: Origin) -> Iterator[http.client.HTTPConnection]:
    """A connection to it."""
    with closing(http.client.HTTPConnection("127.0.0.1", origin.port, timeout=5)) as connection:
        yield connection


def test_one_connection_carries_many_requests(connection: http.client.HTTPConnection, observed: Observe) -> None:
    """Each has its span, and none is left on the connection."""
    with observed("http_client") as seen:
        for status in (200, 404, 200):
            connection.request("GET", f"/status/{status}")
            connection.getresponse().read()
    assert [span.attributes["http.response.status_code"] for span in seen.spans] == [200, 404, 200]
    assert not [name for name in vars(connection) if name.startswith("_noops")]


def test_a_request_made_step_by_step_is_seen(
    connection: http.client.HTTPConnection, origin: Origin, observed: Observe
) -> None:
    """`putrequest`, `putheader`, `endheaders`: a header of ours that is there already gives way."""
    with observed("http_client") as seen:
        connection.putrequest("POST", "/echo")
        connection.putheader("TRACEPARENT", "00-1-1-01")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"ab")
        connection.getresponse().read()
    assert seen.span.name == "POST"
    (header,) = origin.headers("traceparent")
    assert f"{seen.span.get_span_context().span_id:016x}" in header


def test_a_connection_closed_without_an_answer_ends_the_span(
    connection: http.client.HTTPConnection, observed: Observe
) -> None:
    """Nobody asked for the response; there was a request nevertheless."""
    with observed("http_client") as seen:
        connection.request("GET", "/slow")
        assert seen.spans == []
        connection.close()
    assert seen.span.attributes["error.type"] == "_OTHER"
    assert seen.span.status.status_code is StatusCode.ERROR


def test_misuse_is_refused_as_ever(connection: http.client.HTTPConnection, observed: Observe) -> None:
    """What never becomes a request makes no span, however often it is tried."""
    with observed("http_client") as seen:
        for _ in range(5):
            with pytest.raises(http.client.CannotSendHeader):
                connection.endheaders()
            with pytest.raises(http.client.ResponseNotReady):
                connection.getresponse()
        assert seen.spans == []
        connection.request("GET", "/status/200")
        connection.getresponse().read()
    assert len(seen.spans) == 1


def test_a_tunnels_end_is_the_server(observed: Observe) -> None:
    """Behind a proxy the span shows where the tunnel leads."""
    from noops_agent.instrument.http_connection import url_of

    connection = http.client.HTTPSConnection("proxy.example", 3128)
    connection.set_tunnel("service.example", 443)
    assert url_of(connection, "/x") == "https://service.example/x"
    assert url_of(connection, "http://other.example/x") == "http://other.example/x"


def test_a_connection_used_before_and_after_is_left_whole(
    connection: http.client.HTTPConnection, observed: Observe
) -> None:
    """We come and go between a request and its response."""
    connection.request("GET", "/status/200")
    with observed("http_client") as seen:
        assert connection.getresponse().read() == b"ok"
        assert seen.spans == []
        connection.request("GET", "/status/200")
    assert connection.getresponse().read() == b"ok"
