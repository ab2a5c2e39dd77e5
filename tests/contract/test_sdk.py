"""`noops_agent.sdk.TracerProvider` among the classes of `opentelemetry-sdk`, and exporters written for it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import export, id_generator, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind

from noops_agent import sdk
from tests.contract.recorded import FAR, Recorded, Sink, fill, run


def test_our_objects_pass_the_checks_of_applications(recorded: Recorded) -> None:
    """An application asks the SDK's classes before it uses what they offer; the SDK came first here."""
    span = recorded.tracer.start_span("s", links=[Link(FAR)])
    span.add_event("e")
    assert isinstance(recorded.provider, theirs.TracerProvider)
    assert isinstance(recorded.provider, trace.TracerProvider)
    assert isinstance(recorded.tracer, theirs.Tracer)
    assert isinstance(recorded.tracer, trace.Tracer)
    assert isinstance(recorded.tracer.instrumentation_scope, InstrumentationScope)
    assert isinstance(recorded.provider.resource, Resource)
    assert isinstance(recorded.provider.id_generator, id_generator.IdGenerator)
    for kind in (theirs.ReadableSpan, theirs.Span, theirs._Span, trace.Span, sdk.Span):
        assert isinstance(span, kind)
    assert isinstance(span.events[0], theirs.Event)
    assert isinstance(span.links[0], Link)
    assert not isinstance(span, trace.NonRecordingSpan)
    span.end()
    assert isinstance(span, theirs.ReadableSpan)


def test_the_checks_hold_when_the_sdk_is_imported_later() -> None:
    """Objects that are older than the SDK's import pass too."""
    assert run(
        """
import sys
from noops_agent import sdk
from opentelemetry import trace
provider = sdk.TracerProvider(shutdown_on_exit=False)
tracer = provider.get_tracer("t")
span = tracer.start_span("s")
span.add_event("e")
assert isinstance(span, trace.Span) and isinstance(provider, sdk.TracerProvider)
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules), sys.modules
from opentelemetry.sdk import resources, trace as theirs
assert isinstance(provider, theirs.TracerProvider) and isinstance(tracer, theirs.Tracer)
assert isinstance(span, theirs.ReadableSpan) and isinstance(span, theirs._Span)
assert isinstance(span.events[0], theirs.Event) and isinstance(provider.resource, resources.Resource)
assert isinstance(span, trace.Span) and isinstance(provider, sdk.TracerProvider)
print("held")
"""
    ) == "held\n"


