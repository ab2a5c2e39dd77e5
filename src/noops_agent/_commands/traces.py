"""The spans recorded on this machine, joined into traces.

Reads the segments of all processes, dead or alive, as plain files: nothing is mapped, locked or changed, so it can
run beside the applications that write them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status

from .._core import segment

KINDS = ("", "internal", "server", "client", "producer", "consumer")

MOST_SPANS = 200_000
"""Spans in memory at most; beyond it the oldest traces are given up."""

MOST_SPANS_OF_TRACE = 20_000
ROOT_SLACK_NS = 60 * 10**9
"""How far back a trace without its root may reach beyond the oldest of its spans that was read."""


class Source(NamedTuple):
    """Where spans come from: the resource's attributes, the instrumentation scope, the segment's writer."""

    resource: dict[str, Any]
    scope: str
    pid: int

    @property
    def service(self) -> str:
        """Name of the service."""
        return str(self.resource.get("service.name") or "unknown_service")


class Span:
    """One recorded span; what few readers ask for is decoded when it is asked for."""

    def __init__(self, message: Any, source: Source) -> None:
        self.message = message
        self.source = source
        self.trace_id: str = message.trace_id.hex()
        self.span_id: str = message.span_id.hex()
        self.parent_id: str = message.parent_span_id.hex()
        self.start_ns: int = message.start_time_unix_nano
        self.end_ns: int = max(message.end_time_unix_nano, self.start_ns)
        self.failed: bool = message.status.code == Status.STATUS_CODE_ERROR

    @property
    def name(self) -> str:
        """Name of the span."""
        return str(self.message.name)

    @property
    def kind(self) -> str:
        """Kind of the span in small letters; empty where it is not specified."""
        kind = self.message.kind
        return KINDS[kind] if 0 <= kind < len(KINDS) else ""

    @property
    def duration_ns(self) -> int:
        """How long it took."""
        return self.end_ns - self.start_ns

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes as plain Python."""
        return attributes_of(self.message.attributes)

    @cached_property
    def exception(self) -> tuple[str, str] | None:
        """Type and message of the last exception that was recorded."""
        for event in reversed(self.message.events):
            if event.name == "exception":
                found = attributes_of(event.attributes)
                return str(found.get("exception.type", "exception")), str(found.get("exception.message", ""))
        return None


