"""One GET by urllib.request, answered by a handler without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.urllib:URLLibInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-urllib"
DDTRACE = None
REQUIRES = ()


def prepare() -> Callable[[], object]:
    """Make an opener whose handler answers at once."""
    from email.message import Message
    from urllib.request import BaseHandler, OpenerDirector, Request

    class Response:
        status = code = 200
        version = 11
        headers = Message()

        def info(self) -> Message:
            return self.headers

        def getcode(self) -> int:
            return self.code

    class Immediate(BaseHandler):
        def http_open(self, request: Any) -> Response:
            return Response()

    opener = OpenerDirector()
    opener.add_handler(Immediate())
    return lambda: opener.open(Request("http://service.example:8080/users/7?q=1"))
