"""ASGI applications: of a framework, or whatever a server is given.

Both a server and the frameworks inside are instrumented, and still a request has one span: the outermost one of ours
puts its exchange into the scope, those inside find it there and take part in it. There are no spans for messages.

The span ends once the last message of the response is sent, or when the application returns without it: the client
has left. What runs after the response (background tasks) is not part of its length, but has it as its parent. A
WebSocket has one span, from the handshake until the application returns.

Source: ASGI specification 3.0, HTTP & WebSocket message format 2.5; OpenTelemetry semantic conventions 1.44,
docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from opentelemetry.propagators.textmap import Getter

from .applications import Argument, Attribute
from .exchange import KEY, Exchange, departs, exchange_of
from .http_server import HTTPServer, Keys
from .model import Args, Kwargs
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
FindRoute = Callable[[Scope], "str | None"]
Mark = Callable[[Scope], object]

REST = "/{path}"
"""What the template of a mount ends with."""

current: ContextVar[Exchange | None] = ContextVar("noops_exchange", default=None)
"""The exchange that the running code belongs to, for what knows no scope: handlers of exceptions."""


class ScopeGetter(Getter[Any]):
    """Reads headers from the list of a scope, where one can stand several times."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """Give the values of a header."""
        name = key.lower().encode("latin-1")
        return [value.decode("latin-1") for found, value in carrier if found == name] or None

    def keys(self, carrier: Any) -> list[str]:
        """Give the names of all headers."""
        return [name.decode("latin-1") for name, _ in carrier]


KEYS = Keys(str.encode, ScopeGetter())


# ---- one request -----------------------------------------------------------------------------------------


class ASGIExchange(Exchange):
    """An exchange whose `send` stands in the place of the server's."""

    _send: Send
    _trailers = False

    async def send(self, message: Message) -> None:
        """Send a message, and take note of what it says."""
        last = self._read(message)
        try:
            await self._send(message)
        except OSError:
            self.gone = True  # the specification's way to say that the client has left
            raise
        # A server error waits for the exception that its framework raises once the response is sent.
        if last and (self.status < 500 or self._error is not None):
            self.close()

    def _read(self, message: Message) -> bool:
        """Read a message; whether it is the last one of the response."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                body = message.get("body")
                if body:
                    self.sent += len(body)
                return not message.get("more_body") and not self._trailers
            if kind == "http.response.start":
                self.begun()
                self._trailers = bool(message.get("trailers"))
                self.responded(message["status"], message.get("headers") or (), message)
                return False
            return self._read_rare(kind, message)
        except Exception as problem:
            self.server.live.failed("asgi.send", problem)
            return False

    def _read_rare(self, kind: str, message: Message) -> bool:
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        if kind == "http.response.pathsend":
            return not self._trailers
        if kind == "http.response.zerocopysend":
            return not message.get("more_body") and not self._trailers
        if kind == "websocket.accept":
            self.begun()
            self.responded(101, message.get("headers") or (), message)
        elif kind == "websocket.close" and not self.status:
            self.responded(403, (), message)
        elif kind == "websocket.http.response.start":
            self.responded(message["status"], message.get("headers") or (), message)
        return False

    def fail(self, error: BaseException) -> None:
        """End the exchange with an exception that went through to the server."""
        if departs(error):
            self.gone = True
        self.close(error)


def begin(
    server: HTTPServer, scope: Scope, send: Send, find_route: FindRoute | None, mark: Mark | None
) -> ASGIExchange | None:
    """Begin the exchange of a request; None where the application is to run without one."""
    try:
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or not server.live.on:
            return None
        if mark is not None:
            mark(scope)
        outer = scope.get(KEY)
        if outer is not None:
            outer.join(server, find_route, scope)
            return None
        exchange: Any = start(server, scope, kind == "websocket")
        if exchange is not None:
            exchange.enter(scope)
            exchange.find_route = find_route
            exchange._send = send
        return exchange  # type: ignore[no-any-return]
    except Exception as problem:
        server.live.failed("asgi.begin", problem)
        return None


def start(server: HTTPServer, scope: Scope, websocket: bool) -> Exchange | None:
    """Start the exchange of a scope."""
    get = scope.get
    raw = scope["headers"]
    query = get("query_string")
    exchange = server.open(
        get("method", "GET"),
        get("scheme") or ("ws" if websocket else "http"),
        scope["path"],
        query.decode("latin-1") if query else "",
        get("http_version", ""),
        dict(raw),
        raw,
        get("client"),
        get("server"),
        scope,
        websocket=websocket,
    )
    if exchange is not None and server.request_headers:
        server.capture(exchange, raw)
    return exchange


def observing(
    server: HTTPServer,
    original: Callable[..., Awaitable[Any]],
    find_route: FindRoute | None = None,
    mark: Mark | None = None,
) -> Wrapper:
    """Make the wrapper of a method that is an application."""

    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        exchange = begin(server, scope, send, find_route, mark)
        if exchange is None:
            return await original(self, scope, receive, send)
        attach, exchange.leave = exchange.operation.activation()
        attach()
        token = current.set(exchange)
        try:
            return await original(self, scope, receive, exchange.send)
        except BaseException as error:
            exchange.fail(error)
            raise
        finally:
            exchange.close()
            exchange.leave()
            try:
                current.reset(token)
            except ValueError:
                pass  # closed in another context than it was started in

    return call


def handled(_: Any, args: Args, kwargs: Kwargs) -> None:
    """Remember the exception that a handler is looked up for, for the request of the running code: for `Before`."""
    exchange = current.get()
    if exchange is not None:
        exchange.note(args[-1] if args else kwargs["exc"])


def selected(scope: Scope, path: str | None, mount: bool) -> None:
    """Take note of a route that a router has selected.

    Args:
        scope: Of the request; of a mounted application its `root_path` is the path so far.
        path: The route's template.
        mount: There is a router or application behind it, which may select a route in its turn.
    """
    exchange = exchange_of(scope)
    if exchange is None or path is None:
        return
    root = scope.get("root_path", "")
    if mount:
        if root != exchange.mounted:  # else another router's integration has told it already
            before = scope.get("app_root_path", "").rstrip("/") if exchange.mounted is None else exchange.prefix
            exchange.prefix = before + path.removesuffix(REST)
            exchange.mounted = root
        exchange.route = exchange.prefix + REST
    elif exchange.mounted is None:
        exchange.route = root.rstrip("/") + path if root else path
    else:
        exchange.route = exchange.prefix + path


# ---- patches ---------------------------------------------------------------------------------------------


class ASGIMethod(Patch):
    """Instruments the applications of a framework: the target is called as `target(self, scope, receive, send)`."""

    def __init__(
        self,
        target: str,
        find_route: FindRoute | None = None,
        *,
        mark: Mark | None = None,
        optional: bool = False,
    ) -> None:
        """
        Args:
            target: The method that is the application.
            find_route: Finds the template of the route in the scope once the method has run.
            mark: Called with each scope: tells what traces by itself inside that it isn't needed.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.find_route = find_route
        self.mark = mark

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        server = HTTPServer(live, KEYS, ASGIExchange)
        return wraps(original)(observing(server, original, self.find_route, self.mark))


