"""One HTTP request as its server sees it, whichever interface brings it: WSGI, ASGI, or a server's own.

What knows the interface makes one `HTTPServer` for its `Live`, calls `open` for each request, and then tells the
`Exchange` what becomes known:

    exchange = server.open(method, scheme, path, query, version, headers, carrier, peer, local, request)
    if exchange is None:            # excluded, suppressed, or the agent is off
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

from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from .._core import suppressed
from .carriers import extract
from .headers import REQUEST, RESPONSE, captured
from .model import Call, Duration
from .operation import Operation
from .patch import Patch, Wrapper
from .urls import DEFAULT_PORTS, port_number, redacted_query

if TYPE_CHECKING:
    from .live import Live

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
TIME_TO_FIRST_BYTE = "http.response.time_to_first_byte"
"""Seconds from the beginning of the request to the first byte of its response. The conventions have no name for it;
this one is shaped like `gen_ai.response.time_to_first_chunk`."""

KEY = "noops.exchange"
"""Where libraries inside the one that opened an exchange find it: in the environ, or the scope, of the request."""

MAX_HEADER = 512
"""Longest header of a proxy that is read, in characters; what is longer was made to be a burden."""
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
            attributes["url.path"] = path
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
                return None
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


class Exchange:
    """One request and its response. It belongs to the task or thread that handles the request."""

    status = 0
    """Of the response; 0: none yet."""
    sent = 0
    """Bytes of the response's body so far."""
    route: str | None = None
    prefix = ""
    """Templates of the routers that were passed on the way to the route."""
    mounted: str | None = None
    """The path at which the innermost of them stood."""
    find_route: Callable[[Any], str | None] | None = None
    """Finds the route in `scene` when the response begins, and when the exchange ends without one."""
    scene: Any = None
    """The environ or scope; let go at the end, for it holds this exchange."""
    buffered: Callable[[Any], Any] | None = None
    """Gives the chunks of a body that is there already; of the framework that made it."""
    gone = False
    """The client has left: what fails from now on is no fault of the server."""
    _active: Any = None
    _error: BaseException | None = None
    _first_byte = 0.0
    _guests: tuple[HTTPServer, ...] = ()
    """Those inside who want to see the response."""
    _headers: Iterable[tuple[Any, Any]] = ()
    _home: dict[str, Any] | None = None
    _response: Any = None

    def __init__(self, server: HTTPServer, operation: Operation, kind: Kind) -> None:
        self.server = server
        self.operation = operation
        self._kind = kind

    def enter(self, home: dict[str, Any]) -> None:
        """Be found in an environ or scope until the exchange ends."""
        home[KEY] = self
        self._home = self.scene = home

    # -- what becomes known

    def join(self, guest: HTTPServer, find_route: Callable[[Any], str | None] | None, scene: Any) -> bool:
        """Let a library inside the one that opened the exchange take part in it; False: it excludes the URL.

        Its hooks are called as well, and its routes count.
        """
        try:
            if self.operation.closed:
                return False
            excluded = guest.excluded
            if excluded is not None and excluded(url_of(self.operation.call.attributes)):
                self.discard()
                return False
            if find_route is not None:
                self.find_route = find_route
            self.scene = scene
            if guest.attentive and all(guest.live is not server.live for server in (self.server, *self._guests)):
                self._guests = (*self._guests, guest)
                hook = guest.options.request_hook
                if hook is not None:
                    hook(self.operation.span, scene)
        except Exception as problem:
            guest.live.failed("http_server.join", problem)
        return True

    def routed(self, route: str | None) -> None:
        """Name the exchange by the template of its route; None or empty: nothing is known. Told at the end."""
        if route:
            self.route = route

    def ask_route(self) -> None:
        """Find the route now: a framework that has answered knows it no longer."""
        try:
            if self.find_route is not None:
                self.routed(self.find_route(self.scene))
        except Exception as problem:
            self.server.live.failed("http_server.route", problem)

    def note(self, error: BaseException) -> None:
        """Remember an exception that was made a response; it is recorded if that is a server error."""
        if departs(error):
            self.gone = True
        self._error = error

    def responded(self, status: int, headers: Iterable[tuple[Any, Any]], response: Any = None) -> None:
        """Take note of the response's status and headers.

        Args:
            status: Of the response.
            headers: Pairs of name and value, text or bytes.
            response: What the user's `response_hook` is given.
        """
        self.status = status
        self._headers = headers
        if self.find_route is not None:
            self.routed(self.find_route(self.scene))
        if self.server.hooked or self._guests:
            self._response = response

    def begun(self) -> None:
        """Take note that the first byte of the response is on its way."""
        if not self._first_byte:
            self._first_byte = perf_counter()

    # -- its end

    def close(self, error: BaseException | None = None) -> None:
        """End the exchange; only the first call does anything.

        Args:
            error: The exception that went through, to the server, in place of a response or in the midst of it.
        """
        operation = self.operation
        if operation.closed:
            return
        ending: dict[str, Any] = {}
        try:
            status = self.status
            if status:
                ending["http.response.status_code"] = status
                if status >= 500 and not self.gone:
                    ending["error.type"] = str(status)
            route = self.route
            if route is None and self.find_route is not None:
                route = self.find_route(self.scene)
            if route:
                ending["http.route"] = route
                if getattr(operation.span, "name", "") == operation.call.name:  # else the user has renamed it
                    operation.rename(span_name(self._kind.method, route))
            if operation.recording:
                self._measure(ending, operation)
            if self.gone:
                error = None  # nobody was there to get it
            elif error is None and status >= 500:
                error = self._error
            if self._response is not None:
                self._show()
        except Exception as problem:
            self.server.live.failed("http_server.close", problem)
        operation.close(error, ending)
        self._forget()

    def _measure(self, ending: dict[str, Any], operation: Operation) -> None:
        """Gather what only the span tells: sizes, times, headers."""
        size = self.sent
        if not size and self.status != 101 and self._kind.method != "HEAD":
            size = declared_length(self._headers)  # of a body that went past us
        if size:
            ending["http.response.body.size"] = size
        if self._first_byte:
            ending[TIME_TO_FIRST_BYTE] = self._first_byte - operation._began
        for server in (self.server, *self._guests) if self._guests else (self.server,):
            if server.response_headers and self._headers:
                ending.update(captured(RESPONSE, server.response_headers, self._headers, server.secret))

    def _show(self) -> None:
        """Show the response to the hooks of the users."""
        if self.server.hooked:
            self.operation.respond(self._response)
        for guest in self._guests:
            if guest.options.response_hook is not None:
                guest.options.response_hook(self.operation.span, self.scene, self._response)

    def discard(self) -> None:
        """End the exchange without a trace of it; who looks for it finds that the request is to be left alone."""
        operation = self.operation
        if not operation.closed:
            operation.closed = True
            operation.detach()
            home = self._home
            self._forget()
            if home is not None:
                home[KEY] = LEFT_ALONE

    def _forget(self) -> None:
        """Let go of what would keep the request alive in a cycle, and count it out."""
        home = self._home
        if home is not None:
            home.pop(KEY, None)
            self._home = self.scene = None
        if self._response is not None or self.server.hooked:
            self.operation.call.request = self._response = None
        if self._error is not None:
            self._error = None
        active = self._active
        if active is not None:
            self._active = None
            active.add(-1, self._kind.labels)


