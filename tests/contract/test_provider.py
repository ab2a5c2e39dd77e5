"""What a tracer provider does: the SDK's own and ours, side by side, under the same assertions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from noops_agent import sdk as ours

FAR = SpanContext(0xABC, 0xDEF, True, TraceFlags(1), TraceState([("vendor", "x")]))
BOTH = {"sdk": theirs.TracerProvider, "noops": ours.TracerProvider}


class Traced:
    """A provider, a tracer of it, and the spans that its exporter was given."""

    def __init__(self, provider_class: Any, **arguments: Any) -> None:
        self.provider = provider_class(shutdown_on_exit=False, **arguments)
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test", "1.0")

    def spans(self) -> tuple[Any, ...]:
        """All spans that have ended, in the order of their ends."""
        return self.exporter.get_finished_spans()

    def only(self) -> Any:
        """The one span that has ended."""
        (span,) = self.spans()
        return span


@pytest.fixture(params=list(BOTH))
def traced(request: pytest.FixtureRequest) -> Iterator[Traced]:
    """Each provider in turn, with an exporter that keeps."""
    made = Traced(BOTH[request.param])
    yield made
    made.provider.shutdown()


@pytest.fixture(params=list(BOTH.values()), ids=list(BOTH))
def provider_class(request: pytest.FixtureRequest) -> Any:
    """The class of each provider in turn."""
    return request.param


# ---- status ----------------------------------------------------------------------------------------------

STATUS_CASES = {
    "nothing": ([], (StatusCode.UNSET, None)),
    "error": ([(StatusCode.ERROR, "no")], (StatusCode.ERROR, "no")),
    "error as a Status": ([(Status(StatusCode.ERROR, "no"),)], (StatusCode.ERROR, "no")),
    "the newer error wins": ([(StatusCode.ERROR, "a"), (StatusCode.ERROR, "b")], (StatusCode.ERROR, "b")),
    "error without words": ([(StatusCode.ERROR, "a"), (StatusCode.ERROR,)], (StatusCode.ERROR, None)),
    "unset undoes nothing": ([(StatusCode.ERROR, "a"), (StatusCode.UNSET,)], (StatusCode.ERROR, "a")),
    "ok over error": ([(StatusCode.ERROR, "a"), (StatusCode.OK,)], (StatusCode.OK, None)),
    "ok is final": ([(StatusCode.OK,), (StatusCode.ERROR, "a")], (StatusCode.OK, None)),
    "ok has no words": ([(StatusCode.OK, "fine")], (StatusCode.OK, None)),
    "words beside a Status": ([(Status(StatusCode.ERROR, "in"), "beside")], (StatusCode.ERROR, "in")),
}


@pytest.mark.parametrize("case", list(STATUS_CASES))
def test_status_follows_the_rules_of_the_specification(traced: Traced, case: str) -> None:
    """OK is final, UNSET is ignored, only errors have a description."""
    calls, (code, description) = STATUS_CASES[case]
    span = traced.tracer.start_span("s")
    for call in calls:
        span.set_status(*call)
    span.end()
    assert (traced.only().status.status_code, traced.only().status.description) == (code, description)
    assert traced.only().status.is_ok is (code is not StatusCode.ERROR)


# ---- exceptions ------------------------------------------------------------------------------------------


class Refused(Exception):
    """An exception of this module."""


def test_a_recorded_exception_has_the_attributes_of_the_convention(traced: Traced) -> None:
    """Type with its module, message, stack trace, whether it escaped; given attributes win."""
    span = traced.tracer.start_span("s")
    try:
        raise Refused("no card")
    except Refused as error:
        span.record_exception(error, {"shop.id": 5, "exception.message": "mine"}, timestamp=77)
    span.end()
    (event,) = traced.only().events
    assert (event.name, event.timestamp) == ("exception", 77)
    seen = dict(event.attributes)
    assert seen.pop("exception.stacktrace").startswith("Traceback (most recent call last)")
    assert seen == {
        "exception.type": f"{__name__}.Refused",
        "exception.message": "mine",
        "exception.escaped": "False",
        "shop.id": 5,
    }
    assert traced.only().status.status_code is StatusCode.UNSET


def test_the_cause_of_an_exception_is_in_its_stack_trace(traced: Traced) -> None:
    """`raise ... from ...` is told whole."""
    span = traced.tracer.start_span("s")
    try:
        try:
            raise KeyError("deep")
        except KeyError as deep:
            raise Refused("outer") from deep
    except Refused as error:
        span.record_exception(error)
    span.end()
    stack = traced.only().events[0].attributes["exception.stacktrace"]
    assert "KeyError: 'deep'" in stack
    assert "direct cause" in stack


def test_an_exception_that_was_never_raised_is_recorded(traced: Traced) -> None:
    """It has no traceback to show."""
    span = traced.tracer.start_span("s")
    span.record_exception(ValueError("bare"))
    span.end()
    assert traced.only().events[0].attributes["exception.stacktrace"] == "ValueError: bare\n"


EXIT_CASES = {
    "both": ({}, 1, StatusCode.ERROR),
    "no event": ({"record_exception": False}, 0, StatusCode.ERROR),
    "no status": ({"set_status_on_exception": False}, 1, StatusCode.UNSET),
    "neither": ({"record_exception": False, "set_status_on_exception": False}, 0, StatusCode.UNSET),
}


@pytest.mark.parametrize("case", list(EXIT_CASES))
def test_what_an_exception_does_to_the_current_span_is_the_callers_choice(traced: Traced, case: str) -> None:
    """`record_exception` and `set_status_on_exception` of `start_as_current_span`."""
    flags, events, code = EXIT_CASES[case]
    with pytest.raises(Refused), traced.tracer.start_as_current_span("s", **flags):
        raise Refused("x")
    assert len(traced.only().events) == events
    assert traced.only().status.status_code is code


@pytest.mark.parametrize("case", list(EXIT_CASES))
def test_what_an_exception_does_to_a_span_in_a_with_statement(traced: Traced, case: str) -> None:
    """The same flags of `start_span`, when the span itself is the context manager."""
    flags, events, code = EXIT_CASES[case]
    with pytest.raises(Refused), traced.tracer.start_span("s", **flags):
        raise Refused("x")
    assert len(traced.only().events) == events
    assert traced.only().status.status_code is code
    if events:
        assert traced.only().events[0].attributes["exception.escaped"] == "True"
    if code is StatusCode.ERROR:
        assert traced.only().status.description == "Refused: x"


@pytest.mark.parametrize("case", list(EXIT_CASES))
def test_what_an_exception_does_to_a_span_in_use_span(traced: Traced, case: str) -> None:
    """The flags of the API's `use_span`."""
    flags, events, code = EXIT_CASES[case]
    span = traced.tracer.start_span("s")
    with pytest.raises(Refused), trace.use_span(span, end_on_exit=True, **flags):
        raise Refused("x")
    assert len(traced.only().events) == events
    assert traced.only().status.status_code is code


