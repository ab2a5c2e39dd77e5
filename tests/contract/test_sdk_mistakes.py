"""What an application gets wrong, and that it notices nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanContext, StatusCode

from tests.contract.recorded import FAR, Changing, Custom, Recorded, attributes

TIMES = [1.7e18, "late", None, -5, 2**64, float("nan"), float("inf"), object(), True]


@pytest.mark.parametrize("time", TIMES, ids=repr)
def test_a_time_that_is_none_raises_nothing(recorded: Recorded, time: Any) -> None:
    """A float, as `time.time() * 1e9` gives, is taken; what can't be sent is replaced by the present."""
    span = recorded.tracer.start_span("s", start_time=time)
    span.add_event("e", timestamp=time)
    span.record_exception(ValueError(), timestamp=time)
    span.end(end_time=time)
    found = recorded.only()
    times = [found.start_time_unix_nano, found.events[0].time_unix_nano, found.end_time_unix_nano]
    if isinstance(time, float) and time == 1.7e18:
        assert times == [int(time)] * 3
    elif time is not True:
        assert all(1.6e18 < taken < 2e19 for taken in times)


def test_wrong_arguments_raise_nothing(recorded: Recorded) -> None:
    """Whatever is passed, the span is recorded with the rest."""
    start: Any = recorded.tracer.start_span
    span = start(None, "context", "kind", ["attributes"], 5)
    span.set_attributes(["a"])
    span.set_attributes(7)
    span.set_attribute(None, None)
    span.add_event(None, ["a"])
    span.add_event(b"bytes", 5)
    span.add_link("context", {"a": 1})
    span.add_link(SpanContext(2**200, 2**100, False), {"a": 1})
    span.add_link(FAR, ["a"])
    span.set_status("ERROR", 5)
    span.set_status(StatusCode.ERROR, ValueError("told"))
    span.record_exception("text")
    span.record_exception(ValueError, {"a": 1})
    span.record_exception(ValueError(), ["a"])
    span.update_name(5)
    span.end()
    found = recorded.only()
    assert found.name == "5"
    assert found.parent_span_id == b""
    assert [event.name for event in found.events] == ["None", "b'bytes'", *["exception"] * 3]
    assert [link.span_id for link in found.links] == [FAR.span_id.to_bytes(8, "big")]
    assert (found.status.code, found.status.message) == (2, "told")
    assert found.dropped_attributes_count > 0


def test_a_scope_of_anything_makes_a_tracer(recorded: Recorded) -> None:
    """Versions are given as numbers, say."""
    get: Any = recorded.provider.get_tracer
    for arguments in [("n", 1.5), (None, None, 7), (7, "1", None, ["a"]), ("n", "1", "u", {"k": object(), 5: 1})]:
        get(*arguments).start_span("s").end()
    scopes = [scope.scope for part in recorded.request().resource_spans for scope in part.scope_spans]
    assert [(scope.name, scope.version) for scope in scopes] == [("n", "1.5"), ("", ""), ("", "1"), ("n", "1")]


def test_a_sampler_with_a_word_of_ours_is_asked(recorded: Recorded) -> None:
    """Our own samplers tell their ratios by an attribute, which others may have for something else."""
    sampler: Any = Custom(sampling.Decision.RECORD_AND_SAMPLE)
    sampler.static = True
    recorded.provider.sampler = sampler
    recorded.tracer.start_span("s").end()
    assert attributes(recorded.only()) == {"rule": 7}


def test_a_span_as_context_begins_a_new_trace(recorded: Recorded) -> None:
    """A common mistake; a context is asked for."""
    outer = recorded.tracer.start_span("outer")
    inner = recorded.tracer.start_span("inner", context=outer)
    assert inner.is_recording()
    assert inner.parent is None


def test_strings_of_a_class_of_their_own_are_strings(recorded: Recorded) -> None:
    """Members of a string Enum name attributes, events and spans by what they hold."""
    from enum import Enum

    class Name(str, Enum):
        USER = "user.id"

    span = recorded.tracer.start_span(Name.USER, attributes={Name.USER: Name.USER})
    span.add_event(Name.USER, {Name.USER: {Name.USER: 1}})
    span.end()
    found = recorded.only()
    assert (found.name, found.events[0].name) == ("user.id", "user.id")
    assert attributes(found) == {"user.id": "user.id"}
    assert attributes(found.events[0])["user.id"].values[0].key == "user.id"


def test_what_a_processor_breaks_costs_that_span_alone(recorded: Recorded) -> None:
    """A span that can't be written is dropped and counted, and nothing is raised."""

    def ruin(span: Any) -> None:
        span._events = [theirs.Event("e", timestamp="yesterday")]

    recorded.tracer.start_span("before").end()
    recorded.provider.add_span_processor(Changing(end=ruin))
    recorded.tracer.start_span("ruined").end()
    recorded.provider._active_span_processor._span_processors = ()
    recorded.tracer.start_span("fine").end()
    assert [span.name for span in recorded.spans()] == ["before", "fine"]
    assert recorded.recorder.dropped == 1


def test_what_is_left_out_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the class, the call and the error, however often it happens."""

    class Broken:
        def should_sample(self, *_: object) -> Any:
            raise RuntimeError("no rules")

    traced = Recorded(sampler=Broken())
    for _ in range(3):
        traced.tracer.start_span("s")
    (record,) = caplog.records
    assert record.name == "noops_agent"
    assert all(part in record.getMessage() for part in ("Broken", "should_sample", "no rules"))
