"""One GET by an HTTPX client, answered by a transport without a network."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.httpx:HTTPXClientInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-httpx"
DDTRACE = "httpx"
REQUIRES = ("httpx",)


def prepare() -> Callable[[], object]:
    """Make a client that sends one request again and again: what is added to a call stands out.

    contrib instruments HTTPX's own transports, so the transport is one, and its connection pool answers.
    """
    import httpcore
    import httpx

    class Pool:
        def handle_request(self, request: httpcore.Request) -> httpcore.Response:
            return httpcore.Response(200, extensions={"http_version": b"HTTP/1.1"})

    transport = httpx.HTTPTransport()
    transport._pool = Pool()  # type: ignore[assignment]
    client = httpx.Client(transport=transport, trust_env=False)
    request = client.build_request("GET", "http://service.example:8080/users/7?q=1")
    return lambda: client.send(request)
