"""Samplers, limits, resources and identifier generators of the SDK, on our provider."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import export, id_generator, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from noops_agent import sdk
from tests.contract.recorded import FAR, Changing, Custom, Recorded, attributes


def test_a_sampler_adds_attributes_and_trace_state() -> None:
    """It is asked with everything that is known at the start."""
    sampler = Custom(sampling.Decision.RECORD_AND_SAMPLE)
    traced = Recorded(sampler=sampler)
    context = trace.set_span_in_context(NonRecordingSpan(FAR))
    links = [Link(FAR)]
    traced.tracer.start_span("s", context, SpanKind.SERVER, {"a": 1}, links).end()
    assert sampler.asked == [(context, FAR.trace_id, "s", SpanKind.SERVER, {"a": 1}, links)]
    assert attributes(traced.only()) == {"a": 1, "rule": 7}
    assert traced.only().trace_state == "s=1"
    assert traced.provider.sampler is traced.tracer.sampler is sampler


@pytest.mark.parametrize("provider_class", [theirs.TracerProvider, sdk.TracerProvider], ids=["sdk", "noops"])
@pytest.mark.parametrize("decision", list(sampling.Decision))
def test_each_decision_has_its_consequences(provider_class: Any, decision: sampling.Decision) -> None:
    """Processors see what is recorded; only what is sampled is exported, and says so to others."""
    ended: list[str] = []
    exporter = InMemorySpanExporter()
    provider = provider_class(sampler=Custom(decision), shutdown_on_exit=False)
    provider.add_span_processor(Changing(end=lambda span: ended.append(span.name)))
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("s")
    assert span.is_recording() is decision.is_recording()
    assert span.get_span_context().trace_flags.sampled is decision.is_sampled()
    assert span.get_span_context().trace_state.get("s") == "1"
    span.end()
    assert len(ended) == decision.is_recording()
    assert len(exporter.get_finished_spans()) == decision.is_sampled()


def test_record_only_spans_are_not_sent() -> None:
    """Our recorder takes what is sampled, and nothing else."""
    traced = Recorded(sampler=Custom(sampling.Decision.RECORD_ONLY))
    traced.tracer.start_span("s").end()
    assert traced.spans() == []


SAMPLERS = {
    "always on": (sampling.ALWAYS_ON, 1, 1, 1),
    "always off": (sampling.ALWAYS_OFF, 0, 0, 0),
    "half": (sampling.TraceIdRatioBased(0.5), None, 1, 1),
    "parent based on": (sampling.ParentBased(sampling.ALWAYS_ON), 1, 1, 0),
    "parent based off": (sampling.ParentBased(sampling.ALWAYS_OFF), 0, 1, 0),
    "upside down": (
        sampling.ParentBased(
            sampling.ALWAYS_ON,
            remote_parent_sampled=sampling.ALWAYS_OFF,
            remote_parent_not_sampled=sampling.ALWAYS_ON,
        ),
        1,
        0,
        1,
    ),
}


@pytest.mark.parametrize("case", list(SAMPLERS))
def test_the_samplers_of_the_sdk_decide_as_with_the_sdk(case: str) -> None:
    """For a root, for a sampled and for an unsampled remote parent."""
    sampler, root, sampled, unsampled = SAMPLERS[case]
    traced = Recorded(sampler=sampler)
    for flags, expected in ((1, sampled), (0, unsampled)):
        parent = trace.set_span_in_context(NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(flags))))
        assert traced.tracer.start_span("s", parent).get_span_context().trace_flags.sampled is bool(expected)
    for _ in range(100):
        context = traced.tracer.start_span("root").get_span_context()
        taken = sampler.should_sample(None, context.trace_id, "root").decision.is_sampled()
        assert context.trace_flags.sampled is taken
        assert root is None or taken is bool(root)


@pytest.mark.parametrize("answer", [None, "yes", RuntimeError("broken")], ids=repr)
def test_a_sampler_that_fails_takes_nothing_and_raises_nothing(answer: Any) -> None:
    """The application goes on; its children know that they are not sampled."""

    class Broken:
        def should_sample(self, *_: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    traced = Recorded(sampler=Broken())
    with traced.tracer.start_as_current_span("s") as span:
        span.set_attribute("a", 1)
    assert span.get_span_context().is_valid
    assert not span.get_span_context().trace_flags.sampled
    assert traced.spans() == []


def test_the_limits_of_the_sdk_hold() -> None:
    """Counts and lengths, of spans, events and links."""
    limits = theirs.SpanLimits(
        max_span_attributes=2, max_events=2, max_links=1, max_event_attributes=1, max_link_attributes=1,
        max_attribute_length=3,
    )
    traced = Recorded(span_limits=limits)
    span = traced.tracer.start_span("s", attributes={"a": "12345", "b": ["12345"], "c": 1})
    for name in ("one", "two", "three"):
        span.add_event(name, {"x": "12345", "y": 1})
    span.add_link(FAR, {"x": 1, "y": 2})
    span.add_link(FAR, {"x": "12345", "y": 2})
    span.end()
    found = traced.only()
    assert span.attributes == {"a": "123", "b": ("123",)}
    assert (found.dropped_attributes_count, found.dropped_events_count, found.dropped_links_count) == (1, 1, 1)
    assert [event.name for event in found.events] == ["two", "three"]
    assert attributes(found.events[0]) == {"x": "123"}
    assert attributes(found.links[0]) == {"x": "123"}
    assert (found.events[0].dropped_attributes_count, found.links[0].dropped_attributes_count) == (1, 1)


@pytest.mark.parametrize("provider_class", [theirs.TracerProvider, sdk.TracerProvider], ids=["sdk", "noops"])
def test_span_and_event_lengths_are_two_limits(provider_class: Any) -> None:
    """`max_span_attribute_length` is for the span's own attributes alone."""
    limits = theirs.SpanLimits(max_span_attribute_length=2, max_attribute_length=4)
    tracer = provider_class(span_limits=limits, shutdown_on_exit=False).get_tracer("t")
    span = tracer.start_span("s", attributes={"a": "123456"})
    span.add_event("e", {"a": "123456"})
    span.add_link(FAR, {"a": "123456"})
    values = [span.attributes["a"], span.events[0].attributes["a"], span.links[0].attributes["a"]]
    assert values == ["12", "1234", "1234"]


