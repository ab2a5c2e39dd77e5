"""OpenSearch's client, blocking and asyncio.

Source: OpenTelemetry semantic conventions 1.44, docs/db/elasticsearch.md, which is the same API, and
docs/db/database-metrics.md.

A span is one call of the API, with its retries on other nodes. It stands for the HTTP request too, which has no span
of its own; the propagation headers go out with it. The client does not say which call of the API a request is, so that
is read from method and path. Bodies stay at home, and so does a query in the URL. `error.type` is the status of the
response, else the exception's class.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import CLIENT, Args, Attributes, Call, Hook, Instrumentation, Kwargs, Quiet, search
from noops_agent.instrument.db import OPERATION_DURATION

_UNSENT = frozenset(("request_timeout", "ignore"))  # settings of the client, given like parameters


def _given(position: int, name: str, args: Args, kwargs: Kwargs) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _request(transport: Any, args: Args, kwargs: Kwargs) -> Call:
    """Describe the transport's `perform_request(method, url, params, body, timeout, ignore, headers)`."""
    method, path = _given(0, "method", args, kwargs), _given(1, "url", args, kwargs)
    first = transport.seed_connections[0]
    operation, index, document = search.read(method, path)
    params = _given(2, "params", args, kwargs)
    attributes = {
        "db.operation.name": operation,
        "http.request.method": method,
        "url.full": first.host + path + search.query(params, _UNSENT) if params else first.host + path,
        **search.place("opensearch", first.hostname, first.port),
    }
    if index is not None:
        attributes["db.collection.name"] = attributes[search.parameter("index")] = index
    if document is not None:
        attributes[search.parameter("id")] = document
    name = f"{operation} {index}" if index else operation
    if len(args) > 6:
        return Call(name, attributes)
    headers = dict(kwargs.get("headers") or ())
    kwargs["headers"] = headers
    return Call(name, attributes, inject=headers, kwargs=kwargs)


def _failure(call: Call, error: BaseException) -> Attributes | None:
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return None
    return {
        "db.response.status_code": str(status),
        "error.type": str(status),
        "exception.message": str(getattr(error, "error", "")),  # its kind; the rest may quote what was searched for
    }


def _hook(target: str) -> Hook:
    # The layer is that of HTTP, so that the request beneath is left alone.
    return Hook(target, CLIENT, _request, error=_failure, duration=OPERATION_DURATION, layer="http", optional=True)


INSTRUMENTATION = Instrumentation(
    library="opensearch",
    distribution="opensearch-py",
    versions=">=2.0",
    hooks=(
        _hook("opensearchpy.transport:Transport.perform_request"),
        _hook("opensearchpy._async.transport:AsyncTransport.perform_request"),
        Quiet("opensearchpy.transport:Transport.sniff_hosts", optional=True),
        Quiet("opensearchpy._async.transport:AsyncTransport.sniff_hosts", optional=True),
    ),
)
