"""One search whose node answers at once, without a socket."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.elasticsearch:ElasticsearchInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-elasticsearch"
DDTRACE = "elasticsearch"
REQUIRES = ("elasticsearch",)

HEADERS = {"x-elastic-product": "Elasticsearch", "content-type": "application/json"}
ANSWER = b'{"took": 1, "timed_out": false, "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}'


def prepare() -> Callable[[], object]:
    """Give the call: a search of everything."""
    import elastic_transport
    import elasticsearch
    from elastic_transport._node import NodeApiResponse

    class Node(elastic_transport.BaseNode):
        """Answers at once."""

        def perform_request(self, *args: object, **kwargs: object) -> NodeApiResponse:
            headers = elastic_transport.HttpHeaders(HEADERS)
            meta = elastic_transport.ApiResponseMeta(200, "1.1", headers, 0.0, self.config)
            return NodeApiResponse(meta, ANSWER)

        def close(self) -> None:
            """There is nothing to close."""

    client = elasticsearch.Elasticsearch("http://127.0.0.1:9200", node_class=Node)
    return lambda: client.search(index="products")
