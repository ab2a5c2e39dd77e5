"""What is particular to requests; the rest is in test_http_clients.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from opentelemetry.trace import StatusCode
from requests.adapters import BaseAdapter, HTTPAdapter

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
def session() -> Iterator[requests.Session]:
    """A session that asks no environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


class Early(BaseAdapter):
    """An adapter of the program's, defined before anything is instrumented."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Answer at once."""
        self.sent = dict(request.headers)
        response = requests.Response()
        response.status_code = 204
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is open."""


def test_an_adapter_of_the_programs_own_is_seen(session: requests.Session, observed: Observe) -> None:
    """Whatever carries a request, it is a request; one without a network brings no version of a protocol."""
    adapter = Early()
    session.mount("early://", adapter)
    with observed("requests") as seen:
        assert session.get("early://there/x").status_code == 204
    assert seen.span.attributes["server.address"] == "there"
    assert "network.protocol.version" not in seen.span.attributes
    assert f"{seen.span.get_span_context().span_id:016x}" in adapter.sent["traceparent"]


def test_an_adapter_defined_later_is_seen_and_let_go(session: requests.Session, observed: Observe) -> None:
    """A class made while we are on is wrapped, a call of its parent's method is the same request, and all is undone."""
    with observed("requests") as seen:

        class Late(Early):
            def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
                return super().send(request, *args, **kwargs)

        assert hasattr(Late.send, "__wrapped__")
        session.mount("late://", Late())
        session.get("late://there")
        assert len(seen.spans) == 1
    assert not hasattr(Late.send, "__wrapped__")
    assert not hasattr(Early.send, "__wrapped__")
    assert not hasattr(HTTPAdapter.send, "__wrapped__")
    assert "__init_subclass__" not in vars(BaseAdapter)
    session.get("late://there")
    assert len(seen.spans) == 1


def test_a_prepared_request_is_as_it_was(session: requests.Session, origin: Origin, observed: Observe) -> None:
    """The headers of an attempt are its own: the program's request is the same object, with the same headers."""
    request = session.prepare_request(requests.Request("GET", f"{origin.url}/status/200", headers={"X-Mine": "1"}))
    headers, before = request.headers, dict(request.headers)
    with observed("requests"):
        response = session.send(request)
    assert response.request is request
    assert request.headers is headers
    assert dict(headers) == before
    assert len(origin.headers("traceparent")) == 1


def test_a_request_that_fails_is_as_it_was(session: requests.Session, origin: Origin, observed: Observe) -> None:
    """The exception shows the program's request, which can be sent again."""
    request = session.prepare_request(requests.Request("GET", f"{origin.url}/abort"))
    before = dict(request.headers)
    with observed("requests"), pytest.raises(requests.ConnectionError) as caught:
        session.send(request)
    assert caught.value.request is request
    assert dict(request.headers) == before


def test_threads_may_share_a_prepared_request(session: requests.Session, observed: Observe) -> None:
    """Headers are exchanged, not changed, so nobody finds them changing under way."""
    session.mount("early://", Early())
    request = session.prepare_request(requests.Request("GET", "early://there"))
    failures: list[BaseException] = []

    def send() -> None:
        try:
            for _ in range(200):
                session.send(request)
        except BaseException as error:
            failures.append(error)

    with observed("requests") as seen:
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(seen.spans) == 800


def test_hooks_and_histories_of_a_session_stay(session: requests.Session, origin: Origin, observed: Observe) -> None:
    """What the program hung onto its session is called as without us."""
    called: list[int] = []
    session.hooks["response"].append(lambda response, **_: called.append(response.status_code))
    with observed("requests"):
        response = session.get(f"{origin.url}/redirect/1")
    assert called == [302, 200]
    assert [one.status_code for one in response.history] == [302]


def test_a_stream_is_read_after_its_span(session: requests.Session, origin: Origin, observed: Observe) -> None:
    """The span ends with the headers; the body comes whole."""
    with observed("requests") as seen, session.get(f"{origin.url}/stream", stream=True) as response:
        assert len(seen.spans) == 1
        assert b"".join(response.iter_content(2)) == b"onetwothree"


def test_an_invalid_url_is_refused_as_ever(session: requests.Session, observed: Observe) -> None:
    """What never becomes a request makes no span."""
    with observed("requests") as seen, pytest.raises(requests.exceptions.MissingSchema):
        session.get("no-scheme")
    assert seen.spans == []


def test_too_many_redirects_are_spans_and_an_exception(
    session: requests.Session, origin: Origin, observed: Observe
) -> None:
    """Each step was a request that succeeded; that there were too many is said to the program."""
    session.max_redirects = 2
    with observed("requests") as seen, pytest.raises(requests.TooManyRedirects):
        session.get(f"{origin.url}/redirect/5")
    assert len(seen.spans) == 3
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}
