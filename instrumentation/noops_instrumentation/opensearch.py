"""OpenSearch's client, blocking and asyncio.

Source: OpenTelemetry semantic conventions 1.44, docs/db/elasticsearch.md, which is the same API, and
docs/db/database-metrics.md.

A span is one call of the API, with its retries on other nodes. It stands for the HTTP request too, which has no span
of its own; the propagation headers go out with it. The client does not say which call of the API a request is, so that
is read from method and path. Bodies stay at home, and so does a query in the URL. `error.type` is the status of the
response, else the exception's class.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from noops_agent.instrument import CLIENT, Args, Attributes, Call, Hook, Instrumentation, Kwargs, Quiet, search
from noops_agent.instrument.db import OPERATION_DURATION

_UNSENT = frozenset(("request_timeout", "ignore"))  # settings of the client, given like parameters

# What the segment behind the index says, by method where that matters.
_VERBS: dict[str, str | dict[str, str]] = {
    "_doc": {"PUT": "index", "POST": "index", "GET": "get", "DELETE": "delete", "HEAD": "exists"},
    "_source": {"GET": "get_source", "HEAD": "exists_source"},
    "_mapping": {"PUT": "indices.put_mapping", "POST": "indices.put_mapping", "GET": "indices.get_mapping"},
    "_settings": {"PUT": "indices.put_settings", "GET": "indices.get_settings"},
    "_alias": {
        "PUT": "indices.put_alias",
        "GET": "indices.get_alias",
        "DELETE": "indices.delete_alias",
        "HEAD": "indices.exists_alias",
    },
    "_aliases": "indices.update_aliases",
    "_analyze": "indices.analyze",
    "_close": "indices.close",
    "_flush": "indices.flush",
    "_forcemerge": "indices.forcemerge",
    "_open": "indices.open",
    "_refresh": "indices.refresh",
    "_stats": "indices.stats",
}
_INDEX: dict[str, str] = {
    "PUT": "indices.create",
    "DELETE": "indices.delete",
    "GET": "indices.get",
    "HEAD": "indices.exists",
}
_FIXED_NEXT = frozenset(("_cat", "_cluster", "_nodes"))  # what follows these is part of the call's name
_OF_DOCUMENTS = frozenset(("_create", "_doc", "_explain", "_source", "_termvectors", "_update"))

Read = tuple[str, "str | None", "str | None"]
"""Name of the call, index and document."""


@lru_cache(maxsize=1024)
def _read(method: str, path: str) -> Read:
    """Read a call of the API from its request."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    if not parts:
        return ("ping" if method == "HEAD" else "info"), None, None
    index = None if parts[0].startswith("_") else unquote(parts[0])
    rest = parts if index is None else parts[1:]
    if not rest:
        return _INDEX.get(method, method), index, None
    document = unquote(rest[1]) if len(rest) > 1 and rest[0] in _OF_DOCUMENTS else None
    return _named(method, rest), index, document


def _named(method: str, parts: list[str]) -> str:
    known = _VERBS.get(parts[0])
    if known is not None:
        return known if isinstance(known, str) else known.get(method, parts[0][1:])
    if parts[0] == "_search" and len(parts) > 1:
        second = parts[1].lstrip("_")
        name = "search_template" if second == "template" else second
        return f"clear_{name}" if method == "DELETE" else name
    if parts[0] in _FIXED_NEXT and len(parts) > 1:
        return f"{parts[0][1:]}.{parts[1].lstrip('_')}"
    return ".".join([part[1:] for part in parts if part.startswith("_")]) or method


def _given(position: int, name: str, args: Args, kwargs: Kwargs) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _request(transport: Any, args: Args, kwargs: Kwargs) -> Call:
    """Describe the transport's `perform_request(method, url, params, body, timeout, ignore, headers)`."""
    method, path = _given(0, "method", args, kwargs), _given(1, "url", args, kwargs)
    first = transport.seed_connections[0]
    operation, index, document = _read(method, path)
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
    return {"db.response.status_code": str(status), "error.type": str(status)}


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
