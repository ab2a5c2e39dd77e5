"""OpenSearch's client against a server that speaks its API: names from paths, errors, what stays at home."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .fake_search import Server, serving

opensearchpy = pytest.importorskip("opensearchpy")

SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The search engine."""
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client of it that does not try again."""
    made = opensearchpy.OpenSearch(server.url, max_retries=0)
    yield made
    made.close()


def test_a_search_is_a_client_span_without_its_body(observed: Any, client: Any, server: Server) -> None:
    """What is searched for stays at home; where is said."""
    with observed("opensearch") as seen:
        client.search(index="products", body={"query": {"match": {"name": SECRET}}})
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("search products", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "db.system.name": "opensearch",
        "db.operation.name": "search",
        "db.collection.name": "products",
        "db.operation.parameter.index": "products",
        "http.request.method": "POST",
        "url.full": f"{server.url}/products/_search",
        "server.address": "127.0.0.1",
        "server.port": server.server_address[1],
    }


def test_the_asyncio_client_says_the_same(observed: Any, client: Any, server: Server) -> None:
    """Both flavours are one description."""

    async def search() -> None:
        async with opensearchpy.AsyncOpenSearch(server.url) as other:
            await other.search(index="products", body={})

    with observed("opensearch") as seen:
        client.search(index="products", body={})
        asyncio.run(search())
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


CALLS: list[tuple[Any, str]] = [
    (lambda client: client.info(), "info"),
    (lambda client: client.ping(), "ping"),
    (lambda client: client.index(index="products", id="1", body={}), "index products"),
    (lambda client: client.create(index="products", id="1", body={}), "create products"),
    (lambda client: client.update(index="products", id="1", body={}), "update products"),
    (lambda client: client.get(index="products", id="1"), "get products"),
    (lambda client: client.delete(index="products", id="1"), "delete products"),
    (lambda client: client.exists(index="products", id="1"), "exists products"),
    (lambda client: client.bulk(body="{}\n"), "bulk"),
    (lambda client: client.count(index="products"), "count products"),
    (lambda client: client.scroll(scroll_id="abc"), "scroll"),
    (lambda client: client.clear_scroll(scroll_id="abc"), "clear_scroll"),
    (lambda client: client.delete_by_query(index="products", body={}), "delete_by_query products"),
    (lambda client: client.indices.create(index="products"), "indices.create products"),
    (lambda client: client.indices.exists(index="products"), "indices.exists products"),
    (lambda client: client.indices.refresh(index="products"), "indices.refresh products"),
    (lambda client: client.indices.put_mapping(index="products", body={}), "indices.put_mapping products"),
    (lambda client: client.cluster.health(), "cluster.health"),
    (lambda client: client.cat.indices(), "cat.indices"),
]


@pytest.mark.parametrize(("call", "name"), CALLS, ids=[name for _, name in CALLS])
def test_calls_are_named_by_their_paths(observed: Any, client: Any, call: Any, name: str) -> None:
    """The client doesn't say which call of the API it makes; method and path do."""
    with observed("opensearch") as seen:
        call(client)
    assert seen.span.name == name


def test_a_document_is_an_attribute_and_no_name(observed: Any, client: Any) -> None:
    """Names are few, documents many."""
    with observed("opensearch") as seen:
        client.get(index="products", id="a b")
    assert seen.span.attributes["db.operation.parameter.id"] == "a b"


def test_a_query_in_the_url_stays_at_home(observed: Any, client: Any) -> None:
    """It is the body of the request in another place; the other parameters are shown."""
    with observed("opensearch") as seen:
        client.search(index="products", params={"q": SECRET, "allow_no_indices": True, "request_timeout": 3})
    url = seen.span.attributes["url.full"]
    assert SECRET.split()[0] not in url
    assert url.endswith("_search?q=REDACTED&allow_no_indices=true")


def test_a_status_of_failure_is_the_type_of_the_error(observed: Any, client: Any) -> None:
    """The exception says no more than the status does."""
    with observed("opensearch") as seen:
        with pytest.raises(opensearchpy.NotFoundError):
            client.search(index="missing")
        (point,) = seen.metrics()["db.client.operation.duration"]
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["db.response.status_code"] == "404"
    assert seen.span.attributes["error.type"] == point.attributes["error.type"] == "404"


def test_nothing_that_was_searched_for_leaves_with_an_error(observed: Any, client: Any) -> None:
    """The server quotes the query where it can't read it."""
    with observed("opensearch") as seen, pytest.raises(opensearchpy.TransportError, match=SECRET):
        client.search(index="products-refused", body={"query": {"query_string": {"query": SECRET}}})
    span = seen.span
    (event,) = span.events
    assert event.attributes["exception.message"] == "parsing_exception"
    assert SECRET not in f"{dict(event.attributes)} {span.status.description} {dict(span.attributes)}"


def test_what_does_not_exist_is_no_error(observed: Any, client: Any) -> None:
    """Who asks gets an answer, though its status is 404."""
    with observed("opensearch") as seen:
        assert not client.exists(index="missing", id="1")
    assert seen.span.status.status_code is StatusCode.UNSET


def test_a_server_that_is_not_there_is_an_error_of_the_client(observed: Any) -> None:
    """Without an answer there is no status, and the type is the exception's class."""
    lonely = opensearchpy.OpenSearch("http://127.0.0.1:1", max_retries=0)
    with observed("opensearch") as seen, pytest.raises(opensearchpy.ConnectionError):
        lonely.info()
    lonely.close()
    assert seen.span.attributes["error.type"] == "opensearchpy.exceptions.ConnectionError"


def test_the_request_beneath_makes_no_second_span(observed: Any, client: Any, server: Server) -> None:
    """The span of the call stands for it, and its headers carry that span."""
    with observed("opensearch", "urllib3") as seen:
        client.search(index="products")
    assert f"{seen.span.context.span_id:016x}" in server.requests[-1][2]["traceparent"]
