"""Elasticsearch's client, blocking and asyncio.

Source: OpenTelemetry semantic conventions 1.44, docs/db/elasticsearch.md and docs/db/database-metrics.md.

A span is one call of the API, with its retries on other nodes. It stands for the HTTP request too, which has no span
of its own; the propagation headers go out with it. Bodies stay at home, and so does a query in the URL. `error.type`
is the status of the response, else the exception's class. A 404 to `exists` is an answer.

The library traces by itself once there is a provider; what is observed here has no second span.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import elastic_transport

from noops_agent.instrument import CLIENT, After, Args, Attributes, Call, Hook, Instrumentation, Kwargs, Quiet, search
from noops_agent.instrument.db import OPERATION_DURATION


@lru_cache(maxsize=64)
def _base(scheme: str, host: str, port: int, prefix: str) -> str:
    """Give the URL before the path."""
    return f"{scheme}://[{host}]:{port}{prefix}" if ":" in host else f"{scheme}://{host}:{port}{prefix}"


def _size(endpoint: str, body: Any) -> int | None:
    """Count the operations of a bulk; None where they would have to be parsed first."""
    if not isinstance(body, (list, tuple)):
        return None
    if endpoint == "msearch":
        return len(body) // 2
    count = at = 0
    while at < len(body):
        if not isinstance(body[at], Mapping):
            return None
        at += 1 if "delete" in body[at] else 2  # all other actions have a document behind them
        count += 1
    return count


def _request(client: Any, args: Args, kwargs: Kwargs) -> Call:
    """Describe the client's `perform_request(method, path, *, params, headers, body, endpoint_id, path_parts)`."""
    method, path = args
    first = client.transport.node_pool._seed_nodes[0]  # one that the user named
    base = _base(first.scheme, first.host, first.port, first.path_prefix)
    name, parts = kwargs.get("endpoint_id"), kwargs.get("path_parts")
    if name is None:  # before 8.12, and where the user wrote the request
        name, index, document = search.read(method, path)
        parts = {"index": index} if document is None else {"index": index, "id": document}
    params = kwargs.get("params")
    attributes = {
        "db.operation.name": name,
        "http.request.method": method,
        "url.full": base + path + search.query(params) if params else base + path,
        **search.place("elasticsearch", first.host, first.port),
    }
    for part, value in parts.items() if parts else ():
        if value is not None:
            attributes[search.parameter(part)] = unquote(value) if "%" in value else value
    index = attributes.get("db.operation.parameter.index")
    if index:
        attributes["db.collection.name"] = index
        name = f"{name} {index}"
    if name.startswith(("bulk", "msearch")):
        size = _size(attributes["db.operation.name"], kwargs.get("body"))
        if size is not None and size != 1:
            attributes["db.operation.batch.size"] = size
    headers = dict(kwargs.get("headers") or ())
    kwargs["headers"] = headers
    return Call(name, attributes, inject=headers, kwargs=kwargs)


def _found(meta: Any) -> dict[str, Any]:
    found = {"db.response.status_code": str(meta.status)}
    get = meta.headers.get
    if cluster := get("x-found-handling-cluster"):
        found["db.namespace"] = cluster
    if node := get("x-found-handling-instance"):
        found["elasticsearch.node.name"] = node
    return found


def _result(call: Call, returned: Any) -> Attributes:
    return _found(returned.meta)


def _failure(call: Call, error: BaseException) -> Attributes | None:
    meta = getattr(error, "meta", None)
    if meta is None:
        return None
    found = _found(meta)
    found["error.type"] = found["db.response.status_code"]
    found["exception.message"] = str(
        getattr(error, "message", "")
    )  # its kind; the rest may quote what was searched for
    return found


def _untraced(instance: Any, args: Args, kwargs: Kwargs, returned: Any) -> AbstractContextManager[Any]:
    """Give the library a span of nothing in place of its own, which has not begun yet."""
    return nullcontext(elastic_transport.OpenTelemetrySpan(None))


def _hook(target: str) -> Hook:
    # The layer is that of HTTP, so that the request beneath is left alone.
    return Hook(
        target,
        CLIENT,
        _request,
        result=_result,
        error=_failure,
        duration=OPERATION_DURATION,
        layer="http",
    )


INSTRUMENTATION = Instrumentation(
    library="elasticsearch",
    distribution=("elasticsearch", "elasticsearch8", "elasticsearch9"),
    versions=">=8.0",
    hooks=(
        _hook("elasticsearch._sync.client._base:BaseClient.perform_request"),
        _hook("elasticsearch._async.client._base:BaseClient.perform_request"),
        After("elasticsearch._otel:OpenTelemetry.span", _untraced, optional=True),
        Quiet("elastic_transport._transport:Transport.sniff", optional=True),
        Quiet("elastic_transport._async_transport:AsyncTransport.sniff", optional=True),
    ),
)
