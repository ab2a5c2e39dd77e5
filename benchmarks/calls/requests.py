"""One GET by requests, answered by an adapter without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.requests:RequestsInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-requests"
DDTRACE = "requests"
REQUIRES = ("requests",)


def prepare() -> Callable[[], object]:
    """Make a session that sends one prepared request again and again: what is added to a call stands out."""
    import requests
    from requests.adapters import HTTPAdapter

    class Raw:
        status, version, reason = 200, 11, "OK"
        _original_response = None

        def __init__(self) -> None:
            self.headers = {"Content-Type": "text/plain"}

    class Immediate(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            response = self.build_response(request, Raw())
            response._content = b""
            return response

    session = requests.Session()
    session.trust_env = False
    session.mount("http://", Immediate())
    request = session.prepare_request(requests.Request("GET", "http://service.example:8080/users/7?q=1"))
    return lambda: session.send(request)
