"""One HTTP request and its response as a server sees them, from the first look at its headers to its last byte.

`HTTPServer.open` in `http_server.py` makes exchanges. Nothing here raises into the caller.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server" and "Status".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .forwarded import whole
from .headers import RESPONSE, captured
from .operation import Operation, Silent
from .urls import DEFAULT_PORTS

if TYPE_CHECKING:
    from .http_server import HTTPServer, Kind

KEY = "noops.exchange"
"""Where libraries inside the one that opened an exchange find it: in the environ, or the scope, of the request."""

TIME_TO_FIRST_BYTE = "http.response.time_to_first_byte"
"""Seconds from the beginning of the request to the first byte of its response. The conventions have no name for it;
this one is shaped like `gen_ai.response.time_to_first_chunk`."""


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
    attach: Callable[[], object] | None = None
    leave: Callable[[], object] | None = None
    """Undoes what made the span current, where that was not `operation.attach`."""
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

    def __init__(self, server: HTTPServer, operation: Operation | Silent, kind: Kind) -> None:
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
            if self.operation.closed or type(self.operation) is Silent:
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

    def _measure(self, ending: dict[str, Any], operation: Any) -> None:
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
        """End the exchange without a trace of it; who looks for it finds that the request is to be left alone.

        What the application does until it has answered leaves no trace either.
        """
        operation = self.operation
        if not operation.closed and type(operation) is Operation:
            (self.leave or operation.detach)()
            silent = self.operation = operation.silence()
            self.attach, self.leave = silent.attach, silent.detach
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
    route: str | None = None

    def join(self, *anything: Any) -> bool:
        """There is nothing to take part in."""
        return False

    def note(self, error: BaseException) -> None:
        """Nothing is noted."""


LEFT_ALONE = LeftAlone()


def exchange_of(carrier: dict[str, Any] | None) -> Exchange | None:
    """Find the exchange of a request by its environ or scope; None where there is none."""
    found = None if carrier is None else carrier.get(KEY)
    return found if isinstance(found, Exchange) else None


def declared_length(headers: Iterable[tuple[Any, Any]]) -> int:
    """Give the length of a body as its headers tell it; 0 where they don't, or spell it as nobody does."""
    found = dict(headers)
    length = found.get("Content-Length") or found.get(b"content-length") or found.get("content-length")
    return (whole(length) or 0) if length else 0


@lru_cache(maxsize=1024)
def span_name(method: str, route: str) -> str:
    """Give the name of a span: method and route."""
    return f"{method} {route}"


def origin_form(target: str) -> str:
    """Give the path of a request target that is a whole URL, as proxies are sent it: that may hold a password.

    Source: RFC 9112, section 3.2. Other forms ("*", a host and a port) are given back as they are.
    """
    _, separator, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if separator else target


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
