"""One HTTP request as its server sees it, whichever interface brings it: WSGI, ASGI, or a server's own.

What knows the interface makes one `HTTPServer` for its `Live`, calls `open` for each request, and then tells the
`Exchange` what becomes known:

    exchange = server.open(method, scheme, path, query, version, headers, carrier, peer, local, request)
    if exchange is None:            # suppressed, or the agent is off; an excluded one is silent
        ... run the application alone
    exchange.operation.attach(); ...; exchange.operation.detach()    # around the application's code
    exchange.routed("/users/{id}")                   # once the template is known, or `find_route` for later
    exchange.note(error)                             # an exception that the framework makes a response of
    exchange.responded(status, headers)              # once status and headers are known
    exchange.sent += len(chunk)
    exchange.close(error)                            # the body is done, or will never be

Nothing here raises into the caller.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server", docs/http/http-metrics.md,
"HTTP server", and docs/http/http-exceptions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from .._core import suppressed
from .carriers import extract
from .exchange import KEY, Exchange, exchange_of, origin_form, url_of
from .forwarded import MAX_HEADER, authority, first_address, first_scheme, forwarding, text, whole
from .headers import REQUEST, captured
from .model import Call, Duration
from .operation import Operation, Silent
from .patch import Patch, Wrapper
from .urls import redacted_query

if TYPE_CHECKING:
    from .live import Live

__all__ = ["KEY", "Exchange", "HTTPServer", "Keys", "Kind", "Noted", "exchange_of"]

SERVER = SpanKind.SERVER

DURATION = Duration(
    "http.server.request.duration",
    "Duration of HTTP server requests.",
    (
        "http.request.method",
        "url.scheme",
        "error.type",
        "http.response.status_code",
        "http.route",
        "network.protocol.name",
        "network.protocol.version",
    ),
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)

KNOWN_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
"""Those of RFC 9110, PATCH and QUERY; `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces them."""

OTHER = "_OTHER"


MAX_KINDS = 512
"""Kinds of requests that are remembered; clients can make hosts up."""


class Keys:
    """How one interface spells the names of headers: `HTTP_HOST`, `b"host"`, `Host`."""

    __slots__ = (
        "content_length",
        "forwarded",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "getter",
        "host",
        "spell",
        "user_agent",
    )

    def __init__(self, spell: Callable[[str], Any] = str, getter: Any = None) -> None:
        """
        Args:
            spell: Makes the key of a name in lower case.
            getter: Reads a carrier for the propagators; None: the carrier is a mapping of names in lower case.
        """
        self.spell = spell
        self.getter = getter
        self.host = spell("host")
        self.user_agent = spell("user-agent")
        self.content_length = spell("content-length")
        self.forwarded = spell("forwarded")
        self.forwarded_for = spell("x-forwarded-for")
        self.forwarded_host = spell("x-forwarded-host")
        self.forwarded_proto = spell("x-forwarded-proto")


class Kind:
    """What requests of one method, scheme, host and version have in common."""

    __slots__ = ("attributes", "labels", "method")

    def __init__(self, method: str, scheme: str, host: Any, version: str, known: bool) -> None:
        self.method = method if known else "HTTP"
        self.labels = {"http.request.method": method if known else OTHER, "url.scheme": scheme}
        self.attributes: dict[str, Any] = dict(self.labels)
        if version:
            self.attributes["network.protocol.version"] = version
        if not known:
            self.attributes["http.request.method_original"] = method
        if host and len(host) <= MAX_HEADER:
            address, port = authority(host, scheme)
            if address:
                self.attributes["server.address"] = address
                if port:
                    self.attributes["server.port"] = port


class HTTPServer:
    """The requests that one enabled library sees."""

    def __init__(self, live: Live, keys: Keys, made: type[Exchange] | None = None) -> None:
        """
        Args:
            live: The enabled library.
            keys: How its interface spells headers.
            made: The class of its exchanges, where it needs more in them.
        """
        options = live.instrumentation.options
        self.live = live
        self.keys = keys
        self.options = options
        self.hooked = options.request_hook is not None or options.response_hook is not None
        self._made = made or Exchange
        self.request_headers = options.headers("server", "request")
        self.response_headers = options.headers("server", "response")
        self.secret = tuple(options.get("redact_headers", ()))
        self.attentive = self.hooked or bool(self.response_headers)
        """Whether an exchange that another library has opened matters to this one beyond its route."""
        self.excluded: Callable[[str], bool] | None = options.get("excluded") or None
        self._known = frozenset(options.get("known_methods") or KNOWN_METHODS)
        self._kinds: dict[tuple[str, str, Any, str], Kind] = {}
        self._propagator: Any = None
        self._fields: tuple[Any, ...] = ()
        self._active: Any = live.up_down_counter(
            "http.server.active_requests", "{request}", "Number of active HTTP server requests."
        )

    # -- the beginning of a request

    def open(
        self,
        method: str,
        scheme: str,
        path: str,
        query: str,
        version: str,
        headers: Any,
        carrier: Any,
        peer: tuple[Any, Any] | None = None,
        local: tuple[Any, Any] | None = None,
        request: Any = None,
        *,
        websocket: bool = False,
    ) -> Exchange | None:
        """Begin the operation of a request; None where there is to be none.

        Args:
            method: As it was sent.
            scheme: As the server understood it; a proxy's header goes before it.
            path: Of the URL, decoded.
            query: Of the URL, without the question mark.
            version: Of HTTP: "1.1", "2"; empty: unknown.
            headers: A mapping with the spellings of `keys`; gives text or Latin-1 bytes.
            carrier: What the propagators read through the getter of `keys`.
            peer: Address and port of the other end of the connection.
            local: Address and port of the server, for requests that name no host.
            request: What the user's hooks are given.
            websocket: It is the handshake of a WebSocket: there is a span for the connection, and no measurement.
        """
        live = self.live
        try:
            if not live.on or suppressed():
                return None
            kind, attributes = self._describe(method, scheme, version, headers, local)
            attributes["url.path"] = path if path[:1] == "/" else origin_form(path)
            if peer is not None and peer[0]:
                address, port = peer
                attributes["network.peer.address"] = address
                if port:
                    attributes["network.peer.port"] = port
                attributes.setdefault("client.address", address)
            if query:
                attributes["url.query"] = redacted_query(query)
            if websocket:
                attributes["network.protocol.name"] = "websocket"
            if self.excluded is not None and self.excluded(url_of(attributes, query)):
                return self._made(self, Silent(Call(kind.method, attributes)), kind)
            propagator: Any = propagate.get_global_textmap()
            if propagator is not self._propagator:
                self._learn(propagator)
            parent = None
            for field in self._fields:
                if field in headers:
                    parent = extract(carrier, self.keys.getter)
                    break
            call = Call(kind.method, attributes, parent=parent)
            if self.hooked:
                call.request = request
            operation = Operation(live, call, SERVER, None if websocket else DURATION, 0)
            exchange = self._made(self, operation, kind)
            active = self._active
            if not websocket and getattr(active, "_real_instrument", active) is not None:
                active.add(1, kind.labels)
                exchange._active = active
            return exchange
        except Exception as problem:
            live.failed("http_server.open", problem)
            return None

    def _describe(
        self, method: str, scheme: str, version: str, headers: Any, local: Any
    ) -> tuple[Kind, dict[str, Any]]:
        """Describe what the request line and the headers tell."""
        keys = self.keys
        get = headers.get
        client, host, proto = get(keys.forwarded_for), get(keys.forwarded_host), get(keys.forwarded_proto)
        forwarded = get(keys.forwarded)
        if forwarded:
            told = forwarding(forwarded)
            client, host, proto = told[0] or client, told[1] or host, told[2] or proto
        if proto:
            scheme = first_scheme(proto, scheme)
        host = host or get(keys.host)
        kind = self._kinds.get((method, scheme, host, version)) or self._kind(method, scheme, host, version)
        attributes = kind.attributes.copy()
        if not host and local is not None and local[0]:
            attributes["server.address"], port = local
            if port:
                attributes["server.port"] = port
        if client and (client := first_address(client)):
            attributes["client.address"] = client
        agent = get(keys.user_agent)
        if agent:
            attributes["user_agent.original"] = agent if type(agent) is str else text(agent)
        length = get(keys.content_length)
        if length:
            size = whole(length)
            if size is not None:
                attributes["http.request.body.size"] = size
        return kind, attributes

    def _kind(self, method: str, scheme: str, host: Any, version: str) -> Kind:
        known = method in self._known
        kind = Kind(method, scheme, host, version, known)
        if known and len(self._kinds) < MAX_KINDS and (not host or len(host) < MAX_HEADER):
            self._kinds[method, scheme, host, version] = kind
        return kind

    def _learn(self, propagator: Any) -> None:
        """Learn which headers the propagators read, so that a request without any of them costs look-ups alone."""
        fields = propagator.fields
        self._fields = tuple(self.keys.spell(field.lower()) for field in fields)
        self._propagator = propagator

    def capture(self, exchange: Exchange, headers: Any) -> None:
        """Record those request headers that the user asked for.

        Args:
            exchange: Of the request.
            headers: Pairs of name and value, or a mapping, with the names as HTTP has them.
        """
        wanted = self.request_headers
        if wanted and exchange.operation.recording:
            found = captured(REQUEST, wanted, headers, self.secret)
            if found:
                exchange.operation.add(found)


class Noted(Patch):
    """Takes note of what a method of one argument returned; at a third of the cost of a change that may replace it."""

    def __init__(self, target: str, note: Callable[[Any, Any], object], *, optional: bool = False) -> None:
        """
        Args:
            target: The method, called as `target(self, subject)`.
            note: Called with the argument and what was returned.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.note = note

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        note = self.note

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            if live.on:
                try:
                    note(args[1] if len(args) > 1 else next(iter(kwargs.values())), returned)
                except Exception as problem:
                    live.failed("http_server.noted", problem)
            return returned

        return call
