"""Our bytes against the SDK's encoder, for arbitrary spans, on both cores."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tests.conftest import Bench

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
KEYS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
PLAIN = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.none(),
    st.binary(max_size=300),
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=12)
TIMES = st.integers(1, 2**63 - 1)
STATES = st.sampled_from([TraceState(), TraceState([("a", "1"), ("b@c", "2 3")])])
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(1), TraceFlags(3)]),
    STATES,
)
SPANS = st.fixed_dictionaries(
    {
        "name": TEXT,
        "kind": st.sampled_from(list(SpanKind)),
        "parent": st.none() | CONTEXTS,
        "attributes": ATTRIBUTES,
        "events": st.lists(st.tuples(TEXT, ATTRIBUTES, TIMES), max_size=4),
        "links": st.lists(st.tuples(CONTEXTS, ATTRIBUTES), max_size=3),
        "status": st.sampled_from(
            [None, (StatusCode.OK, None), (StatusCode.ERROR, "broken"), (StatusCode.ERROR, None)]
        ),
        "start": TIMES,
        "end": TIMES,
    }
)


def build(tracer: Any, facts: dict[str, Any]) -> Any:
    """Make a span of the same facts with any tracer."""
    parent = facts["parent"]
    context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
    links = [Link(*link) for link in facts["links"][:1]]
    span = tracer.start_span(
        facts["name"], context, facts["kind"], facts["attributes"], links, start_time=facts["start"]
    )
    for name, attributes, timestamp in facts["events"]:
        span.add_event(name, attributes, timestamp)
    for link in facts["links"][1:]:
        span.add_link(*link)
    if facts["status"] is not None:
        span.set_status(*facts["status"])
    span.end(facts["end"])
    return span


def comparable(span: Any) -> Any:
    """Leave out what the SDK's encoder does not write: identifiers differ, and it omits W3C flags and links' states."""
    span.span_id = b""
    span.flags &= 0x300
    if not span.parent_span_id:
        span.trace_id = b""
    for link in span.links:
        link.trace_state = ""
        link.flags &= 0x300
    return span


@given(facts=SPANS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_our_bytes_decode_to_what_the_sdk_encodes(core: ModuleType, facts: dict[str, Any]) -> None:
    """The official messages see no difference between a span of ours and the same span of the SDK."""
    bench = Bench(core, None)
    build(bench.tracer, facts)
    (ours,) = bench.spans()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    build(provider.get_tracer("test"), facts)
    theirs = encode_spans(exporter.get_finished_spans()).resource_spans[0].scope_spans[0].spans[0]
    assert comparable(ours) == comparable(theirs)
    bench.recorder.close()


@given(facts=SPANS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sdk_encodes_a_span_of_ours_as_we_do(core: ModuleType, facts: dict[str, Any]) -> None:
    """An exporter written for the SDK sees all of a span of ours."""
    bench = Bench(core, None)
    bench.tracing.resource = Resource({})
    span = build(bench.tracer, facts)
    assert isinstance(span, ReadableSpan)
    theirs = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
    (ours,) = bench.spans()
    assert comparable(ours) == comparable(theirs)
    bench.recorder.close()


class Loud:
    """Raises whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        raise RuntimeError("no")


ODD = st.sampled_from(
    [
        Loud(),
        object(),
        int,
        len,
        {1, 2},
        range(3),
        2**80,
        float("nan"),
        1j,
        bytearray(b"x"),
        memoryview(b"y"),
        Exception("e"),
        "\ud800",
        {None: Loud()},
    ]
)


@given(
    garbage=st.dictionaries(
        st.text() | st.integers() | st.none() | st.binary(), ODD | st.lists(ODD, max_size=3), max_size=6
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_object_is_accepted(core: ModuleType, garbage: dict[Any, Any]) -> None:
    """Whatever an application gives, a span comes out that the official messages can read."""
    bench = Bench(core, None)
    bench.tracer.start_span("s", attributes=garbage).end()
    (span,) = bench.spans()
    valid = [key for key in garbage if isinstance(key, str) and key]
    assert len(span.attributes) == len(valid)
    assert span.dropped_attributes_count == len(garbage) - len(valid)
    bench.recorder.close()
