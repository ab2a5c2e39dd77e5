"""Requests over the standard library's `http.client`, where no client above it spoke of them.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from noops_agent.instrument import Instrumentation
from noops_agent.instrument.http_connection import Answered, Closed, Sent

INSTRUMENTATION = Instrumentation(
    "http_client",
    hooks=(
        Sent("http.client:HTTPConnection.endheaders"),
        Answered("http.client:HTTPConnection.getresponse"),
        Closed("http.client:HTTPConnection.close"),
    ),
)
