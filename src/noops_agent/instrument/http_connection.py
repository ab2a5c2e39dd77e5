"""Requests over `http.client` connections, whose beginning and end are two calls of the program.

A request begins when its headers leave (`endheaders`) and ends when those of the response are there
(`getresponse`), or when the connection is closed without. In between the operation waits with its connection.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from . import http_client
from .http_client import DURATION, LAYER
from .model import LEFT_ALONE
from .operation import HTTP, speaks
from .patch import Patch

if TYPE_CHECKING:
    from .live import Live
    from .model import Options
    from .operation import Operation
    from .patch import Wrapper

OPERATION = "_noops_operation"
"""The attribute of a connection that holds its operation; a table beside it would cost a lock for each request."""


class Sent(Patch):
    """For `HTTPConnection.endheaders`: begins the operation, and puts the headers beside the program's."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        options = live.instrumentation.options

        @functools.wraps(original)
        def endheaders(connection: Any, *args: Any, **kwargs: Any) -> Any:
            if not live.on or not speaks(HTTP):
                return original(connection, *args, **kwargs)
            operation = begun(live, options, connection)
            if operation is None:
                return original(connection, *args, **kwargs)
            vars(connection)[OPERATION] = operation
            operation.attach()
            try:
                return original(connection, *args, **kwargs)
            except BaseException as error:
                operation.close(error)
                vars(connection).pop(OPERATION, None)
                raise
            finally:
                operation.detach()

        return endheaders


class Answered(Patch):
    """For `HTTPConnection.getresponse`: ends the operation."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        options = live.instrumentation.options

        @functools.wraps(original)
        def getresponse(connection: Any, *args: Any, **kwargs: Any) -> Any:
            operation = vars(connection).pop(OPERATION, None)
            if operation is None:
                return original(connection, *args, **kwargs)
            try:
                response = original(connection, *args, **kwargs)
            except BaseException as error:
                operation.close(error)
                raise
            operation.respond(response)
            operation.close(
                None, http_client.responded(options, response.status, response.version, response.getheaders)
            )
            return response

        return getresponse


class Closed(Patch):
    """For `HTTPConnection.close`: ends an operation that will get no response."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""

        @functools.wraps(original)
        def close(connection: Any, *args: Any, **kwargs: Any) -> Any:
            operation = vars(connection).pop(OPERATION, None)
            if operation is not None:
                operation.close(None, {"error.type": "_OTHER"})
            return original(connection, *args, **kwargs)

        return close


def begun(live: Live, options: Options, connection: Any) -> Operation | None:
    """Begin the operation of the request that waits in a connection's buffer."""
    try:
        left = vars(connection).pop(OPERATION, None)
        if left is not None:
            left.close(None, {"error.type": "_OTHER"})
        lines = connection._buffer
        if not lines:
            return None  # there is no request: the library is about to say so
        method, _, rest = lines[0].partition(b" ")
        target = rest.rpartition(b" ")[0].decode("latin-1")
        url = url_of(connection, target)
        call = http_client.described(options, method.decode("latin-1"), url, functools.partial(pairs, lines))
        if call is LEFT_ALONE:
            return None
        call.request = connection
        call.inject = functools.partial(put, lines)
        return live.open(call, SpanKind.CLIENT, DURATION, LAYER)
    except Exception as error:
        live.failed("http.client:HTTPConnection.endheaders", error)
        return None


def url_of(connection: Any, target: str) -> str:
    """Put the URL of a request together; a proxy is asked for all of it."""
    if not target.startswith("/") and "://" in target:
        return target
    host, port = connection._tunnel_host, connection._tunnel_port
    if not host:
        host, port = connection.host, connection.port
    scheme = "https" if connection.default_port == 443 else "http"
    return http_client.origin(scheme, host, port) + target


def pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Read the headers in a buffer."""
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]


def put(lines: list[bytes], name: str, value: str) -> None:
    """Put a header into a buffer of lines, in place of every one with its name."""
    start = name.encode("latin-1") + b":"
    size = len(start)
    for at in range(len(lines) - 1, 0, -1):
        if lines[at][:size].lower() == start:
            del lines[at]
    lines.append(b"%s %s" % (start, value.encode("latin-1")))
