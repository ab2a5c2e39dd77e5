"""Elasticsearch's client against a server that speaks its API: calls, errors, and the library's own tracing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .fake_search import Server, serving

elasticsearch = pytest.importorskip("elasticsearch")

SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The search engine."""
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client of it that does not try again."""
    with elasticsearch.Elasticsearch(server.url, max_retries=0) as made:
        yield made


def test_a_search_is_a_client_span_without_its_body(observed: Any, client: Any, server: Server) -> None:
    """What is searched for stays at home; where, and what became of it, is said."""
    with observed("elasticsearch") as seen:
        client.search(index="products", query={"match": {"name": SECRET}})
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("search products", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "db.system.name": "elasticsearch",
        "db.operation.name": "search",
        "db.collection.name": "products",
        "db.operation.parameter.index": "products",
        "db.namespace": "cluster-1",
        "elasticsearch.node.name": "instance-1",
        "db.response.status_code": "200",
        "http.request.method": "POST",
        "url.full": f"{server.url}/products/_search",
        "server.address": "127.0.0.1",
        "server.port": server.server_address[1],
    }


def test_the_asyncio_client_says_the_same(observed: Any, client: Any, server: Server) -> None:
    """Both flavours are one description."""

    async def search() -> None:
        async with elasticsearch.AsyncElasticsearch(server.url) as other:
            await other.search(index="products", query={"match_all": {}})

    with observed("elasticsearch") as seen:
        client.search(index="products", query={"match_all": {}})
        asyncio.run(search())
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_calls_of_namespaces_have_their_whole_name(observed: Any, client: Any) -> None:
    """The name is the call's in the API, and the path's parts are attributes."""
    with observed("elasticsearch") as seen:
        client.indices.create(index="products")
        client.index(index="products", id="a/b", document={"name": SECRET})
    first, second = seen.spans
    assert (first.name, second.name) == ("indices.create products", "index products")
    assert second.attributes["db.operation.parameter.id"] == "a/b"
    assert SECRET not in str(dict(second.attributes))


def test_a_query_in_the_url_stays_at_home(observed: Any, client: Any) -> None:
    """It is the body of the request in another place; the other parameters are shown."""
    with observed("elasticsearch") as seen:
        client.search(index="products", q=SECRET, allow_no_indices=True)
    url = seen.span.attributes["url.full"]
    assert SECRET.split()[0] not in url
    assert "q=REDACTED" in url
    assert "allow_no_indices=true" in url


def test_a_bulk_counts_its_operations(observed: Any, client: Any) -> None:
    """Documents behind the actions are no operations, and a deletion has none."""
    operations = [{"index": {"_id": 1}}, {"name": SECRET}, {"delete": {"_id": 2}}, {"create": {"_id": 3}}, {"name": 1}]
    with observed("elasticsearch") as seen:
        client.bulk(index="products", operations=operations)
    assert seen.span.name == "bulk products"
    assert seen.span.attributes["db.operation.batch.size"] == 3


def test_a_status_of_failure_is_the_type_of_the_error(observed: Any, client: Any) -> None:
    """The exception says no more than the status does."""
    with observed("elasticsearch") as seen:
        with pytest.raises(elasticsearch.NotFoundError):
            client.search(index="missing")
        (point,) = seen.metrics()["db.client.operation.duration"]
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["db.response.status_code"] == "404"
    assert seen.span.attributes["error.type"] == point.attributes["error.type"] == "404"


def test_nothing_that_was_searched_for_leaves_with_an_error(observed: Any, client: Any) -> None:
    """The server quotes the query where it can't read it."""
    with observed("elasticsearch") as seen, pytest.raises(elasticsearch.ApiError, match=SECRET):
        client.search(index="products-refused", query={"query_string": {"query": SECRET}})
    span = seen.span
    (event,) = span.events
    assert event.attributes["exception.message"] == "parsing_exception"
    assert SECRET not in f"{dict(event.attributes)} {span.status.description} {dict(span.attributes)}"


def test_what_does_not_exist_is_no_error(observed: Any, client: Any) -> None:
    """Who asks gets an answer, though its status is 404."""
    with observed("elasticsearch") as seen:
        assert not client.exists(index="missing", id="1")
    assert seen.span.status.status_code is StatusCode.UNSET
    assert seen.span.attributes["db.response.status_code"] == "404"


def test_a_server_that_is_not_there_is_an_error_of_the_client(observed: Any) -> None:
    """Without an answer there is no status, and the type is the exception's class."""
    lonely = elasticsearch.Elasticsearch("http://127.0.0.1:1", max_retries=0)
    with lonely, observed("elasticsearch") as seen, pytest.raises(elasticsearch.ConnectionError):
        lonely.info()
    assert seen.span.name == "info"
    assert seen.span.attributes["error.type"] == "elastic_transport.ConnectionError"


def test_a_library_that_traces_by_itself_makes_no_second_span(
    observed: Any, client: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It traces as soon as there is a provider; one call is one span all the same."""
    with observed("elasticsearch") as seen:
        monkeypatch.setattr("elasticsearch._otel._tracer", seen.tracer)
        with elasticsearch.Elasticsearch(server.url) as traced:
            traced.search(index="products")

        async def search() -> None:
            async with elasticsearch.AsyncElasticsearch(server.url) as other:
                await other.search(index="products")

        asyncio.run(search())
    assert [span.name for span in seen.spans] == ["search products"] * 2


def test_the_request_beneath_makes_no_second_span(observed: Any, server: Server) -> None:
    """The span of the call stands for it, and its headers carry that span."""
    with observed("elasticsearch", "urllib3") as seen, elasticsearch.Elasticsearch(server.url) as client:
        client.search(index="products")
    assert f"{seen.span.context.span_id:016x}" in server.requests[-1][2]["traceparent"]


def test_headers_of_the_user_stay_theirs(observed: Any, client: Any, server: Server) -> None:
    """What they gave is sent, and what they hold is not written into."""
    mine = {"x-mine": "yes", "accept": "application/json"}
    with observed("elasticsearch"):
        client.perform_request("GET", "/products/_search", headers=mine)
    assert mine == {"x-mine": "yes", "accept": "application/json"}
    assert server.requests[-1][2]["x-mine"] == "yes"