def test_a_status_set_by_hand_is_kept_where_it_is_ok(traced: Traced) -> None:
    """OK is final for exceptions too."""
    with pytest.raises(Refused), traced.tracer.start_as_current_span("s") as span:
        span.set_status(StatusCode.OK)
        raise Refused("x")
    assert traced.only().status.status_code is StatusCode.OK


# ---- the life of a span ----------------------------------------------------------------------------------


def test_end_on_exit_false_leaves_the_span_open(traced: Traced) -> None:
    """The block ends; the span doesn't."""
    with traced.tracer.start_as_current_span("s", end_on_exit=False) as span:
        pass
    assert traced.spans() == ()
    assert span.is_recording()
    assert trace.get_current_span() is trace.INVALID_SPAN
    span.set_attribute("later", 1)
    span.end()
    assert traced.only().attributes == {"later": 1}


def test_all_arguments_may_be_given_by_position(traced: Traced) -> None:
    """The order of the arguments is part of the interface."""
    parent = trace.set_span_in_context(NonRecordingSpan(FAR))
    given = ("s", parent, SpanKind.PRODUCER, {"a": 1}, [Link(FAR)], 5, True, True)
    with traced.tracer.start_as_current_span(*given, True) as span:
        assert span.start_time == 5
    traced.tracer.start_span(*given).end(9)
    for span in traced.spans():
        assert (span.name, span.kind, span.start_time, dict(span.attributes)) == ("s", SpanKind.PRODUCER, 5, {"a": 1})
        assert span.parent == FAR
        assert span.links[0].context == FAR
    assert traced.spans()[1].end_time == 9


