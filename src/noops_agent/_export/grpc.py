"""OTLP over gRPC: encoded requests go through as they are, so protobuf is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._version import VERSION
from .loading import load
from .mistakes import describe, explain_grpc
from .otlp import SIGNALS, partial_success, retry_delay
from .sink import DELIVERED, REFUSED, TOO_LARGE, UNAVAILABLE, Answer

RETRYABLE = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
"""Source: opentelemetry-proto 1.11, docs/specification.md, "OTLP/gRPC Response"."""

USER_AGENT = f"OTel-OTLP-Exporter-Python/noops_agent-{VERSION}"

_channels: list[Any] = []
"""Every open channel. A forked child must not finalize its parent's, so none is ever left to the collector."""


class GrpcSink:
    """Sends each signal to its service.

    Args:
        targets: For each signal, its settings (`_config.Otlp`). Address and certificates are those of the first.
    """

    def __init__(self, targets: Mapping[int, Any]) -> None:
        self.signals = tuple(targets)
        self._targets = dict(targets)
        self._first = next(iter(targets.values()))
        self._address, self._secure = address_of(self._first.endpoint, self._first.insecure)
        self.name = f"grpc://{self._address}"
        self._channel: Any = None
        self._calls: dict[int, Any] = {}

    def send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        """Send one encoded request; the timeout of the settings holds where it is shorter."""
        try:
            grpc = load("grpc")
        except ImportError as error:
            return Answer(REFUSED, reason=f"grpc can't be loaded ({error}); install opentelemetry-exporter-otlp")
        target = self._targets[signal]
        try:
            call = self._calls.get(signal) or self._open(grpc, signal)
            packed = grpc.Compression.Gzip if target.compression == "gzip" else grpc.Compression.NoCompression
            metadata = [(name.lower(), value) for name, value in target.headers.items()]
            response = call(body, timeout=min(timeout_s, target.timeout_s), metadata=metadata, compression=packed)
        except grpc.RpcError as error:
            return self._answer(error)
        except (OSError, ValueError) as error:
            return Answer(UNAVAILABLE, reason=describe(error))
        return Answer(DELIVERED, *partial_success(response))

    def close(self) -> None:
        """Close the channel."""
        channel, self._channel, self._calls = self._channel, None, {}
        if channel is not None:
            _channels.remove(channel)
            channel.close()

    def forget(self) -> None:
        """Use a new channel from now on, and leave the old one alone."""
        self._channel, self._calls = None, {}

    def _open(self, grpc: Any, signal: int) -> Any:
        if self._channel is None:
            options = [
                ("grpc.primary_user_agent", USER_AGENT),
                ("grpc.enable_retries", 0),
                ("grpc.max_reconnect_backoff_ms", 5000),
                ("grpc.min_reconnect_backoff_ms", 500),
                ("grpc.initial_reconnect_backoff_ms", 500),
            ]
            if self._secure:
                self._channel = grpc.secure_channel(self._address, self._credentials(grpc), options)
            else:
                self._channel = grpc.insecure_channel(self._address, options)
            _channels.append(self._channel)
        call = self._calls[signal] = self._channel.unary_unary(
            SIGNALS[signal].service, request_serializer=None, response_deserializer=None
        )
        return call

    def _credentials(self, grpc: Any) -> Any:
        return grpc.ssl_channel_credentials(
            contents(self._first.certificate),
            contents(self._first.client_key),
            contents(self._first.client_certificate),
        )

    def _answer(self, error: Any) -> Answer:
        code, details = error.code().name, error.details() or ""
        reason = explain_grpc(code, details, self._first.endpoint, self._secure)
        delay_s = None
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin" and isinstance(value, bytes):
                delay_s = retry_delay(value)
        if code in RETRYABLE or (code == "RESOURCE_EXHAUSTED" and delay_s is not None):
            return Answer(UNAVAILABLE, reason=reason, retry_after_s=delay_s)
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
            return Answer(TOO_LARGE, reason=reason)
        return Answer(REFUSED, reason=reason)


def address_of(endpoint: str, insecure: bool) -> tuple[str, bool]:
    """Split an endpoint into what gRPC connects to and whether by TLS: the scheme tells, else the setting."""
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        return (endpoint, not insecure) if endpoint.startswith("unix:") else (_with_port(endpoint), not insecure)
    if scheme not in ("http", "https"):
        return endpoint, not insecure
    return _with_port(rest.partition("/")[0].rpartition("@")[2]), scheme == "https"


def _with_port(authority: str) -> str:
    has_port = authority.rpartition(":")[2].isdigit() and not authority.endswith("]")
    return authority if has_port else f"{authority}:4317"


def contents(path: str | None) -> bytes | None:
    """Read a file of a certificate or key; None where there is none.

    Raises:
        OSError: It can't be read.
    """
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
