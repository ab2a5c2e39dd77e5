"""One HTTP request as its client sees it: what every client library says of it, and where the headers go.

A request is one attempt on the wire wherever the library lets attempts be told apart, so a redirect or a retry is a
span of its own, with `http.request.resend_count`; the libraries that hide them have one span for all of them, with
the URL that was asked for. A span ends when the headers of the response are read: the body is read by the program,
perhaps never.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP client span", and
docs/http/http-metrics.md, `http.client.request.duration`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .headers import REQUEST, RESPONSE, captured
from .model import LEFT_ALONE, Attributes, Call, Duration, Options
from .urls import CACHED_LENGTH, DEFAULT_PORTS, redacted_url, split

LAYER = "http"
"""The layer of every client: where one is built on another, the outermost speaks."""

DURATION = Duration(
    "http.client.request.duration",
    "Duration of HTTP client requests.",
    (
        "http.request.method",
        "server.address",
        "server.port",
        "error.type",
        "http.response.status_code",
        "network.protocol.version",
    ),
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)

KNOWN_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))
"""Those of RFC 9110, PATCH and QUERY; `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces them."""

VERSIONS: Mapping[Any, str] = {
    10: "1.0",
    11: "1.1",
    20: "2",
    30: "3",
    (1, 0): "1.0",
    (1, 1): "1.1",
    (2, 0): "2",
    b"HTTP/1.0": "1.0",
    b"HTTP/1.1": "1.1",
    b"HTTP/2": "2",
    b"HTTP/3": "3",
}
"""How libraries say the version of the protocol -> `network.protocol.version`."""


# ---- a request -------------------------------------------------------------------------------------------


def described(options: Options, method: str, url: str, headers: Any = None, resends: int = 0) -> Call:
    """Describe a request; `LEFT_ALONE` where its URL is excluded: the client beneath keeps quiet as well.

    Args:
        options: Those in force for the library.
        method: As it goes over the wire.
        url: Absolute, with whatever secrets are in it.
        headers: Of the request: a mapping, or pairs.
        resends: How often the request was sent before.
    """
    if options.excluded(url):
        return LEFT_ALONE
    start = url.find("/", 8)  # beyond the scheme: the shortest is "http://"
    base = url if start < 0 else url[:start]
    chosen = _chosen(options)
    target = _target if len(base) <= CACHED_LENGTH else _target.__wrapped__
    name, known = target(method, base, chosen.known_methods)
    attributes = known.copy()
    attributes["url.full"] = redacted_url(url)
    if resends:
        attributes["http.request.resend_count"] = resends
    if chosen.request_headers and headers is not None:
        attributes.update(captured(REQUEST, chosen.request_headers, headers, chosen.redacted))
    return Call(name, attributes)


@lru_cache(maxsize=512)
def _target(method: str, base: str, known: frozenset[str]) -> tuple[str, dict[str, Any]]:
    """Give the name, and the attributes, that all requests of a method to one place have in common."""
    scheme, host, port, _, _ = split(base)
    name = method
    attributes: dict[str, Any] = {"http.request.method": method}
    if method not in known:
        name = "HTTP"
        attributes = {"http.request.method": "_OTHER", "http.request.method_original": method}
    attributes["server.address"] = host
    port = port or DEFAULT_PORTS.get(scheme)
    if port is not None:
        attributes["server.port"] = port
    return name, attributes


class _Choice(NamedTuple):
    """What the options of a library say of its requests."""

    request_headers: tuple[str, ...]
    response_headers: tuple[str, ...]
    redacted: tuple[str, ...]
    known_methods: frozenset[str]


@lru_cache(maxsize=64)
def _chosen(options: Options) -> _Choice:
    return _Choice(
        options.headers("client", "request"),
        options.headers("client", "response"),
        tuple(options.get("redact_headers", ())),
        frozenset(options.get("known_methods") or KNOWN_METHODS),
    )


@lru_cache(maxsize=256)
def origin(scheme: str, host: str, port: int | None) -> str:
    """Put the beginning of a URL together; a port that the scheme implies is left out."""
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}" if port is None or port == DEFAULT_PORTS.get(scheme) else f"{scheme}://{host}:{port}"


# ---- its response ----------------------------------------------------------------------------------------


def responded(options: Options, status: Any, version: Any = None, headers: Any = None) -> Attributes | None:
    """Describe a response.

    Args:
        options: Those in force for the library.
        status: Its code; None where it has none.
        version: Of the protocol, as one of `VERSIONS`.
        headers: Of the response: a mapping, or pairs.
    """
    known = _response(status, version)
    chosen = _chosen(options)
    if chosen.response_headers and headers is not None:
        return {**known, **captured(RESPONSE, chosen.response_headers, headers, chosen.redacted)}
    return known


@lru_cache(maxsize=512)
def _response(status: Any, version: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if isinstance(status, int):
        known["http.response.status_code"] = int(status)
        if status >= 400:
            known["error.type"] = str(int(status))
    spoken = VERSIONS.get(version)
    if spoken is not None:
        known["network.protocol.version"] = spoken
    return known


# ---- headers of a request --------------------------------------------------------------------------------


def attempted(make: Callable[[Any], Any], given: Any) -> Any:
    """Make something of what the program gave; None where it can't be: the library will say so better than we could."""
    try:
        return make(given)
    except Exception:
        return None


class Writer:
    """Writes headers into a plain dict of ours as HTTP sees it: names differ not by their case."""

    __slots__ = ("headers",)

    def __init__(self, headers: dict[Any, Any]) -> None:
        self.headers = headers

    def __call__(self, name: str, value: str) -> None:
        """Set a header, in place of every spelling of it."""
        headers = self.headers
        if name not in headers:
            for other in [other for other in headers if len(other) == len(name) and _same(other, name)]:
                del headers[other]
        headers[name] = value


def _same(other: Any, name: str) -> bool:
    text = other.decode("latin-1") if isinstance(other, bytes) else other
    return isinstance(text, str) and text.lower() == name


# ---- resent requests -------------------------------------------------------------------------------------

_resends: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def resent(request: Any, times: int) -> None:
    """Remember of a request object that it stands for one that was sent before."""
    _resends[request] = times


def resends(request: Any) -> int:
    """Give how often what a request object stands for was sent before."""
    return _resends.get(request, 0) if _resends.data else 0  # type: ignore[attr-defined]
