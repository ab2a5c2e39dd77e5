"""One GET by urllib3 over a kept connection to a server on loopback."""

from __future__ import annotations

from collections.abc import Callable

from http_origin import start

CONTRIB = "opentelemetry.instrumentation.urllib3:URLLib3Instrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-urllib3"
DDTRACE = "urllib3"
REQUIRES = ("urllib3",)


def prepare() -> Callable[[], object]:
    """Connect."""
    import urllib3

    pool = urllib3.HTTPConnectionPool("127.0.0.1", start())
    return lambda: pool.urlopen("GET", "/")
