"""What is particular to urllib3; the rest is in test_http_clients.py."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest
import urllib3
from opentelemetry.trace import StatusCode
from urllib3._collections import HTTPHeaderDict

from .conftest import Observe
from .http_origin import Origin, free_port, serve


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


def test_each_retry_is_a_span(origin: Origin, observed: Observe) -> None:
    """They count, whether an answer or a broken connection was the reason."""
    with observed("urllib3") as seen, urllib3.PoolManager() as pool:
        retries = urllib3.Retry(2, status_forcelist=[503], raise_on_status=False)
        assert pool.request("GET", f"{origin.url}/status/503", retries=retries).status == 503
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            pool.request("GET", f"{origin.url}/abort", retries=urllib3.Retry(1))
    assert [span.attributes.get("http.request.resend_count") for span in seen.spans] == [None, 1, 2, None, 1]
    assert {span.status.status_code for span in seen.spans} == {StatusCode.ERROR}


def test_headers_of_a_pool_and_of_a_call_stay_as_they_are(origin: Origin, observed: Observe) -> None:
    """We write into a copy, of the same kind."""
    own = HTTPHeaderDict({"X-Mine": "1"})
    own.add("X-Mine", "2")
    with observed("urllib3"), urllib3.PoolManager(headers={"X-Pool": "p"}) as pool:
        pool.request("GET", f"{origin.url}/status/200", headers=own)
        assert list(own.iteritems()) == [("X-Mine", "1"), ("X-Mine", "2")]
        assert origin.headers("x-mine") == ["1", "2"]
        pool.request("GET", f"{origin.url}/status/200")
        assert dict(pool.headers) == {"X-Pool": "p"}
    assert origin.headers("x-pool") == ["p"]
    assert len(origin.headers("traceparent")) == 1


def test_a_proxy_is_not_the_server(origin: Origin, observed: Observe) -> None:
    """A proxy is asked for a whole URL, and the span shows where that leads."""
    with observed("urllib3") as seen, urllib3.ProxyManager(origin.url) as pool:
        pool.request("GET", "http://service.example/status/200")
    assert origin.requests[0][1] == "http://service.example/status/200"
    assert seen.span.attributes["server.address"] == "service.example"
    assert seen.span.attributes["url.full"] == "http://service.example/status/200"


def test_a_bare_pool_is_seen(origin: Origin, observed: Observe) -> None:
    """Some libraries use pools without a manager."""
    with observed("urllib3") as seen, urllib3.HTTPConnectionPool("127.0.0.1", origin.port) as pool:
        pool.urlopen("GET", "/status/200")
    assert seen.span.attributes["url.full"] == f"{origin.url}/status/200"


def test_a_refused_connection_is_told_by_its_class(observed: Observe) -> None:
    """Not by the class of what wraps all retries."""
    with observed("urllib3") as seen, urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.MaxRetryError):
        pool.request("GET", f"http://127.0.0.1:{free_port()}/", retries=0)
    assert seen.span.attributes["error.type"] == "urllib3.exceptions.NewConnectionError"


def test_our_own_delivery_makes_no_span(origin: Origin, observed: Observe) -> None:
    """Telemetry about the delivery of telemetry would never end."""
    from noops_agent._export.pipeline import suppress
    from noops_agent._export.transport import Channel

    def deliver() -> None:
        suppress()  # what the export thread begins with
        channel = Channel(None, None, None)
        channel.post(f"{origin.url}/status/200", b"", {}, 5.0)
        channel.close()

    with observed("urllib3", "http_client") as seen:
        contextvars.copy_context().run(deliver)
        assert seen.spans == []
    assert origin.requests
    assert origin.headers("traceparent") == []
