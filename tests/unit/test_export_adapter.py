"""The adapter to SDK exporters: what they get equals what was recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from noops_agent import _diagnostics, _export
from noops_agent._core.segment import SPAN
from noops_agent._export.adapter import AdapterSink, named_exporter
from noops_agent._export.readable import readable_spans
from noops_agent._export.sink import DELIVERED, REFUSED
from tests.adversity.recording import Recording, settings_of

ROOT = Path(__file__).parents[2]

texts = st.text(max_size=12)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts, st.binary(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts.filter(bool), inner, max_size=3)),
    max_leaves=6,
)
attributes = st.dictionaries(texts.filter(bool), values, max_size=4)
trace_ids, span_ids = st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1)
times = st.integers(0, 2**63)
states = st.sampled_from([TraceState(), TraceState([("vendor", "a=b"), ("other", "1")])])
contexts = st.builds(SpanContext, trace_ids, span_ids, st.booleans(), st.just(TraceFlags(TraceFlags.SAMPLED)), states)
statuses = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    texts.map(lambda text: Status(StatusCode.ERROR, text)),
)


def listed(items: list[Any], dropped: int) -> BoundedList:
    made = BoundedList(None)
    made.extend(items)
    made.dropped = dropped
    return made


@st.composite
def spans(draw: Any) -> ReadableSpan:
    """An arbitrary span of the SDK."""
    context = draw(contexts)
    parent = draw(st.one_of(st.none(), span_ids))
    remote = draw(st.booleans())
    events = draw(st.lists(st.builds(Event, texts, attributes, times), max_size=3))
    links = draw(st.lists(st.builds(Link, contexts, attributes), max_size=3))
    return ReadableSpan(
        name=draw(texts),
        context=context,
        parent=parent and SpanContext(context.trace_id, parent, remote, context.trace_flags, context.trace_state),
        resource=Resource(draw(attributes), draw(st.sampled_from(["", "https://schema.example/1"]))),
        attributes=draw(attributes),
        events=listed(events, draw(st.integers(0, 3))),
        links=listed(links, draw(st.integers(0, 3))),
        kind=draw(st.sampled_from(list(SpanKind))),
        status=draw(statuses),
        start_time=draw(times),
        end_time=draw(times),
        instrumentation_scope=InstrumentationScope(
            draw(texts),
            draw(st.sampled_from(["", "1.0"])),
            draw(st.sampled_from(["", "https://scope.example/1"])),
            draw(attributes),
        ),
    )


@given(st.lists(spans(), min_size=1, max_size=3))
def test_decoded_spans_encode_to_the_same_bytes(given_spans: list[ReadableSpan]) -> None:
    """Whatever the SDK's own encoder can say of a span survives the round trip through the adapter."""
    request = encode_spans(given_spans)
    back = encode_spans(readable_spans(request.SerializeToString()))
    assert sorted(map(str, flat(back))) == sorted(map(str, flat(request)))


def flat(request: ExportTraceServiceRequest) -> list[Any]:
    """Each span with its resource and scope, since equal ones may be grouped differently."""
    return [
        (resource.resource, resource.schema_url, scope.scope, scope.schema_url, span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_details_that_the_encoder_does_not_show_are_kept() -> None:
    """Dropped counts, a remote parent, the trace state of a link, flags and empty values."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2", parent_span_id=bytes(7) + b"\3",
        trace_state="a=1", flags=0x301, kind=2, dropped_attributes_count=4, dropped_events_count=5,
        dropped_links_count=6,
    )  # fmt: skip
    span.status.code = 2
    span.status.message = "bad"
    span.attributes.add(key="nothing")
    span.events.add(name="event", dropped_attributes_count=7)
    span.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2", trace_state="b=2", flags=0x301)
    (read,) = readable_spans(request.SerializeToString())
    assert (read.dropped_attributes, read.dropped_events, read.dropped_links) == (4, 5, 6)
    assert read.parent is not None
    assert read.parent.is_remote
    assert read.parent.trace_id == read.context.trace_id == 1
    assert not read.context.is_remote
    assert read.context.trace_state.get("a") == "1"
    assert read.kind is SpanKind.SERVER
    assert read.status.description == "bad"
    assert read.attributes == {"nothing": None}
    assert read.events[0].dropped_attributes == 7
    assert read.links[0].context.trace_state.get("b") == "2"
    assert read.links[0].context.is_remote


def test_an_exporter_object_gets_every_span(core: ModuleType, tmp_path: Path) -> None:
    """Through the pipeline, on either core."""
    exporter = InMemorySpanExporter()
    recording = Recording(
        core, tmp_path / "state", [AdapterSink("mine", lambda: exporter)], exporters=("mine",), export_batch_size=30
    )
    recording.write(range(1, 101))
    assert recording.pipeline.flush(30)
    got = exporter.get_finished_spans()
    assert [span.context.span_id for span in got] == list(range(1, 101))
    assert got[0].instrumentation_scope.name == "recording"
    recording.close()


class Failing(SpanExporter):
    """Fails by its result, then by raising."""

    def __init__(self) -> None:
        self.calls = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls += 1
        if self.calls == 1:
            return SpanExportResult.FAILURE
        raise RuntimeError("broken exporter")

    def shutdown(self) -> None:
        raise RuntimeError("broken shutdown")


def test_an_exporter_that_fails_costs_its_batch_and_is_not_asked_twice(
    core: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The specification: a failed batch is dropped; exporters retry by themselves. Nothing is held back."""
    exporter = Failing()
    recording = Recording(
        core, tmp_path / "state", [AdapterSink("mine", lambda: exporter)], exporters=("mine",), export_batch_size=10
    )
    recording.write(range(1, 31))
    assert recording.pipeline.flush(30)
    assert exporter.calls == 3
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 30
    assert caplog.text.count("broken exporter") == 1
    recording.close()


def test_an_exporter_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_TRACES_EXPORTER may name anything that an installed package offers."""
    import importlib.metadata

    real = importlib.metadata.entry_points
    exporter = InMemorySpanExporter()

    class Found:
        def load(self) -> Any:
            return lambda: exporter

    def find(**wanted: str) -> Any:
        if wanted == {"group": "opentelemetry_traces_exporter", "name": "memory"}:
            return [Found()]
        return real(**wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", find)
    (sink,) = _export.open_sinks(settings_of({"exporters": ("memory",)}))
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(span_id=bytes(7) + b"\1", trace_id=bytes(15) + b"\1")
    assert sink.send(SPAN, request.SerializeToString(), 1, 10.0).outcome == DELIVERED
    assert len(exporter.get_finished_spans()) == 1


def test_an_unknown_exporter_is_told_once_and_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """The other sinks go on; what was meant for it is counted."""
    sink = named_exporter("nobody_has_this")
    assert sink.send(SPAN, b"", 1, 10.0).outcome == REFUSED
    assert sink.send(SPAN, b"", 1, 10.0).outcome == REFUSED
    assert caplog.text.count("nobody_has_this") == 1


CONSOLE = """
import sys
from noops_agent._core import native, python
from tests.adversity.recording import Recording
recording = Recording(native or python, sys.argv[1], None, exporters=("console",))
recording.write([7])
recording.pipeline.stop(30)
"""


def test_console_prints_what_the_sdk_prints(tmp_path: Path) -> None:
    """`console` is the SDK's own exporter."""
    done = subprocess.run(
        [sys.executable, "-c", CONSOLE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    printed = json.loads(done.stdout)
    assert printed["name"] == "span 7"
    assert printed["context"]["span_id"] == "0x0000000000000007"
