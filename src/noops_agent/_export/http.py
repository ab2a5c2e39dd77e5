"""OTLP over HTTP, in protobuf or JSON."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Any

from .._version import VERSION
from .loading import load
from .mistakes import explain_error, explain_status
from .otlp import partial_success, readable, status_message
from .sink import DELIVERED, REFUSED, TOO_LARGE, UNAVAILABLE, Answer

RETRYABLE = (429, 502, 503, 504)
USER_AGENT = f"OTel-OTLP-Exporter-Python/noops_agent-{VERSION}"


class HttpSink:
    """Sends each signal to its URL.

    Args:
        targets: For each signal, its settings (`_config.Otlp`). Certificates are those of the first.
    """

    def __init__(self, targets: Mapping[int, Any]) -> None:
        self.signals = tuple(targets)
        self._targets = dict(targets)
        self.name = shown(next(iter(targets.values())).endpoint)
        self._channel: Any = None

    def send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        """Send one encoded request; the timeout of the settings holds where it is shorter."""
        target = self._targets[signal]
        try:
            headers, content = self._encode(target, signal, body)
        except ImportError as error:
            return Answer(UNAVAILABLE, reason=f"{error}; install opentelemetry-exporter-otlp")
        except Exception as error:
            return Answer(REFUSED, reason=f"it can't be encoded: {error!r}")
        try:
            channel = self._channel or self._open(target)
            response = channel.post(target.endpoint, content, headers, min(timeout_s, target.timeout_s))
        except Exception as error:
            return Answer(UNAVAILABLE, reason=explain_error(error, target))
        return answer_of(response, target, signal)

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()

    def forget(self) -> None:
        """Use a new connection from now on; closing a descriptor in a child says nothing to the server."""
        self._channel = None

    def _open(self, target: Any) -> Any:
        self._channel = load(".transport", __package__).Channel(
            target.certificate, target.client_certificate, target.client_key
        )
        return self._channel

    def _encode(self, target: Any, signal: int, body: bytes) -> tuple[dict[str, str], bytes]:
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": USER_AGENT}
        if target.protocol == "http/json":
            headers["Content-Type"] = "application/json"
            body = load(".json", __package__).to_json(signal, body)
        if target.compression == "gzip":
            headers["Content-Encoding"] = "gzip"
            body = gzip(body)
        headers.update(credentials(target.endpoint))
        headers.update(target.headers)
        return headers, body


def gzip(body: bytes) -> bytes:
    """Compress in the format of gzip, at the fastest level."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def credentials(endpoint: str) -> dict[str, str]:
    """Make the header for a user name and password in a URL."""
    authority = endpoint.partition("://")[2].partition("/")[0]
    if "@" not in authority:
        return {}
    secret = load("urllib.parse").unquote_to_bytes(authority.rpartition("@")[0])
    return {"Authorization": "Basic " + load("base64").b64encode(secret).decode()}


def shown(endpoint: str) -> str:
    """Give a URL without what is secret in it."""
    scheme, separator, rest = endpoint.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path.partition("?")[0]


def answer_of(response: Any, target: Any, signal: int) -> Answer:
    """Read what became of a request from its HTTP response."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= response.status < 300:
        if kind == "text/html":
            return Answer(REFUSED, reason=explain_status(response.status, kind, "", response.headers, target))
        if kind == "application/json":
            return Answer(DELIVERED, *_json_success(response.body, signal))
        return Answer(DELIVERED, *partial_success(response.body))
    text = status_message(response.body) if kind == "application/x-protobuf" else ""
    reason = explain_status(response.status, kind, text or readable(response.body), response.headers, target)
    if response.status in RETRYABLE:
        return Answer(UNAVAILABLE, reason=reason, retry_after_s=retry_after(response.headers.get("retry-after")))
    return Answer(TOO_LARGE if response.status == 413 else REFUSED, reason=reason)


def _json_success(body: bytes, signal: int) -> tuple[int, str]:
    try:
        partial = load("json").loads(body).get("partialSuccess") or {}
        rejected = next((int(v) for k, v in partial.items() if k.startswith("rejected")), 0)
        return max(rejected, 0), readable(str(partial.get("errorMessage", "")).encode("utf-8", "replace"))
    except (ValueError, AttributeError, TypeError):
        return 0, ""


def retry_after(value: str | None) -> float | None:
    """Read a `Retry-After` header: seconds from now; None where it is missing or makes no sense."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date: float = load("email.utils").parsedate_to_datetime(value).timestamp()
        return max(date - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
