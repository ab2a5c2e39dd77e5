"""Why an export fails, in one line that says what to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .loading import load
from .otlp import PATHS, readable

GRPC_HINT = "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or use the HTTP port (4318 by default)"

HTTP_HINT = "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or use the gRPC port (4317 by default)"


def port_of(endpoint: str) -> str:
    """Find the port in a URL; empty where it names none."""
    authority = endpoint.partition("://")[2].partition("/")[0] or endpoint
    port = authority.rpartition(":")[2]
    return port if port.isdigit() else ""


def path_of(endpoint: str) -> str:
    """Find the path in a URL."""
    _, slash, path = endpoint.partition("://")[2].partition("/")
    return (slash + path).partition("?")[0]


def explain_error(error: BaseException, target: Any) -> str:
    """Explain why there was no answer over HTTP."""
    text = describe(error)
    lowered = text.lower()
    tls = target.endpoint.startswith("https:")
    if tls and any(
        word in lowered for word in ("wrong_version_number", "wrong version", "record layer", "unknown_protocol")
    ):
        return "the server speaks no TLS there; use http:// in the endpoint"
    if tls and "certificate_verify_failed" in lowered:
        return f"{text}; OTEL_EXPORTER_OTLP_CERTIFICATE names the certificate to trust"
    # What a server says first that speaks no HTTP/1.1: an alert of TLS, or the settings frame of HTTP/2.
    start = str(error)[:9]
    if "\x15\x03" in start:
        return "the server speaks TLS there; use https:// in the endpoint"
    if "\x00\x00" in start or "http/2" in lowered:
        return f"the server speaks gRPC there, not OTLP over HTTP; {GRPC_HINT}"
    refused = isinstance(error, ConnectionRefusedError)
    if port_of(target.endpoint) == "4317" and isinstance(error, _broken_answer()) and not refused:
        return f"{text}; port 4317 is the one of gRPC: {GRPC_HINT}"
    return text


def _broken_answer() -> tuple[type[BaseException], ...]:
    return (ConnectionError, load("http.client").HTTPException)


def describe(error: BaseException) -> str:
    """Put an error in one line: its type where that says more than its text."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = readable(str(error).encode("utf-8", "replace"))
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def explain_status(status: int, kind: str, text: str, headers: Mapping[str, str], target: Any) -> str:
    """Explain an HTTP status other than success; *text* is what the server says."""
    hint = _hint(status, kind, text.lower(), headers, target)
    said = "" if kind == "text/html" or not text else f" ({text})"
    return f"HTTP status {status}{said}" + (f"; {hint}" if hint else "")


def _hint(status: int, kind: str, text: str, headers: Mapping[str, str], target: Any) -> str:
    path = path_of(target.endpoint)
    if "http request to an https server" in text or "plain http request was sent to https" in text:
        return "the server speaks TLS there; use https:// in the endpoint"
    if status in (404, 405, 501) or (kind == "text/html" and status < 400):
        return _path_hint(path) or ("that is a web page, not an OTLP receiver" if kind == "text/html" else "")
    if 300 <= status < 400:
        return f"it points to {headers.get('location', 'elsewhere')[:200]}; use that as the endpoint if you trust it"
    if status == 415:
        other = "http/protobuf" if target.protocol == "http/json" else "http/json"
        return f"it takes no {target.protocol} there; try OTEL_EXPORTER_OTLP_PROTOCOL={other} or grpc"
    if status in (401, 403):
        return "check the credentials in OTEL_EXPORTER_OTLP_HEADERS"
    if kind == "application/grpc" or status == 426:
        return f"the server speaks gRPC there, not OTLP over HTTP; {GRPC_HINT}"
    return ""


def _path_hint(path: str) -> str:
    for known in PATHS:
        if path.rstrip("/").endswith(known + known):
            return (
                f"{known} stands twice in the URL: OTEL_EXPORTER_OTLP_ENDPOINT gets it appended, so leave it out there"
            )
    if not path.rstrip("/").endswith(PATHS):
        return (
            "the path is wrong: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is and usually ends with /v1/traces, "
            "OTEL_EXPORTER_OTLP_ENDPOINT gets that appended"
        )
    return "nothing takes OTLP at that path of that server"


def explain_grpc(code: str, details: str, endpoint: str, secure: bool) -> str:
    """Explain a failed gRPC call by its status code, its text and the address."""
    lowered = details.lower()
    reason = f"gRPC status {code}" + (f" ({' '.join(details.split())[:200]})" if details else "")
    if secure and ("wrong_version_number" in lowered or "wrong version" in lowered):
        return f"{reason}; the server speaks no TLS there: use http:// in the endpoint"
    http_answer = any(word in lowered for word in ("http1", "http/1", "http status", "content-type", "405", "404"))
    if port_of(endpoint) == "4318" or http_answer:
        return f"{reason}; the server speaks OTLP over HTTP there: {HTTP_HINT}"
    if code == "UNIMPLEMENTED":
        return f"{reason}; the server at that address takes no traces by OTLP"
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"{reason}; check the credentials in OTEL_EXPORTER_OTLP_HEADERS"
    return reason
