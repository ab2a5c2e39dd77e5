"""Remote procedure calls: the names of the convention, in one place.

Source: OpenTelemetry semantic conventions 1.44, docs/rpc/rpc-spans.md, docs/rpc/rpc-metrics.md and docs/rpc/grpc.md
(release candidate).
"""

from __future__ import annotations

from typing import Any

from .model import Duration

LAYER = "rpc"

SYSTEM = "rpc.system.name"
METHOD = "rpc.method"
METHOD_ORIGINAL = "rpc.method_original"
STATUS_CODE = "rpc.response.status_code"
OTHER = "_OTHER"
"""Stands for a method that the server doesn't have: what clients make up must not become names of spans."""

OK = "OK"
CANCELLED = "CANCELLED"
UNKNOWN = "UNKNOWN"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
UNIMPLEMENTED = "UNIMPLEMENTED"

SERVER_ERRORS = frozenset({UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The status codes of gRPC that are failures of the server; the others say that the client was at fault, or left."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper edges of the buckets that the convention advises, in seconds."""

CLIENT_DURATION = Duration(
    "rpc.client.call.duration",
    "Measures the duration of an outgoing Remote Procedure Call (RPC).",
    keys=(SYSTEM, METHOD, STATUS_CODE, "error.type", "server.address", "server.port"),
    bounds=BOUNDS,
)

SERVER_DURATION = Duration(
    "rpc.server.call.duration",
    "Measures the duration of an incoming Remote Procedure Call (RPC).",
    keys=(SYSTEM, METHOD, STATUS_CODE, "error.type"),
    bounds=BOUNDS,
)


_ANSWERED: dict[str, dict[str, Any]] = {OK: {STATUS_CODE: OK}}
_SERVED: dict[str, dict[str, Any]] = {}


def answered(code: str) -> dict[str, Any]:
    """Give the attributes of a client call that ended with a status, not to be changed: any but OK is an error."""
    found = _ANSWERED.get(code)
    if found is None:
        found = _ANSWERED[code] = {STATUS_CODE: code, "error.type": code}
    return found


def served(code: str) -> dict[str, Any]:
    """Give the attributes of a server's call that ended with a status, not to be changed."""
    found = _SERVED.get(code)
    if found is None:
        error = {"error.type": code} if code in SERVER_ERRORS else {}
        found = _SERVED[code] = {STATUS_CODE: code, **error}
    return found
