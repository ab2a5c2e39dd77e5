"""Points to OTLP bytes, for the Python core of metrics; `metrics.pyx` does the same in C.

Source: opentelemetry-proto 1.11, metrics/v1/metrics.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from .measured import EXPONENTIAL, HISTOGRAM, LAST, SUM, Shape
from .python import encode_attributes
from .segment import varint

DATA = {SUM: 0x3A, LAST: 0x2A, HISTOGRAM: 0x4A, EXPONENTIAL: 0x52}
ATTRIBUTES = {SUM: 0x3A, LAST: 0x3A, HISTOGRAM: 0x4A, EXPONENTIAL: 0x0A}
EXTREMES = {HISTOGRAM: 0x59, EXPONENTIAL: 0x61}
EXEMPLARS = {SUM: 0x2A, LAST: 0x2A, HISTOGRAM: 0x42, EXPONENTIAL: 0x5A}


def encode(shape: Shape, head: bytes, points: Sequence[Any], now_ns: int) -> bytes:
    """Encode the points of a stream as field 2 of ScopeMetrics.

    Args:
        shape: The stream's.
        head: The encoded name, description and unit: fields 1 to 3 of Metric.
        points: What `Stream.collect` gave.
        now_ns: When they were collected.
    """
    data = b"".join(_message(0x0A, _point(shape, point, now_ns)) for point in points)
    if shape.kind != LAST:
        data += b"\x10\x01" if shape.delta else b"\x10\x02"
    if shape.kind == SUM and shape.monotonic:
        data += b"\x18\x01"
    return _message(0x12, head + _message(DATA[shape.kind], data))


def _point(shape: Shape, point: Any, now_ns: int) -> bytes:
    attributes, start_ns, value, exemplars = point
    encoded = encode_attributes(ATTRIBUTES[shape.kind], attributes)
    if shape.kind != LAST:
        encoded += _fixed(0x11, start_ns)
    encoded += _fixed(0x19, now_ns)
    encoded += _number(value, 0x21, 0x31) if shape.kind <= LAST else _distribution(shape, value)
    return encoded + b"".join(_message(EXEMPLARS[shape.kind], _exemplar(exemplar)) for exemplar in exemplars)


def _distribution(shape: Shape, value: Any) -> bytes:
    count, total, least, greatest = value[:4]
    encoded = _fixed(0x21, count) + _double(0x29, total)
    if shape.kind == HISTOGRAM:
        counts = value[4]
        encoded += _message(0x32, struct.pack(f"<{len(counts)}Q", *counts))
        if shape.bounds:
            encoded += _message(0x3A, struct.pack(f"<{len(shape.bounds)}d", *shape.bounds))
    else:
        scale, zeros, *sides = value[4:]
        encoded += b"\x30" + varint(_zigzag(scale)) + _fixed(0x39, zeros)
        for tag, (low, counts) in zip((0x42, 0x4A), sides):  # noqa: B905 (two sides, two tags)
            if counts:
                packed = _message(0x12, b"".join(map(varint, counts)))
                encoded += _message(tag, b"\x08" + varint(_zigzag(low)) + packed)
    if shape.extremes:
        tag = EXTREMES[shape.kind]
        encoded += _double(tag, least) + _double(tag + 8, greatest)
    return encoded


def _exemplar(exemplar: Any) -> bytes:
    left, amount, time_ns, span_id, trace_id = exemplar
    encoded = _fixed(0x11, time_ns) + _number(amount, 0x19, 0x31)
    if span_id is not None and trace_id is not None:
        encoded += _message(0x22, span_id.to_bytes(8, "big")) + _message(0x2A, trace_id.to_bytes(16, "big"))
    return encoded + encode_attributes(0x3A, left)


def _number(value: float, real: int, whole: int) -> bytes:
    return _double(real, value) if isinstance(value, float) else bytes((whole,)) + struct.pack("<q", value)


def _message(tag: int, payload: bytes) -> bytes:
    return varint(tag) + varint(len(payload)) + payload


def _fixed(tag: int, value: int) -> bytes:
    return bytes((tag,)) + struct.pack("<Q", value)


def _double(tag: int, value: float) -> bytes:
    return bytes((tag,)) + struct.pack("<d", value)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
