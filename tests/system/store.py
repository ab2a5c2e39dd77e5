"""Segments as processes leave them, written here with the official messages."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from noops_agent._core import segment

MS = 10**6
START_NS = 1_700_000_000 * 10**9
KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

_numbers = itertools.count(1)


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    """Encode attributes: texts, integers and truths."""
    made = []
    for name, value in attributes.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value"}[type(value)]
        made.append(KeyValue(key=name, value=AnyValue(**{kind: value})))
    return made


def make_span(
    name: str,
    trace: int = 1,
    number: int = 0,
    parent: int = 0,
    start_ms: float = 0,
    took_ms: float = 10,
    kind: str = "internal",
    error: str | None = None,
    exception: tuple[str, str] | None = None,
    **attributes: Any,
) -> Span:
    """Make a span. Times are milliseconds since `START_NS`; `__` in the name of an attribute is a dot."""
    start_ns = START_NS + int(start_ms * MS)
    span = Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=(number or next(_numbers) + (1 << 32)).to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=KINDS[kind],
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + int(took_ms * MS),
        attributes=pairs({key.replace("__", "."): value for key, value in attributes.items()}),
    )
    if exception:
        told = pairs({"exception.type": exception[0], "exception.message": exception[1]})
        span.events.add(name="exception", attributes=told)
    if error is not None or exception:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error or ""))
    return span


class Process:
    """A process that recorded something, and still lives as far as its folder's lock tells.

    Args:
        state: State folder.
        service: Its `service.name`.
        segment_bytes: Size of each segment.
    """

    def __init__(self, state: Path, service: str, segment_bytes: int = 1 << 16) -> None:
        self.folder = segment.Folder.create(str(state))
        self._bytes = segment_bytes
        self._scope = segment.join_scope(
            ResourceSpans(resource=Resource(attributes=pairs({"service.name": service}))).SerializeToString(),
            ScopeSpans(scope=InstrumentationScope(name="store")).SerializeToString(),
        )
        self.segments: list[segment.FileSegment] = []
        self.begin()

    def begin(self) -> None:
        """Begin a new segment."""
        number = len(self.segments) + 1
        made = segment.FileSegment.create(self.folder.path, number, self._bytes, segment.LOCAL)
        assert made.put(segment.SCOPE, 0, self._scope)
        self.segments.append(made)

    def write(self, *spans: Span) -> None:
        """Record spans."""
        for span in spans:
            self.put(ScopeSpans(spans=[span]).SerializeToString())

    def put(self, payload: bytes) -> None:
        """Record a payload, whatever it is."""
        if not self.segments[-1].put(segment.SPAN, 0, payload):
            self.begin()
            assert self.segments[-1].put(segment.SPAN, 0, payload)

    def tear(self, payload: bytes) -> None:
        """Leave a record behind that was never finished."""
        written = self.segments[-1]
        offset = written.used
        assert written.put(segment.SPAN, 0, payload)
        written.memory[offset + 4] = segment.TORN

    def end(self) -> None:
        """End in order: cut the files to what is used, let go of the lock."""
        for written in self.segments:
            written.keep()
        self.folder.close()
