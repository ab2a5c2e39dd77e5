"""WSGI applications: of a framework, or whatever a server is given.

Both a server and the frameworks inside are instrumented, and still a request has one span: the outermost one of ours
puts its exchange into the environ, those inside find it there and take part in it.

The span ends with the body: at `close`, at the last chunk of a body that has no `close`, or at once where the whole
body is there already, in a list or in the response of a framework that we know. It is current while the application's
code runs, that of the body included.

Source: PEP 3333; OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from opentelemetry.propagators.textmap import Getter

from .applications import Argument, Attribute
from .exchange import KEY, Exchange
from .forwarded import whole
from .http_server import HTTPServer, Keys
from .operation import Silent
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live

Environ = dict[str, Any]
FindRoute = Callable[[Environ], "str | None"]
Buffered = Callable[[Any], "Sequence[Any] | None"]
"""(body) -> its chunks, where they are all there; None where code of the application runs in it, or may."""

VERSIONS = {"HTTP/1.1": "1.1", "HTTP/1.0": "1.0", "HTTP/2": "2", "HTTP/2.0": "2", "HTTP/3": "3", "HTTP/3.0": "3"}
"""Value of `SERVER_PROTOCOL` -> `network.protocol.version`."""


@lru_cache(maxsize=256)
def environ_key(name: str) -> str:
    """Give the key that a header has in an environ."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"


class EnvironGetter(Getter[Environ]):
    """Reads headers from an environ."""

    def get(self, carrier: Environ, key: str) -> list[str] | None:
        """Give the values of a header; the server has joined several into one."""
        value = carrier.get(environ_key(key.lower()))
        return None if value is None else [value]

    def keys(self, carrier: Environ) -> list[str]:
        """Give the names of all headers."""
        return [name for name, _ in environ_headers(carrier)]


def environ_headers(environ: Environ) -> Iterator[tuple[str, Any]]:
    """Give the names, in lower case, and values of the headers in an environ."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower(), value
        elif key in ("CONTENT_LENGTH", "CONTENT_TYPE") and value:
            yield key.replace("_", "-").lower(), value


KEYS = Keys(environ_key, EnvironGetter())


# ---- one request -----------------------------------------------------------------------------------------


class WSGIExchange(Exchange):
    """An exchange whose `start_response` stands in the place of the server's."""

    attach: Callable[[], object]
    leave: Callable[[], object]
    _start: Callable[..., Any]
    _write: Callable[[bytes], object]

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        """Pass the call on, and take note of the status and headers if the server accepts them."""
        self._write = self._start(status, headers) if exc_info is None else self._start(status, headers, exc_info)
        try:  # `responded`, in place
            self.status = int(status[:3])
            self._headers = headers
            if self.find_route is not None:
                route = self.find_route(self.scene)
                if route:
                    self.route = route
            if self.server.hooked or self._guests:
                self._response = (status, headers)
        except Exception as problem:
            self.server.live.failed("wsgi.start_response", problem)
        return self.write

    def write(self, data: bytes) -> object:
        """Write to the client at once, as old applications do."""
        written = self._write(data)
        self._add((data,))
        return written

    def follow(self, body: Any, environ: Environ) -> Any:
        """Give what the server gets for the body that the application returned."""
        kind = type(body)
        if kind is list or kind is tuple:
            self._add(body)
            self.close()
            return body
        if self.buffered is not None:
            chunks = self._chunks(body, self.buffered)
            if chunks is not None:
                self._add(chunks)
                self.close()
                return body
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            self.begun()
            return self._follow_file(body)
        return SizedBody(self, body) if hasattr(kind, "__len__") else Body(self, body)

    def _chunks(self, body: Any, buffered: Buffered) -> Sequence[Any] | None:
        try:
            return buffered(body)
        except Exception as problem:
            self.server.live.failed("wsgi.buffered", problem)
            return None

    def _add(self, chunks: Any) -> None:
        try:
            if chunks:
                self.begun()
                self.sent += sum(map(len, chunks))
        except Exception as problem:  # what they are is between the application and the server
            self.server.live.failed("wsgi.body", problem)

    def _follow_file(self, body: Any) -> Any:
        """Follow a file that the server sends by itself if it recognizes its own wrapper: that can't be replaced."""
        close = getattr(body, "close", None)

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self.close()

        try:
            body.close = closed
        except (AttributeError, TypeError):
            self.close()
        return body


class Body:
    """What the server iterates in place of the application's body. Everything else is the body's own."""

    __slots__ = ("_attach", "_body", "_closing", "_detach", "_exchange", "_next")

    def __init__(self, exchange: WSGIExchange, body: Any) -> None:
        self._exchange = exchange
        self._body = body
        self._closing = getattr(body, "close", None)
        self._attach, self._detach = exchange.attach, exchange.leave

    def __iter__(self) -> Body:
        body = self._body
        runs = not hasattr(type(body), "__next__")  # an iterator gives itself, as a rule
        if runs:
            self._attach()
        try:
            self._next = iter(body).__next__
        except BaseException as error:
            self._exchange.close(error)
            raise
        finally:
            if runs:
                self._detach()
        return self

    def __next__(self) -> Any:
        exchange = self._exchange
        self._attach()
        try:
            chunk = self._next()
        except StopIteration:
            if self._closing is None:
                exchange.close()
            raise
        except BaseException as error:
            exchange.close(error)
            raise
        finally:
            self._detach()
        if type(chunk) is bytes:
            if chunk:
                if not exchange.sent:
                    exchange.begun()
                exchange.sent += len(chunk)
        else:
            exchange._add((chunk,))
        return chunk

    def close(self) -> None:
        """Close the application's body, and end the span."""
        exchange = self._exchange
        closing, self._closing = self._closing, None
        if closing is None:
            exchange.close()
            return
        self._attach()
        try:
            closing()
        except BaseException as error:
            exchange.close(error)
            raise
        finally:
            self._detach()
        exchange.close()

    def __getattr__(self, name: str) -> Any:
        if name == "_next":  # a body that is an iterator, and is taken for one
            return self._body.__next__
        return getattr(self._body, name)

    def __del__(self) -> None:
        # A server that lets go of a body without closing it: the span ends all the same.
        if not self._exchange.operation.closed:
            self._exchange.close()