class Trace:
    """The spans of one trace that were found so far, by their identifiers."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.spans: dict[str, Span] = {}
        self.start_ns = 1 << 64
        self.end_ns = 0
        self.errors = 0
        self.omitted = 0
        self.rooted = False

    def add(self, span: Span) -> None:
        """Take one span; an identifier that is there already is the same span again."""
        if span.span_id in self.spans:
            return
        if len(self.spans) >= MOST_SPANS_OF_TRACE:
            self.omitted += 1
            return
        self.spans[span.span_id] = span
        self.start_ns = min(self.start_ns, span.start_ns)
        self.end_ns = max(self.end_ns, span.end_ns)
        self.errors += span.failed
        self.rooted = self.rooted or not span.parent_id

    def ordered(self) -> list[Span]:
        """The spans by their start; of those that start together the longest first."""
        return sorted(self.spans.values(), key=lambda span: (span.start_ns, -span.end_ns))

    def services(self) -> list[str]:
        """The services in it, in the order in which they appear."""
        return list(dict.fromkeys(span.source.service for span in self.ordered()))

    def begins_after(self, bound_ns: float) -> bool:
        """Whether no span of it can have ended before *bound_ns*, as far as one can tell."""
        return self.start_ns - (0 if self.rooted else ROOT_SLACK_NS) >= bound_ns


class Query(NamedTuple):
    """Which traces are wanted."""

    limit: int = 0
    """Most traces, the newest; 0: all."""
    trace_id: str = ""
    """Only traces whose identifier begins so."""
    service: str = ""
    """Only traces that this service took part in."""
    errors: bool = False
    """Only traces in which a span failed."""

    def takes(self, trace: Trace) -> bool:
        """Whether a trace is wanted, by what was found of it so far."""
        if self.errors and not trace.errors:
            return False
        return not self.service or any(span.source.service == self.service for span in trace.spans.values())


class Found(NamedTuple):
    """What was found: the wanted traces, the newest last; what else there was."""

    traces: list[Trace]
    others: int
    services: set[str]
    unread_segments: int
    given_up: bool
    """Whether there were too many spans to keep them all."""


class Part(NamedTuple):
    """A segment file, and a time before which everything in it had ended."""

    bound_ns: float
    created_ns: int
    path: str


def find_traces(state: str, query: Query) -> Found:
    """Read the newest segments until enough traces are known to be whole.

    Args:
        state: State folder.
        query: Which traces are wanted. The newest are those that ended last.
    """
    traces: dict[str, Trace] = {}
    services: set[str] = set()
    count = unread = 0
    given_up = False
    parts = newest_parts(state)
    for position, part in enumerate(parts):
        if enough(traces.values(), query, part.bound_ns):
            unread = len(parts) - position
            break
        for span in read_spans(part.path, query.trace_id):
            services.add(span.source.service)
            traces.setdefault(span.trace_id, Trace(span.trace_id)).add(span)
            count += 1
        if count > MOST_SPANS:
            count, given_up = give_up_oldest(traces, query), True
    wanted = sorted((trace for trace in traces.values() if query.takes(trace)), key=lambda trace: trace.end_ns)
    chosen = wanted[-query.limit :] if query.limit else wanted
    return Found(chosen, len(traces) - len(chosen), services, unread, given_up)


def enough(traces: Iterable[Trace], query: Query, bound_ns: float) -> bool:
    """Whether the newest wanted traces are whole, and nothing that ended before *bound_ns* can be among them."""
    if not query.limit or math.isinf(bound_ns):
        return False
    ends = sorted((trace for trace in traces if query.takes(trace)), key=lambda trace: -trace.end_ns)[: query.limit]
    return len(ends) == query.limit and all(trace.begins_after(bound_ns) for trace in ends)


def give_up_oldest(traces: dict[str, Trace], query: Query) -> int:
    """Forget the oldest traces until half of the room is free; gives the number of spans that are left."""
    count, kept = 0, 0
    for trace in sorted(traces.values(), key=lambda trace: -trace.end_ns):
        count += len(trace.spans)
        kept += query.takes(trace)
        if count > MOST_SPANS // 2 and kept > max(query.limit, 1):
            count -= len(trace.spans)
            del traces[trace.trace_id]
    return count


def newest_parts(state: str) -> list[Part]:
    """Find the segments of all processes, those first that can hold the newest records."""
    parts = []
    for folder in segment.process_folders(state):
        found = [(created, path) for path in segment.segment_paths(folder) if (created := created_ns(path))]
        for at, (created, path) in enumerate(found):
            # A segment is made while the one before it is written: only the next but one tells when this was full.
            bound = found[at + 2][0] if at + 2 < len(found) else math.inf
            parts.append(Part(bound, created, path))
    return sorted(parts, reverse=True)


def created_ns(path: str) -> int:
    """When a segment was made; 0 where it is gone, or is none."""
    try:
        with open(path, "rb") as file:
            return segment.read_header(file.read(segment.HEADER_BYTES)).created_ns
    except (OSError, ValueError):
        return 0


def read_spans(path: str, trace_id: str = "") -> Iterator[Span]:
    """Decode the spans of one segment file, or those whose trace identifier begins so; damage is passed over."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        pid = segment.read_header(data).pid
    except (OSError, ValueError):
        return
    needle = bytes.fromhex(trace_id[: len(trace_id) & ~1])
    sources: dict[int, Source] = {}
    for record in segment.records(data):
        try:
            if record.signal == segment.SCOPE:
                sources[record.scope] = read_source(record.payload, pid)
            elif record.signal == segment.SPAN and needle in record.payload:
                source = sources.get(record.scope) or Source({}, "", pid)
                for message in ScopeSpans.FromString(record.payload).spans:
                    span = Span(message, source)
                    if span.trace_id.startswith(trace_id):
                        yield span
        except (DecodeError, ValueError, struct.error):
            continue


def read_source(payload: bytes, pid: int) -> Source:
    """Decode the record of a scope."""
    resource, scope = segment.split_scope(payload)
    attributes = attributes_of(ResourceSpans.FromString(resource).resource.attributes)
    return Source(attributes, ScopeSpans.FromString(scope).scope.name, pid)


def attributes_of(pairs: Iterable[Any]) -> dict[str, Any]:
    """Give KeyValue messages as plain Python."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: Any) -> Any:
    """Give an AnyValue as plain Python; None where it is empty."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind)