def test_a_program_that_does_not_use_the_sdk_never_imports_it() -> None:
    """Neither `init`, spans of all kinds, nor `shutdown` needs it."""
    assert run(
        """
import sys
import noops_agent
from opentelemetry import trace
noops_agent.init()
with noops_agent.span("a", x=1) as span:
    span.add_event("e")
    span.record_exception(ValueError("x"))
    span.get_span_context(), span.attributes, span.events, span.status
    trace.get_tracer("t").start_span("b", links=[trace.Link(span.get_span_context())]).end()
    isinstance(span, trace.Span)
assert noops_agent.flush(10)
noops_agent.status(), noops_agent.stats()
noops_agent.shutdown()
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    ) == "[]\n"


def equal_spans() -> tuple[Any, Any]:
    """A span of the SDK and one of ours that tell the same."""

    class Fixed(id_generator.IdGenerator):
        def generate_trace_id(self) -> int:
            return 0x11

        def generate_span_id(self) -> int:
            return 0x22

    resource = Resource.create({"service.name": "shop", "list": ["a", "b"]}, "http://schema")
    spans = []
    for provider_class in (theirs.TracerProvider, sdk.TracerProvider):
        provider = provider_class(resource=resource, id_generator=Fixed(), shutdown_on_exit=False)
        exporter = InMemorySpanExporter()
        provider.add_span_processor(export.SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test", "1.0", "http://scope", {"k": "v"})
        parent = trace.set_span_in_context(NonRecordingSpan(FAR))
        links = [Link(FAR, {"l": 1})]
        span = tracer.start_span("s", parent, SpanKind.SERVER, {"first": 1}, links, 1_700_000_000_000_000_001)
        fill(span)
        span.end(1_700_000_000_000_000_009)
        spans.append(exporter.get_finished_spans()[0])
    return spans[0], spans[1]


def test_to_json_says_what_the_sdk_says() -> None:
    """For an equal span, byte for byte."""
    expected, ours = equal_spans()
    assert ours.to_json() == expected.to_json()
    assert ours.to_json(indent=None) == expected.to_json(indent=None)
    assert ours.resource.to_json() == expected.resource.to_json()


def test_scopes_are_equal_to_the_sdks() -> None:
    """Either way round, and as keys of a dictionary."""
    expected, ours = (span.instrumentation_scope for span in equal_spans())
    assert ours == expected
    assert expected == ours
    assert ours.to_json() == expected.to_json()
    assert repr(ours) == repr(expected)
    bare = sdk.InstrumentationScope("n", "1")
    assert bare == InstrumentationScope("n", "1")
    assert bare != InstrumentationScope("n", "2")
    assert bare < InstrumentationScope("o")
    assert bare.to_json() == InstrumentationScope("n", "1").to_json()


def test_the_official_encoder_makes_the_same_bytes_of_both() -> None:
    """The SDK's OTLP encoder reads our spans as its own."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    expected, ours = equal_spans()
    assert encode_spans([ours]) == encode_spans([expected])
    assert len(encode_spans([ours, ours]).resource_spans) == 1
    assert len(encode_spans([ours, ours]).resource_spans[0].scope_spans) == 1


def test_a_readable_span_is_a_copy_of_the_sdks_class() -> None:
    """Streaming exporters take it from a live span; it does not change any more."""
    traced = Recorded()
    span = traced.tracer.start_span("s", attributes={"a": 1}, start_time=5)
    fill(span)
    taken = span._readable_span()
    assert type(taken) is theirs.ReadableSpan
    assert (taken.name, taken.start_time, taken.end_time, taken.context) == ("s", 5, None, span.get_span_context())
    assert dict(taken.attributes) == dict(span.attributes)
    assert [event.name for event in taken.events] == ["seen"]
    assert taken.links[0].context == FAR
    assert taken.status.description == "no"
    assert taken.resource is traced.provider.resource
    span.end()


def test_the_console_exporter_prints_our_spans() -> None:
    """As it prints the SDK's."""
    written = io.StringIO()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(export.ConsoleSpanExporter(out=written)))
    with provider.get_tracer("t").start_as_current_span("work", attributes={"a": 1}) as span:
        fill(span)
    shown = json.loads(written.getvalue())
    assert shown["name"] == "work"
    assert shown["attributes"]["a"] == 1
    assert shown["events"][0]["name"] == "seen"
    assert shown["status"] == {"status_code": "ERROR", "description": "no"}


def test_the_batch_processor_exports_our_spans() -> None:
    """On its own thread, in order, each once."""
    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(exporter, max_export_batch_size=7))
    tracer = provider.get_tracer("t")
    for number in range(100):
        tracer.start_span(f"span {number}").end()
    assert provider.force_flush(10_000)
    assert [span.name for span in exporter.get_finished_spans()] == [f"span {number}" for number in range(100)]
    provider.shutdown()