class SizedBody(Body):
    """The same of a body that tells how many chunks it has: servers derive `Content-Length` from that."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)


def begin(
    server: HTTPServer, environ: Environ, start_response: Callable[..., Any], find_route: FindRoute | None
) -> WSGIExchange | None:
    """Begin the exchange of a request; None where there is to be none."""
    try:
        get = environ.get
        path = get("PATH_INFO", "")
        root = get("SCRIPT_NAME")
        if root:
            path = root + path
        if not path.isascii():
            path = path.encode("latin-1", "replace").decode("utf-8", "replace")
        port = get("REMOTE_PORT") or ""
        exchange: Any = server.open(
            get("REQUEST_METHOD", "GET"),
            get("wsgi.url_scheme", "http"),
            path,
            get("QUERY_STRING", ""),
            VERSIONS.get(get("SERVER_PROTOCOL", ""), ""),
            environ,
            environ,
            (get("REMOTE_ADDR"), int(port) if type(port) is int or port.isdigit() else None),
            None if "HTTP_HOST" in environ else (get("SERVER_NAME"), whole(get("SERVER_PORT", ""))),
            environ,
        )
        if exchange is not None:
            environ[KEY] = exchange
            exchange._home = exchange.scene = environ
            exchange.find_route = find_route
            exchange._start = start_response
            exchange.attach, exchange.leave = exchange.operation.activation()
            if type(exchange.operation) is Silent:
                exchange.start_response = start_response
            elif server.request_headers:
                server.capture(exchange, environ_headers(environ))
        return exchange  # type: ignore[no-any-return]
    except Exception as problem:
        server.live.failed("wsgi.begin", problem)
        return None


def observing(
    server: HTTPServer,
    original: Callable[..., Any],
    find_route: FindRoute | None = None,
    buffered: Buffered | None = None,
) -> Wrapper:
    """Make the wrapper of a method that is an application.

    Args:
        server: Of the library that is enabled.
        original: The method.
        find_route: Finds the template of the route in the environ once the response begins.
        buffered: Gives the chunks of a body of the framework that is there already.
    """
    live = server.live

    def call(self: Any, environ: Environ, start_response: Callable[..., Any]) -> Any:
        outer = environ.get(KEY)
        if outer is not None:
            told = outer.scene is environ and outer.server.live is live
            if not told and outer.join(server, find_route, environ):
                outer.buffered = buffered
                start_response = routing(outer, find_route, start_response)
            return original(self, environ, start_response)
        exchange = begin(server, environ, start_response, find_route)
        if exchange is None:
            return original(self, environ, start_response)
        exchange.buffered = buffered
        exchange.attach()
        try:
            body = original(self, environ, exchange.start_response)
        except BaseException as error:
            exchange.close(error)
            raise
        finally:
            exchange.leave()
        return exchange.follow(body, environ)

    return call


def routing(exchange: Exchange, find_route: FindRoute | None, start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Give the `start_response` that a framework inside gets: the last moment at which it knows its route."""
    if find_route is None or isinstance(exchange, WSGIExchange):
        return start_response  # the exchange's own, which asks

    def start(*args: Any, **kwargs: Any) -> Any:
        exchange.ask_route()
        return start_response(*args, **kwargs)

    return start


# ---- patches ---------------------------------------------------------------------------------------------


def application_class(live: Live) -> Callable[[Any], Any]:
    """Make the class of the applications that servers are given: instrumented, and otherwise what they were."""

    def passed_on(self: Any, environ: Environ, start_response: Callable[..., Any]) -> Any:
        return self._application(environ, start_response)

    call = observing(HTTPServer(live, KEYS, WSGIExchange), passed_on)

    class Instrumented:
        __slots__ = ("__weakref__", "_application")
        __call__ = call

        def __init__(self, application: Callable[..., Any]) -> None:
            self._application = application

        def __getattr__(self, name: str) -> Any:
            return getattr(self._application, name)

    def instrumented(application: Any) -> Any:
        known = type(application).__qualname__ == Instrumented.__qualname__  # another target's, perhaps
        return application if known or not callable(application) or not live.on else Instrumented(application)

    return instrumented


class WSGIMethod(Patch):
    """Instruments the applications of a framework: the target is called as `target(self, environ, start_response)`."""

    def __init__(
        self,
        target: str,
        find_route: FindRoute | None = None,
        *,
        buffered: Buffered | None = None,
        optional: bool = False,
    ) -> None:
        """
        Args:
            target: The method that is the application.
            find_route: Finds the template of the route in the environ once the response begins.
            buffered: Gives the chunks of a body of the framework that is there already: nobody need wait for its end.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.find_route = find_route
        self.buffered = buffered

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        server = HTTPServer(live, KEYS, WSGIExchange)
        return wraps(original)(observing(server, original, self.find_route, self.buffered))


class WSGIArgument(Argument):
    """For a server of WSGI applications."""

    instrument = staticmethod(application_class)


class WSGIAttribute(Attribute):
    """For a server of WSGI applications."""

    instrument = staticmethod(application_class)