DISCONNECTS = frozenset(("ClientDisconnect", "WebSocketDisconnect", "RequestAborted"))
"""What frameworks call the exception that tells the application that the client has left."""


def departs(error: BaseException) -> bool:
    """Whether an exception tells that the client has left."""
    return any(kind.__name__ in DISCONNECTS for kind in type(error).__mro__)


class LeftAlone:
    """Stands where an exchange would be, in a request that a library inside has excluded."""

    scene = None

    def join(self, *anything: Any) -> bool:
        """There is nothing to take part in."""
        return False


LEFT_ALONE = LeftAlone()


def exchange_of(carrier: dict[str, Any] | None) -> Exchange | None:
    """Find the exchange of a request by its environ or scope; None where there is none."""
    found = None if carrier is None else carrier.get(KEY)
    return found if isinstance(found, Exchange) else None


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
        def call(self: Any, subject: Any) -> Any:
            returned = original(self, subject)
            if live.on:
                try:
                    note(subject, returned)
                except Exception as problem:
                    live.failed("http_server.noted", problem)
            return returned

        return call


# ---- values of headers -----------------------------------------------------------------------------------

SCHEMES = frozenset(("http", "https", "ws", "wss"))


def text(value: Any) -> str:
    """Give a header's value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def whole(value: Any) -> int | None:
    """Read a length or a port; None where it isn't one."""
    if type(value) is int:
        return value
    return int(value) if len(value) < 20 and value.isdigit() and value.isascii() else None


