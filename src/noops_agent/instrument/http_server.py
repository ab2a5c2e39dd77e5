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
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from .carriers import extract
from .headers import REQUEST, RESPONSE, captured
from .model import Call, Duration
from .urls import DEFAULT_PORTS, port_number, redacted_query

if TYPE_CHECKING:
    from .live import Live
    from .operation import Operation

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
MAX_KINDS = 128
"""Pairs of method and scheme that are remembered."""


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
    """What all requests of one method and scheme have in common."""

    __slots__ = ("attributes", "labels", "method", "scheme")

    def __init__(self, method: str, scheme: str, known: bool) -> None:
        self.method = method if known else "HTTP"
        self.scheme = scheme
        self.labels = {"http.request.method": method if known else OTHER, "url.scheme": scheme}
        self.attributes: dict[str, Any] = dict(self.labels)
        if not known:
            self.attributes["http.request.method_original"] = method


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
        self.excluded: Callable[[str], bool] | None = options.get("excluded") or None
        self._known = frozenset(options.get("known_methods") or KNOWN_METHODS)
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._propagator: Any = None
        self._fields: tuple[Any, ...] | None = ()
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
            headers: Has `get(key)` for the spellings of `keys`; gives text, Latin-1 bytes or None.
            carrier: What the propagators read through the getter of `keys`.
            peer: Address and port of the other end of the connection.
            local: Address and port of the server, for requests that name no host.
            request: What the user's hooks are given.
            websocket: It is the handshake of a WebSocket: there is a span for the connection, and no measurement.
        """
        try:
            if not self.live.on:
                return None
            attributes, kind = self._describe(method, scheme, path, headers, peer, local)
            if query:
                attributes["url.query"] = redacted_query(query)
            if version:
                attributes["network.protocol.version"] = version
            if websocket:
                attributes["network.protocol.name"] = "websocket"
            if self.excluded is not None and self.excluded(url_of(attributes, query)):
                return None
            call = Call(kind.method, attributes, parent=self._parent(headers, carrier))
            if self.hooked:
                call.request = request
            operation = self.live.open(call, SERVER, None if websocket else DURATION)
            if operation is None:
                return None
            exchange = self._made(self, operation, kind)
            if not websocket:
                exchange.count(self._active)
            return exchange
        except Exception as problem:
            self.live.failed("http_server.open", problem)
            return None

    def _describe(
        self, method: str, scheme: str, path: str, headers: Any, peer: Any, local: Any
    ) -> tuple[dict[str, Any], Kind]:
        keys = self.keys
        get = headers.get
        forwarded = get(keys.forwarded)
        elements = forwarding(forwarded) if forwarded else NOTHING
        proto = elements[2] or get(keys.forwarded_proto)
        if proto:
            scheme = first_scheme(proto, scheme)
        kind = self._kinds.get((method, scheme)) or self._kind(method, scheme)
        attributes = kind.attributes.copy()
        attributes["url.path"] = path
        self._put_server(attributes, elements[1] or get(keys.forwarded_host) or get(keys.host), local, scheme)
        client = elements[0] or get(keys.forwarded_for)
        if client:
            client = first_address(client)
        if peer is not None:
            address, port = peer
            if address:
                attributes["network.peer.address"] = address
                if port:
                    attributes["network.peer.port"] = port
                client = client or address
        if client:
            attributes["client.address"] = client
        agent = get(keys.user_agent)
        if agent:
            attributes["user_agent.original"] = agent if type(agent) is str else text(agent)
        length = get(keys.content_length)
        if length:
            size = whole(length)
            if size is not None:
                attributes["http.request.body.size"] = size
        return attributes, kind

    def _put_server(self, attributes: dict[str, Any], host: Any, local: Any, scheme: str) -> None:
        address: Any = None
        port: Any = None
        if host:
            address, port = authority(host)
        elif local is not None:
            address, port = local
        if address:
            attributes["server.address"] = address
            port = port or DEFAULT_PORTS.get(scheme)
            if port:
                attributes["server.port"] = port

    def _kind(self, method: str, scheme: str) -> Kind:
        known = method in self._known
        kind = Kind(method, scheme, known)
        if known and len(self._kinds) < MAX_KINDS:
            self._kinds[method, scheme] = kind
        return kind

    def _parent(self, headers: Any, carrier: Any) -> Any:
        propagator: Any = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._learn(propagator)
        fields = self._fields
        if fields is None:
            return extract(carrier, self.keys.getter)
        get = headers.get
        for field in fields:
            if get(field) is not None:
                return extract(carrier, self.keys.getter)
        return None

    def _learn(self, propagator: Any) -> None:
        """Learn which headers the propagators read, so that a request without any of them costs look-ups alone."""
        fields = propagator.fields
        self._fields = tuple(self.keys.spell(field.lower()) for field in fields) if fields else None
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

    __slots__ = (
        "_active",
        "_began",
        "_error",
        "_first_byte",
        "_guest",
        "_headers",
        "_home",
        "_kind",
        "_length",
        "_response",
        "find_route",
        "gone",
        "mounted",
        "operation",
        "prefix",
        "route",
        "scene",
        "sent",
        "server",
        "status",
    )

    def __init__(self, server: HTTPServer, operation: Operation, kind: Kind) -> None:
        self.server = server
        self.operation = operation
        self.status = 0
        """Of the response; 0: none yet."""
        self.sent = 0
        """Bytes of the response's body so far."""
        self.route: str | None = None
        self.prefix = ""
        """Templates of the routers that were passed on the way to the route."""
        self.mounted: str | None = None
        """The path at which the innermost of them stood."""
        self.find_route: Callable[[Any], str | None] | None = None
        """Finds the route in `scene` when the response begins, and when the exchange ends without one."""
        self.scene: Any = None
        """The environ or scope; let go at the end, for it holds this exchange."""
        self.gone = False
        """The client has left: what fails from now on is no fault of the server."""
        self._kind = kind
        self._active: Any = None
        self._error: BaseException | None = None
        self._first_byte = 0.0
        self._guest: HTTPServer | None = None
        self._headers: dict[str, Any] | None = None
        self._home: dict[str, Any] | None = None
        self._length: int | None = None
        self._response: Any = None
        self._began = perf_counter()

    def enter(self, home: dict[str, Any]) -> None:
        """Be found in an environ or scope until the exchange ends."""
        home[KEY] = self
        self._home = self.scene = home

    def count(self, counter: Any) -> None:
        """Count the request among the active ones until it ends."""
        if getattr(counter, "_real_instrument", counter) is not None:
            counter.add(1, self._kind.labels)
            self._active = counter

    # -- what becomes known

    def join(self, guest: HTTPServer, find_route: Callable[[Any], str | None] | None, scene: Any) -> bool:
        """Let a library inside the one that opened the exchange take part in it; False: it excludes the URL.

        Its hooks are called as well, and its routes count.
        """
        try:
            excluded = guest.excluded
            if excluded is not None and excluded(url_of(self.operation.call.attributes)):
                self.discard()
                return False
            if self.operation.closed:
                return False
            if find_route is not None:
                self.find_route = find_route
                self.scene = scene
            if guest.live is not self.server.live and guest is not self._guest:
                self._guest = guest
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

    def note(self, error: BaseException) -> None:
        """Remember an exception that was made a response; it is recorded if that is a server error."""
        self._error = error

    def responded(self, status: int, headers: Iterable[tuple[Any, Any]], response: Any = None) -> None:
        """Take note of the response's status and headers.

        Args:
            status: Of the response.
            headers: Pairs of name and value, text or bytes.
            response: What the user's `response_hook` is given.
        """
        self.status = status
        if self.find_route is not None:
            self.routed(self.find_route(self.scene))
        for name, value in headers:
            if len(name) == 14 and name.lower() in LENGTH_NAMES:
                self._length = whole(value)
        server = self.server
        guest = self._guest
        if guest is not None:
            if guest.response_headers and not server.response_headers:
                server = guest
            if guest.hooked:
                self._response = response
        if server.response_headers and self.operation.recording:
            self._headers = captured(RESPONSE, server.response_headers, headers, server.secret)
        if self.server.hooked:
            self._response = response

    def begun(self) -> None:
        """Take note that the first byte of the response is on its way."""
        if not self._first_byte:
            self._first_byte = perf_counter() - self._began

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
            self._end(ending)
            if self.gone:
                error = None
            elif error is None and self.status >= 500:
                error = self._error
            self._respond()
        except Exception as problem:
            self.server.live.failed("http_server.close", problem)
        operation.close(error, ending)
        self._forget()

    def _end(self, ending: dict[str, Any]) -> None:
        """Gather what is known only now."""
        status = self.status
        if status:
            ending["http.response.status_code"] = status
            if status >= 500:
                ending["error.type"] = str(status)
        if self.route is None and self.find_route is not None:
            self.route = self.find_route(self.scene)
        operation = self.operation
        if self.route is not None:
            ending["http.route"] = self.route
            if getattr(operation.span, "name", "") == operation.call.name:  # else the user has renamed it
                operation.rename(span_name(self._kind.method, self.route))
        if operation.recording:
            if status and status != 101:
                ending["http.response.body.size"] = self.sent if self._length is None else self._length
            if self._first_byte:
                ending[TIME_TO_FIRST_BYTE] = self._first_byte
            if self._headers:
                ending.update(self._headers)

    def _respond(self) -> None:
        if self._response is None:
            return
        if self.server.hooked:
            self.operation.respond(self._response)
        guest = self._guest
        if guest is not None and guest.options.response_hook is not None:
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
        self.operation.call.request = None
        home, self._home = self._home, None
        if home is not None:
            home.pop(KEY, None)
        self.scene = self._error = self._response = None
        active, self._active = self._active, None
        if active is not None:
            active.add(-1, self._kind.labels)


