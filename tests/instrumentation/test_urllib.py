"""What is particular to urllib.request; the rest is in test_http_clients.py."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
def opener() -> Any:
    """An opener that asks no environment."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_what_is_no_http_makes_no_span(opener: Any, tmp_path: Path, observed: Observe) -> None:
    """Files and data are read without a network."""
    file = tmp_path / "x"
    file.write_text("x")
    with observed("urllib") as seen:
        assert opener.open(file.as_uri()).read() == b"x"
        assert opener.open("data:text/plain,x").read() == b"x"
    assert seen.spans == []


def test_a_request_is_as_it_was(opener: Any, origin: Origin, observed: Observe) -> None:
    """The headers of an attempt are its own, also where it fails; a request can be sent again."""
    request = urllib.request.Request(f"{origin.url}/status/200", headers={"X-Mine": "1"})
    bare = urllib.request.Request(f"{origin.url}/status/200", headers={"X-Mine": "1"})
    opener.open(bare).read()
    with observed("urllib") as seen:
        opener.open(request).read()
        opener.open(request).read()
        assert sorted(request.header_items()) == sorted(bare.header_items())
        request.full_url = f"{origin.url}/abort"
        with pytest.raises(ConnectionError):
            opener.open(request)
    assert sorted(request.header_items()) == sorted(bare.header_items())
    assert [span.attributes.get("http.request.resend_count") for span in seen.spans] == [None, None, None]


def test_a_request_that_was_redirected_can_be_used_again(opener: Any, origin: Origin, observed: Observe) -> None:
    """Its first attempt is a first attempt each time."""
    request = urllib.request.Request(f"{origin.url}/redirect/1")
    with observed("urllib") as seen:
        opener.open(request).read()
        opener.open(request).read()
    assert [span.attributes.get("http.request.resend_count") for span in seen.spans] == [None, 1, None, 1]


def test_a_proxy_makes_no_second_span(origin: Origin, observed: Observe) -> None:
    """A handler that opens the request anew, elsewhere, does so for the same request."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": origin.url}))
    with observed("urllib") as seen:
        opener.open("http://service.example/status/200").read()
    assert seen.span.attributes["server.address"] == "service.example"
    assert len(origin.headers("traceparent")) == 1