def declared_length(headers: Iterable[tuple[Any, Any]]) -> int:
    """Give the length of a body as its headers tell it; 0 where they don't, or spell it as nobody does."""
    found = dict(headers)
    length = found.get("Content-Length") or found.get(b"content-length") or found.get("content-length")
    return (whole(length) or 0) if length else 0


@lru_cache(maxsize=1024)
def span_name(method: str, route: str) -> str:
    """Give the name of a span: method and route."""
    return f"{method} {route}"


@lru_cache(maxsize=512)
def authority(value: Any, scheme: str) -> tuple[str, int | None]:
    """Read a `Host` header or a proxy's equal: the host, in lower case and without brackets, and the port.

    Args:
        value: Text or bytes, of at most `MAX_HEADER` characters.
        scheme: Tells the port where the header doesn't.
    """
    host = text(value).partition(",")[0].strip().rpartition("@")[2]
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        port = rest[1:]
    else:
        address, _, port = host.partition(":")
    return address.lower(), port_number(port) or DEFAULT_PORTS.get(scheme)


def first_scheme(value: Any, default: str) -> str:
    """Read the scheme that a proxy says; a value that is no scheme of HTTP is passed over."""
    scheme = text(value[:64]).partition(",")[0].strip().lower()
    if scheme not in SCHEMES:
        return default
    return {"http": "ws", "https": "wss"}.get(scheme, scheme) if default in ("ws", "wss") else scheme


def first_address(value: Any) -> str:
    """Read the first address of a proxy's list: the client's. Empty where it is hidden or unknown."""
    address = text(value[:MAX_HEADER]).partition(",")[0].strip().strip('"')
    if address.startswith("["):
        return address[1:].partition("]")[0]
    if address.count(":") == 1:
        address = address.partition(":")[0]
    return "" if address.startswith("_") or address.lower() == "unknown" else address


def forwarding(value: Any) -> tuple[str, str, str]:
    """Read `for`, `host` and `proto` of the first element of a `Forwarded` header.

    Source: RFC 7239, section 4. Quoted commas and semicolons are not understood: no host has them.
    """
    found = dict.fromkeys(("for", "host", "proto"), "")
    for pair in text(value[:MAX_HEADER]).partition(",")[0].split(";"):
        name, _, said = pair.partition("=")
        name = name.strip().lower()
        if name in found:
            found[name] = said.strip().strip('"')
    return found["for"], found["host"], found["proto"]


def url_of(attributes: dict[str, Any], query: str | None = None) -> str:
    """Put the URL together that the user's patterns are tried on."""
    scheme = attributes["url.scheme"]
    host = attributes.get("server.address", "")
    port = attributes.get("server.port")
    if port and port != DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    if query is None:
        query = attributes.get("url.query")
    url = f"{scheme}://{host}{attributes['url.path']}"
    return f"{url}?{query}" if query else url
