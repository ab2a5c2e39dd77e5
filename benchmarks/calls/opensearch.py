"""One search whose connection answers at once, without a socket."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = None
CONTRIB_PACKAGE = "opentelemetry-instrumentation-opensearch"
DDTRACE = "elasticsearch"
REQUIRES = ("opensearch-py",)

HEADERS = {"content-type": "application/json"}
ANSWER = '{"took": 1, "timed_out": false, "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}'


def prepare() -> Callable[[], object]:
    """Give the call: a search of everything."""
    import opensearchpy

    class Connection(opensearchpy.Connection):
        """Answers at once."""

        def perform_request(self, *args: object, **kwargs: object) -> tuple[int, dict[str, str], str]:
            return 200, HEADERS, ANSWER

    client = opensearchpy.OpenSearch("http://127.0.0.1:9200", connection_class=Connection)
    return lambda: client.search(index="products")
