"""Facts of OTLP: paths, services, and the few answers of a server that are read.

Source: opentelemetry-proto 1.11, docs/specification.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .._core.segment import LOG, METRIC, SPAN


class Signal(NamedTuple):
    """Names of one kind of telemetry."""

    noun: str
    counter: str
    path: str
    service: str
    setting: str


_COLLECTOR = "/opentelemetry.proto.collector."
SIGNALS = {
    SPAN: Signal("spans", "span", "/v1/traces", _COLLECTOR + "trace.v1.TraceService/Export", "otlp_traces"),
    METRIC: Signal("metrics", "metric", "/v1/metrics", _COLLECTOR + "metrics.v1.MetricsService/Export", "otlp_metrics"),
    LOG: Signal("logs", "log", "/v1/logs", _COLLECTOR + "logs.v1.LogsService/Export", "otlp_logs"),
}
PATHS = tuple(signal.path for signal in SIGNALS.values())

MAX_REASON = 200


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Walk the fields of a protobuf message: (number, int or bytes). Ends quietly where the bytes make no sense."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        else:
            return
        if at > len(data):
            return
        yield tag >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return value, len(data) + 1


def partial_success(response: bytes) -> tuple[int, str]:
    """Read an `Export*ServiceResponse`: records that were rejected, and what the server says."""
    rejected, message = 0, ""
    for number, value in fields(response):
        if number == 1 and isinstance(value, bytes):
            for inner, part in fields(value):
                if inner == 1 and isinstance(part, int):
                    rejected = part if part < 1 << 63 else 0
                elif inner == 2 and isinstance(part, bytes):
                    message = readable(part)
    return rejected, message


def status_message(status: bytes) -> str:
    """Read the message of an encoded `google.rpc.Status`; empty where it is none."""
    for number, value in fields(status):
        if number == 2 and isinstance(value, bytes):
            return readable(value)
    return ""


def retry_delay(status: bytes) -> float | None:
    """Read the `RetryInfo` in the details of an encoded `google.rpc.Status`, in seconds; None: there is none."""
    for number, value in fields(status):
        if number == 3 and isinstance(value, bytes):
            detail = dict(fields(value))
            if bytes_of(detail.get(1)).endswith(b"google.rpc.RetryInfo"):
                duration = dict(fields(bytes_of(dict(fields(bytes_of(detail.get(2)))).get(1))))
                return int_of(duration.get(1)) + int_of(duration.get(2)) / 1e9
    return None


def bytes_of(value: object) -> bytes:
    """Give *value* where it is bytes, else none."""
    return value if isinstance(value, bytes) else b""


def int_of(value: object) -> int:
    """Give *value* where it is a sane positive number, else 0."""
    return value if isinstance(value, int) and value < 1 << 62 else 0


def readable(text: bytes) -> str:
    """Make text of another machine fit for one line of a log."""
    line = text[: 4 * MAX_REASON].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())[:MAX_REASON]