LIMITS: dict[str, tuple[dict[str, int], dict[str, str]]] = {
    "defaults": ({}, {}),
    "own arguments": ({"max_span_attributes": 1, "max_events": 2, "max_links": 3, "max_event_attributes": 4}, {}),
    "general arguments": ({"max_attributes": 5, "max_attribute_length": 6}, {}),
    "own over general": ({"max_attributes": 5, "max_link_attributes": 1, "max_span_attribute_length": 2}, {}),
    "none at all": ({"max_attributes": -1, "max_events": -1, "max_links": -1, "max_attribute_length": -1}, {}),
    "own variables": ({}, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_LINK_COUNT_LIMIT": "0"}),
    "general variables": ({}, {"OTEL_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "8"}),
    "arguments over variables": ({"max_attributes": 5, "max_events": 6}, {"OTEL_ATTRIBUTE_COUNT_LIMIT": "7"}),
    "own variable over general argument": ({"max_attributes": 5}, {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "7"}),
}


@pytest.mark.parametrize("case", list(LIMITS))
def test_our_class_of_limits_gives_what_the_sdks_gives(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument and by variable; the SDK's provider takes it too."""
    arguments, variables = LIMITS[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected, limits = theirs.SpanLimits(**arguments), sdk.SpanLimits(**arguments)
    assert vars(limits) == vars(expected)
    assert isinstance(limits, theirs.SpanLimits)
    for provider_class in (theirs.TracerProvider, sdk.TracerProvider):
        provider = provider_class(span_limits=limits, shutdown_on_exit=False)
        span = provider.get_tracer("t").start_span("s", attributes=dict.fromkeys("abcdefghij", "123456789"))
        most = expected.max_span_attributes
        assert len(span.attributes) == (10 if most is None else min(10, most))


@pytest.mark.parametrize("bad", [-2, "5", 1.5])
def test_a_limit_that_is_none_is_refused(bad: Any) -> None:
    """Where the provider is made, so that the mistake is seen."""
    with pytest.raises(ValueError, match="limit"):
        sdk.SpanLimits(max_events=bad)


def test_no_limits_at_all() -> None:
    """`SpanLimits.UNSET` lifts each of them."""
    traced = Recorded(span_limits=theirs._UnsetLimits)
    span = traced.tracer.start_span("s", attributes={str(number): number for number in range(1000)})
    for number in range(1000):
        span.add_event(str(number))
        span.add_link(FAR)
    span.end()
    found = traced.only()
    assert (len(found.attributes), len(found.events), len(found.links)) == (1000, 1000, 1000)


def test_a_resource_of_the_sdk_is_exported() -> None:
    """With its schema; an assignment and a merge later change what is sent from then on."""
    traced = Recorded(resource=Resource({"service.name": "shop", "n": 1}, "http://schema"))
    traced.tracer.start_span("s").end()
    (part,) = traced.request().resource_spans
    assert attributes(part.resource) == {"service.name": "shop", "n": 1}
    assert part.schema_url == "http://schema"
    traced.provider._resource = Resource({"service.name": "other"})
    assert traced.tracer.resource.attributes["service.name"] == "other"
    traced.provider._update_resource(Resource({"more": "x"}))
    assert dict(traced.provider.resource.attributes) == {"service.name": "other", "more": "x"}
    traced.tracer.start_span("t").end()
    newest = traced.request().resource_spans[-1]
    assert attributes(newest.resource) == {"service.name": "other", "more": "x"}
    assert newest.scope_spans[0].spans[0].name == "t"


def test_an_id_generator_makes_the_identifiers() -> None:
    """Trace ids for roots only; the random flag as the generator says."""

    class Counting(id_generator.IdGenerator):
        def __init__(self, random: bool) -> None:
            self.count = 0
            self.random = random

        def generate_span_id(self) -> int:
            self.count += 1
            return self.count

        def generate_trace_id(self) -> int:
            self.count += 1
            return 2**127 + self.count

        def is_trace_id_random(self) -> bool:
            return self.random

    for random in (True, False):
        generator = Counting(random)
        traced = Recorded(id_generator=generator)
        assert traced.provider.id_generator is traced.tracer.id_generator is generator
        with traced.tracer.start_as_current_span("a") as root, traced.tracer.start_as_current_span("b") as child:
            pass
        assert (root.context.trace_id, root.context.span_id, child.context.span_id) == (2**127 + 1, 2, 3)
        assert root.context.trace_flags.random_trace_id is random
        assert traced.spans()[0].trace_id == (2**127 + 1).to_bytes(16, "big")


@pytest.mark.parametrize("bad", [0, -1, 2**200, "x", None, RuntimeError()], ids=repr)
def test_an_id_generator_that_fails_raises_nothing(bad: Any) -> None:
    """Random identifiers take the place of what can't be one."""

    class Broken(id_generator.IdGenerator):
        def generate_span_id(self) -> Any:
            if isinstance(bad, Exception):
                raise bad
            return bad

        generate_trace_id = generate_span_id

    traced = Recorded(id_generator=Broken())
    with traced.tracer.start_as_current_span("s") as span:
        pass
    assert span.get_span_context().is_valid
    assert len(traced.only().trace_id) == 16
