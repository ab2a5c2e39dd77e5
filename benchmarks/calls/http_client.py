"""One GET by http.client over a kept connection to a server on loopback."""

from __future__ import annotations

from collections.abc import Callable

from http_origin import start

CONTRIB = None
CONTRIB_PACKAGE = None
DDTRACE = "httplib"
REQUIRES = ()


def prepare() -> Callable[[], object]:
    """Connect."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", start())

    def call() -> object:
        connection.request("GET", "/")
        return connection.getresponse().read()

    return call