def test_a_new_span_has_what_it_was_started_with(traced: Traced) -> None:
    """And nothing else."""
    span = traced.tracer.start_span("s")
    assert span.is_recording()
    assert (span.name, span.kind, span.parent, span.end_time) == ("s", SpanKind.INTERNAL, None, None)
    assert (dict(span.attributes), span.events, span.links) == ({}, (), ())
    assert (span.dropped_attributes, span.dropped_events, span.dropped_links) == (0, 0, 0)
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time > 0
    assert span.context is span.get_span_context()
    assert span.get_span_context().is_valid
    assert not span.get_span_context().is_remote
    assert span.get_span_context().trace_flags.sampled
    assert span.resource is traced.provider.resource
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("test", "1.0")
    span.end()


def test_an_ended_span_takes_nothing_more(traced: Traced) -> None:
    """Attributes, events, links, status, name and a second end come too late."""
    span = traced.tracer.start_span("s", attributes={"a": 1})
    span.end(10)
    span.set_attribute("b", 2)
    span.set_attributes({"c": 3})
    span.add_event("e")
    span.add_link(FAR)
    span.set_status(StatusCode.ERROR)
    span.update_name("t")
    span.record_exception(ValueError())
    span.end(20)
    found = traced.only()
    assert not span.is_recording()
    assert (found.name, dict(found.attributes), found.events, found.links) == ("s", {"a": 1}, (), ())
    assert found.status.status_code is StatusCode.UNSET
    assert (found.end_time, span.end_time) == (10, 10)


def test_a_name_may_be_changed_while_the_span_lives(traced: Traced) -> None:
    """The newest name is exported."""
    span = traced.tracer.start_span("s")
    span.update_name("t")
    span.end()
    assert traced.only().name == "t"


def test_events_keep_their_order_and_times(traced: Traced) -> None:
    """As they were added, whatever their times say."""
    span = traced.tracer.start_span("s")
    span.add_event("late", timestamp=30)
    span.add_event("early", {"a": "b", "many": [1, 2]}, 20)
    span.add_event("now")
    span.end()
    late, early, now = traced.only().events
    assert [(event.name, event.timestamp) for event in (late, early)] == [("late", 30), ("early", 20)]
    assert dict(early.attributes) == {"a": "b", "many": (1, 2)}
    assert not late.attributes
    assert traced.only().start_time <= now.timestamp <= traced.only().end_time


def test_links_that_say_nothing_are_dropped(traced: Traced) -> None:
    """An invalid context is kept only with attributes or trace state; at the start and later."""
    nothing = SpanContext(0, 0, False)
    stateful = SpanContext(0, 0, False, trace_state=TraceState([("a", "b")]))
    links = [Link(nothing), Link(nothing, {"why": "x"}), Link(stateful), Link(FAR, {"n": 1})]
    span = traced.tracer.start_span("s", links=links)
    span.add_link(nothing)
    span.add_link(nothing, {"why": "y"})
    span.add_link(stateful)
    span.add_link(FAR)
    span.end()
    seen = [(link.context, dict(link.attributes or {})) for link in traced.only().links]
    assert seen == [
        (nothing, {"why": "x"}),
        (stateful, {}),
        (FAR, {"n": 1}),
        (nothing, {"why": "y"}),
        (stateful, {}),
        (FAR, {}),
    ]