def test_the_otlp_exporter_of_the_sdk_sends_our_spans(sink: Sink) -> None:
    """Over HTTP, beside our own recorder, and both tell the same."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    traced = Recorded(resource=sdk.Resource({"service.name": "shop"}))
    traced.provider.add_span_processor(export.BatchSpanProcessor(OTLPSpanExporter(endpoint=sink.url)))
    parent = trace.set_span_in_context(NonRecordingSpan(FAR))
    with traced.tracer.start_as_current_span("work", parent, SpanKind.CLIENT, {"a": 1}) as span:
        fill(span)
    assert traced.provider.force_flush(10_000)
    traced.provider.shutdown()
    (body,) = sink.bodies
    ours = traced.request()
    for told in ours.resource_spans[0].scope_spans[0].spans:
        told.flags &= ~0xFF  # the SDK's encoder leaves the W3C flags out, and the trace state of links
        told.links[0].flags &= ~0xFF
        told.links[0].trace_state = ""
    assert ExportTraceServiceRequest.FromString(body) == ours


def test_the_zipkin_exporter_sends_our_spans(sink: Sink) -> None:
    """It reads them by the public properties."""
    zipkin = pytest.importorskip("opentelemetry.exporter.zipkin.json")
    provider = sdk.TracerProvider(resource=sdk.Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(zipkin.ZipkinExporter(endpoint=sink.url)))
    parent = trace.set_span_in_context(NonRecordingSpan(FAR))
    with provider.get_tracer("t").start_as_current_span("work", parent, SpanKind.CLIENT, {"a": 1}) as span:
        fill(span)
    provider.shutdown()
    (shown,) = json.loads(sink.bodies[0])
    assert (shown["name"], shown["kind"], shown["parentId"]) == ("work", "CLIENT", f"{FAR.span_id:016x}")
    assert shown["traceId"] == f"{FAR.trace_id:032x}"
    assert shown["localEndpoint"]["serviceName"] == "shop"
    assert shown["tags"]["a"] == "1"
    assert len(shown["annotations"]) == 1


def test_an_exporter_by_somebody_else_gets_whole_spans() -> None:
    """One that knows the documented properties only, and that raises now and then."""
    seen: list[Any] = []

    class Mine(export.SpanExporter):
        def export(self, spans: Any) -> export.SpanExportResult:
            for span in spans:
                assert isinstance(span, theirs.ReadableSpan)
                seen.append((span.name, span.kind, span.end_time - span.start_time, span.resource.attributes["k"]))
                assert span.instrumentation_scope.name == "t"
            raise ConnectionError

    provider = sdk.TracerProvider(resource=Resource({"k": "v"}), shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(Mine()))
    provider.get_tracer("t").start_span("s", start_time=1).end(5)
    assert seen == [("s", SpanKind.INTERNAL, 4, "v")]


def test_automatic_configuration_can_build_our_provider(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    """`opentelemetry-instrument` calls the provider class with all of its arguments."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk import _configuration

    installed: list[Any] = []
    monkeypatch.setattr(_configuration, "TracerProvider", sdk.TracerProvider)
    monkeypatch.setattr(_configuration, "set_tracer_provider", installed.append)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", sink.url)
    _configuration._init_tracing(
        exporters={"otlp": OTLPSpanExporter},
        id_generator=id_generator.RandomIdGenerator(),
        sampler=sampling.ALWAYS_ON,
        resource=Resource.create({"service.name": "shop"}),
    )
    (provider,) = installed
    provider.get_tracer("t").start_span("s").end()
    assert provider.force_flush(10_000)
    assert len(sink.bodies) == 1
    provider.shutdown()


def test_a_provider_shuts_down_when_the_interpreter_ends() -> None:
    """`shutdown_on_exit`, so that a batch is not lost."""
    program = """
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from noops_agent import sdk
provider = sdk.TracerProvider({})
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name)))
provider.get_tracer("t").start_span("last words").end()
"""
    assert run(program.format("")) == "last words"
    assert run(program.format("shutdown_on_exit=True")) == "last words"


def test_a_subclass_of_our_provider_works() -> None:
    """As one of the SDK's does."""

    class Mine(sdk.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            self.asked = args
            return super().get_tracer(*args, **kwargs)

    provider = Mine(shutdown_on_exit=False)
    assert provider.get_tracer("t").start_span("s").is_recording()
    assert provider.asked == ("t",)
    assert isinstance(provider, Mine)
    assert isinstance(provider, theirs.TracerProvider)


def test_spans_made_by_hand_with_the_sdks_class_can_be_parents(recorded: Recorded) -> None:
    """Both implementations in one program: a span of the SDK is our span's parent, and the other way round."""
    other = theirs.TracerProvider(shutdown_on_exit=False).get_tracer("other")
    with other.start_as_current_span("sdk") as first, recorded.tracer.start_as_current_span("ours") as second:
        third = other.start_span("sdk again")
    assert second.parent == first.get_span_context()
    assert third.parent == second.get_span_context()
    assert recorded.only().parent_span_id == first.get_span_context().span_id.to_bytes(8, "big")