class LeftAlone:
    """Stands where an exchange would be, in a request that a library inside has excluded."""

    def join(self, *anything: Any) -> bool:
        """There is nothing to take part in."""
        return False


LEFT_ALONE = LeftAlone()


def exchange_of(carrier: dict[str, Any] | None) -> Exchange | None:
    """Find the exchange of a request by its environ or scope; None where there is none."""
    found = None if carrier is None else carrier.get(KEY)
    return found if isinstance(found, Exchange) else None


# ---- values of headers -----------------------------------------------------------------------------------

LENGTH_NAMES = frozenset(("content-length", b"content-length"))
SCHEMES = frozenset(("http", "https", "ws", "wss"))
NOTHING: tuple[str, str, str] = ("", "", "")


def text(value: Any) -> str:
    """Give a header's value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def whole(value: Any) -> int | None:
    """Read a length; None where it isn't one."""
    if isinstance(value, int):
        return value
    return int(value) if value.isdigit() and len(value) < 20 else None


@lru_cache(maxsize=1024)
def span_name(method: str, route: str) -> str:
    """Give the name of a span: method and route."""
    return f"{method} {route}"


def authority(value: Any) -> tuple[str, int | None]:
    """Read the host, in lower case and without brackets, and the port of a `Host` header or a proxy's equal."""
    return _authority(value) if len(value) <= MAX_HEADER else ("", None)


@lru_cache(maxsize=512)
def _authority(value: Any) -> tuple[str, int | None]:
    host = text(value).partition(",")[0].strip().rpartition("@")[2]
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address.lower(), port_number(rest[1:])
    address, _, port = host.partition(":")
    return address.lower(), port_number(port)


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
