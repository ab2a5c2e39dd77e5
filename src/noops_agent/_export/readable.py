"""Encoded spans as the SDK's `ReadableSpan`. Loads the SDK and protobuf; the adapter loads this when it sends."""

from __future__ import annotations

from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

KINDS = (
    SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER,
)  # fmt: skip
"""By the number of the encoded kind; 0 is unspecified."""

HAS_REMOTE, IS_REMOTE = 0x100, 0x200


def readable_spans(body: bytes) -> list[ReadableSpan]:
    """Decode an `ExportTraceServiceRequest` into spans that any exporter of the SDK takes.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no such request.
    """
    spans: list[ReadableSpan] = []
    for described in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = Resource(attributes_of(described.resource.attributes), described.schema_url or None)
        for scoped in described.scope_spans:
            scope = InstrumentationScope(
                scoped.scope.name,
                scoped.scope.version or None,
                scoped.schema_url or None,
                attributes_of(scoped.scope.attributes) or None,
            )
            spans.extend(readable_span(span, resource, scope) for span in scoped.spans)
    return spans


def readable_span(span: Any, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """Turn one decoded span into one of the SDK."""
    flags = TraceFlags(span.flags & 0xFF or TraceFlags.SAMPLED)
    state = TraceState.from_header([span.trace_state]) if span.trace_state else TraceState()
    trace_id = int.from_bytes(span.trace_id, "big")
    parent = None
    if span.parent_span_id:
        remote = bool(span.flags & IS_REMOTE)
        parent = SpanContext(trace_id, int.from_bytes(span.parent_span_id, "big"), remote, flags, state)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int.from_bytes(span.span_id, "big"), False, flags, state),
        parent=parent,
        resource=resource,
        attributes=bounded(span.attributes, span.dropped_attributes_count),
        events=listed([event_of(event) for event in span.events], span.dropped_events_count),
        links=listed([link_of(link) for link in span.links], span.dropped_links_count),
        kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else SpanKind.INTERNAL,
        status=status_of(span.status),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def status_of(status: Any) -> Status:
    """Turn a decoded status into the SDK's; only an error may have a description."""
    code = StatusCode(status.code) if 0 <= status.code <= 2 else StatusCode.UNSET
    return Status(code, (status.message or None) if code is StatusCode.ERROR else None)


def event_of(event: Any) -> Event:
    """Turn a decoded event into the SDK's."""
    return Event(event.name, bounded(event.attributes, event.dropped_attributes_count), event.time_unix_nano)


def link_of(link: Any) -> Link:
    """Turn a decoded link into the SDK's."""
    state = TraceState.from_header([link.trace_state]) if link.trace_state else TraceState()
    context = SpanContext(
        int.from_bytes(link.trace_id, "big"),
        int.from_bytes(link.span_id, "big"),
        bool(link.flags & IS_REMOTE),
        TraceFlags(link.flags & 0xFF),
        state,
    )
    return Link(context, bounded(link.attributes, link.dropped_attributes_count))


def bounded(pairs: Any, dropped: int) -> BoundedAttributes:
    """Turn decoded attributes into the SDK's mapping, which knows how many were dropped."""
    attributes = BoundedAttributes(attributes=None, immutable=False)
    # Past its checks: what was recorded may be richer than what the SDK takes from its users, and was checked then.
    attributes._dict.update(attributes_of(pairs))
    attributes.dropped = dropped
    attributes._immutable = True
    return attributes


def listed(items: list[Any], dropped: int) -> Any:
    """Make the SDK's list, which knows how many were dropped."""
    made: Any = BoundedList.from_seq(len(items), items) if items else BoundedList(None)
    made.dropped = dropped
    return made


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Decode key-value pairs."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: Any) -> Any:
    """Decode an `AnyValue`: sequences are tuples, maps are dicts, nothing set is None."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return tuple(value_of(inner) for inner in value.array_value.values)
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind)