def test_a_link_that_is_none_is_dropped(traced: Traced) -> None:
    """Callers build lists of links that are not all there."""
    span = traced.tracer.start_span("s", links=[None, Link(FAR)])
    span.add_link(None)
    span.end()
    assert len(traced.only().links) == 1


@pytest.mark.parametrize("empty", [None, {}, ()], ids=repr)
def test_nothing_may_be_given_as_attributes_or_links(traced: Traced, empty: Any) -> None:
    """None and empty are the same as not given."""
    span = traced.tracer.start_span("s", attributes=empty or None, links=empty)
    span.add_event("e", empty or None)
    span.end()
    assert not traced.only().attributes
    assert traced.only().links == ()


def test_attribute_values_are_kept_by_kind(traced: Traced) -> None:
    """A boolean stays one; sequences come out as tuples; a newer value replaces."""
    span = traced.tracer.start_span("s", attributes={"x": 1})
    span.set_attributes({"b": True, "i": 1, "f": 1.5, "s": "t", "list": ["a", "b"], "bytes": b"z"})
    span.set_attribute("x", "now text")
    span.end()
    attributes = traced.only().attributes
    assert attributes["b"] is True
    assert attributes["list"] == ("a", "b")
    assert set(attributes) == {"x", "b", "i", "f", "s", "list", "bytes"}
    assert attributes["x"] == "now text"


def test_attributes_can_only_be_read(traced: Traced) -> None:
    """`.attributes` is a view, before and after the end."""
    span = traced.tracer.start_span("s", attributes={"a": 1})
    with pytest.raises(TypeError):
        span.attributes["a"] = 2
    span.end()
    with pytest.raises(TypeError):
        traced.only().attributes["a"] = 2


# ---- context ---------------------------------------------------------------------------------------------


def test_nested_spans_are_parents_of_one_another(traced: Traced) -> None:
    """`use_span` and `start_as_current_span` mix, and each restores what was before it."""
    with traced.tracer.start_as_current_span("a") as a:
        b = traced.tracer.start_span("b")
        with trace.use_span(b, end_on_exit=True):
            assert trace.get_current_span() is b
            with traced.tracer.start_as_current_span("c") as c:
                assert trace.get_current_span() is c
            assert trace.get_current_span() is b
        assert trace.get_current_span() is a
    found = {span.name: span for span in traced.spans()}
    assert found["c"].parent == found["b"].context
    assert found["b"].parent == found["a"].context
    assert found["a"].parent is None
    assert [span.name for span in traced.spans()] == ["c", "b", "a"]


def test_a_given_context_wins_over_the_current_one(traced: Traced) -> None:
    """An empty context begins a new trace; one with a remote span goes on with its trace."""
    with traced.tracer.start_as_current_span("here"):
        traced.tracer.start_span("root", context=context_api.Context()).end()
        far = trace.set_span_in_context(NonRecordingSpan(FAR), context_api.Context())
        traced.tracer.start_span("far", context=far).end()
    root, far_span, _ = traced.spans()
    assert root.parent is None
    assert far_span.parent == FAR
    assert far_span.context.trace_id == FAR.trace_id
    assert far_span.context.trace_state == FAR.trace_state
    assert far_span.parent.is_remote
    assert not far_span.context.is_remote


def test_an_invalid_parent_is_no_parent(traced: Traced) -> None:
    """A new trace begins."""
    context = trace.set_span_in_context(trace.INVALID_SPAN)
    traced.tracer.start_span("s", context=context).end()
    assert traced.only().parent is None


def test_an_unsampled_parent_makes_an_unsampled_child(traced: Traced) -> None:
    """It carries the trace on, and nothing is exported."""
    unsampled = NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(0), TraceState([("k", "v")])))
    span = traced.tracer.start_span("s", context=trace.set_span_in_context(unsampled))
    assert not span.is_recording()
    context = span.get_span_context()
    assert (context.trace_id, context.is_valid, context.trace_flags.sampled) == (5, True, False)
    assert context.span_id != 6
    assert context.trace_state.get("k") == "v"
    span.set_attribute("a", 1)
    span.end()
    assert traced.spans() == ()


