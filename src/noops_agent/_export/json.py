"""OTLP in JSON. Loads protobuf; the HTTP sink loads this when JSON is asked for.

Source: opentelemetry-proto 1.11, docs/specification.md, "JSON Protobuf Encoding": identifiers are hexadecimal,
enumerations are numbers.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .._core.segment import LOG, METRIC, SPAN

REQUESTS: dict[int, Any] = {
    SPAN: ExportTraceServiceRequest,
    METRIC: ExportMetricsServiceRequest,
    LOG: ExportLogsServiceRequest,
}
IDENTIFIERS = {"traceId", "spanId", "parentSpanId"}
HOLDERS = {
    "resourceSpans", "scopeSpans", "spans", "links",
    "resourceLogs", "scopeLogs", "logRecords",
    "resourceMetrics", "scopeMetrics", "metrics", "exemplars", "dataPoints",
    "gauge", "sum", "histogram", "exponentialHistogram", "summary",
}  # fmt: skip
"""Keys below which identifiers are found. Attributes are not among them: there, keys and values are the user's."""


def to_json(signal: int, body: bytes) -> bytes:
    """Encode an `Export*ServiceRequest` anew, as OTLP/JSON.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no such request.
    """
    message = REQUESTS[signal].FromString(body)
    described = MessageToDict(message, use_integers_for_enums=True)
    _name_identifiers(described)
    return json.dumps(described, separators=(",", ":")).encode()


def _name_identifiers(value: Any) -> None:
    """Turn identifiers from base64 into hexadecimal, in place."""
    if isinstance(value, list):
        for inner in value:
            _name_identifiers(inner)
        return
    for key, inner in value.items():
        if key in IDENTIFIERS:
            value[key] = _hexadecimal(inner)
        elif key in HOLDERS:
            _name_identifiers(inner)


def _hexadecimal(text: str) -> str:
    return b64decode(text).hex()