class Routing(Patch):
    """Takes note of the routes of Starlette that handle a request: `target(route, scope, receive, send)`."""

    def __init__(self, target: str, *, mount: bool = False, optional: bool = False) -> None:
        """
        Args:
            target: The method of a route.
            mount: It is one that leads to another application.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.mount = mount

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        mount = self.mount

        @wraps(original)
        async def handle(route: Any, scope: Scope, receive: Receive, send: Send) -> Any:
            try:
                selected(scope, route.path_format, mount)
            except Exception as problem:
                live.failed("asgi.route", problem)
            return await original(route, scope, receive, send)

        return handle


class RouteSelected(Patch):
    """Takes note of the routes that FastAPI's routers tell their own telemetry of."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                selected(kwargs["scope"], kwargs["path"], kwargs.get("mount", False))
            except Exception as problem:
                live.failed("asgi.route", problem)
            return original(*args, **kwargs)

        return call


def application_class(live: Live) -> Callable[[Application], Any]:
    """Make the class of the applications that servers are given: instrumented, and otherwise what they were."""
    server = HTTPServer(live, KEYS, ASGIExchange)

    def passed_on(self: Any, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._application(scope, receive, send)  # type: ignore[no-any-return]

    call = observing(server, passed_on)

    class Instrumented:
        __slots__ = ("__weakref__", "_application")
        __call__ = call

        def __init__(self, application: Application) -> None:
            self._application = application

        def __getattr__(self, name: str) -> Any:
            return getattr(self._application, name)

    def instrumented(application: Any) -> Any:
        known = type(application).__qualname__ == Instrumented.__qualname__  # another target's, perhaps
        return application if known or not callable(application) or not live.on else Instrumented(application)

    return instrumented


class ASGIArgument(Argument):
    """For a server of ASGI applications."""

    instrument = staticmethod(application_class)


class ASGIAttribute(Attribute):
    """For a server of ASGI applications."""

    instrument = staticmethod(application_class)