def test_a_tracer_decorates_plain_and_coroutine_functions(traced: Traced) -> None:
    """Each call has a span of its own, which is the current one inside."""

    @traced.tracer.start_as_current_span("call", attributes={"a": 1})
    def double(number: int) -> int:
        assert trace.get_current_span().name == "call"
        return number * 2

    @traced.tracer.start_as_current_span("await")
    async def later(number: int) -> int:
        await asyncio.sleep(0)
        assert trace.get_current_span().name == "await"
        return number * 2

    assert (double(2), double(3), asyncio.run(later(4))) == (4, 6, 8)
    assert [span.name for span in traced.spans()] == ["call", "call", "await"]
    assert len({span.context.trace_id for span in traced.spans()}) == 3
    assert (double.__name__, asyncio.iscoroutinefunction(later)) == ("double", True)


# ---- providers and tracers -------------------------------------------------------------------------------


def test_equal_scopes_share_a_tracer(traced: Traced) -> None:
    """Name, version, schema and attributes together tell scopes apart."""
    get = traced.provider.get_tracer
    assert get("a", "1", "http://s", {"k": 1}) is get("a", "1", "http://s", {"k": 1})
    tracers = [get("a"), get("a", "1"), get("a", "1", "http://s"), get("a", "1", "http://s", {"k": 1}), get("b")]
    assert len({id(tracer) for tracer in tracers}) == 5
    assert get("a", None) is get("a", "")
    scope = get("a", "1", "http://s", {"k": 1})._instrumentation_scope
    assert (scope.name, scope.version, scope.schema_url, dict(scope.attributes)) == ("a", "1", "http://s", {"k": 1})


@pytest.mark.parametrize("name", ["", None])
def test_a_tracer_without_a_name_works(traced: Traced, name: Any) -> None:
    """The name is kept as the empty one."""
    traced.provider.get_tracer(name).start_span("s").end()
    assert traced.only().instrumentation_scope.name == ""


def test_a_disabled_sdk_makes_tracers_that_do_nothing(provider_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_SDK_DISABLED=true`."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    traced = Traced(provider_class)
    assert isinstance(traced.tracer, trace.NoOpTracer)
    with traced.tracer.start_as_current_span("s") as span:
        assert not span.is_recording()
    assert traced.spans() == ()


def test_variables_set_the_sampler_the_limits_and_the_resource(
    provider_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not given as an argument comes from the environment."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other")
    off = Traced(provider_class)
    off.tracer.start_span("s").end()
    assert off.spans() == ()
    assert off.provider.resource.attributes["service.name"] == "shop"
    assert off.provider.resource.attributes["deployment.environment.name"] == "test"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "2")
    on = Traced(provider_class)
    span = on.tracer.start_span("s", attributes={"a": "long"})
    span.set_attribute("b", 1)
    span.end()
    # Which one of the two is kept differs: the specification has the new one discarded, the SDK drops the old one.
    assert len(on.only().attributes) == on.only().dropped_attributes == 1
    cut = on.tracer.start_span("t", attributes={"a": "long"})
    assert cut.attributes["a"] == "lo"


def test_a_configurator_switches_scopes_off_and_on(provider_class: Any) -> None:
    """`_tracer_configurator`, as automatic configuration gives it; a later one counts for tracers that exist."""
    config = theirs._TracerConfig
    traced = Traced(provider_class, _tracer_configurator=lambda scope: config(is_enabled=scope.name != "noisy"))
    noisy = traced.provider.get_tracer("noisy")
    assert (noisy._is_enabled(), traced.tracer._is_enabled()) == (False, True)
    with traced.tracer.start_as_current_span("outer") as outer:
        inner = noisy.start_span("inner")
        assert not inner.is_recording()
        assert inner.get_span_context() == outer.get_span_context()
    assert not noisy.start_span("alone").get_span_context().is_valid
    traced.provider._set_tracer_configurator(tracer_configurator=lambda scope: config(is_enabled=True))
    noisy.start_span("now").end()
    assert [span.name for span in traced.spans()] == ["outer", "now"]


def test_a_configurator_that_raises_switches_nothing_off(provider_class: Any) -> None:
    """The fault is its own."""

    def broken(scope: Any) -> Any:
        raise RuntimeError

    traced = Traced(provider_class, _tracer_configurator=broken)
    traced.tracer.start_span("s").end()
    assert traced.only().name == "s"


class Slow(theirs.SpanProcessor):
    """A processor that answers a flush as it is told."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[int] = []
        self.shut = 0

    def force_flush(self, timeout_millis: int = 30000) -> Any:
        """Note what was asked."""
        self.asked.append(timeout_millis)
        return self.answer

    def shutdown(self) -> None:
        """Note it."""
        self.shut += 1


@pytest.mark.parametrize(("answers", "flushed"), [((True, True), True), ((True, False), False), ((None, True), True)])
def test_a_flush_asks_every_processor(provider_class: Any, answers: tuple[Any, Any], flushed: bool) -> None:
    """False from one is False for all; None, as old processors give, is no failure."""
    provider = provider_class(shutdown_on_exit=False)
    processors = [Slow(answer) for answer in answers]
    for processor in processors:
        provider.add_span_processor(processor)
    assert provider.force_flush(5000) is flushed
    assert all(len(processor.asked) == 1 and 0 < processor.asked[0] <= 5000 for processor in processors)
    assert provider.force_flush(0) is False
    assert all(len(processor.asked) == 1 for processor in processors)


def test_a_flush_without_processors_succeeds(provider_class: Any) -> None:
    """There is nothing to wait for."""
    assert provider_class(shutdown_on_exit=False).force_flush() is True


def test_shutdown_reaches_every_processor(provider_class: Any) -> None:
    """In the order in which they were added."""
    provider = provider_class()
    processors = [Slow(), Slow()]
    for processor in processors:
        provider.add_span_processor(processor)
    provider.shutdown()
    assert [processor.shut for processor in processors] == [1, 1]


def test_processors_see_a_span_start_end_and_in_between(provider_class: Any) -> None:
    """In order of registration; `on_start` with the context that was given; `_on_ending` before `on_end`."""
    calls: list[tuple[Any, ...]] = []

    class Watching(theirs.SpanProcessor):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            calls.append((self.name, "start", span.name, parent_context))
            span.set_attribute(self.name, True)

        def _on_ending(self, span: Any) -> None:
            calls.append((self.name, "ending", span.name, span.end_time))

        def on_end(self, span: Any) -> None:
            calls.append((self.name, "end", span.name, dict(span.attributes)))

    provider = provider_class(shutdown_on_exit=False)
    provider.add_span_processor(Watching("one"))
    provider.add_span_processor(Watching("two"))
    given = context_api.Context({"k": "v"})
    provider.get_tracer("t").start_span("s", context=given).end(9)
    both = {"one": True, "two": True}
    assert calls == [
        ("one", "start", "s", given),
        ("two", "start", "s", given),
        ("one", "ending", "s", 9),
        ("two", "ending", "s", 9),
        ("one", "end", "s", both),
        ("two", "end", "s", both),
    ]


def test_the_processors_are_where_helpers_look_for_them(provider_class: Any) -> None:
    """`_active_span_processor._span_processors` is a tuple that may be replaced."""
    provider = provider_class(shutdown_on_exit=False)
    one, two = Slow(), Slow()
    provider.add_span_processor(one)
    provider.add_span_processor(two)
    assert provider._active_span_processor._span_processors == (one, two)
    provider._active_span_processor._span_processors = ()
    assert provider.force_flush()
    assert one.asked == []
