"""Span processors written for the SDK, on our provider."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.trace import export
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, StatusCode

from tests.contract.recorded import FAR, Changing, Recorded, attributes, fill


def put(span: Any) -> None:
    span._attributes["put"] = "new"


def redact(span: Any) -> None:
    for key in list(span._attributes):
        if key == "secret":
            del span._attributes[key]


def overwrite(span: Any) -> None:
    span._attributes["a"] = "***"


def replace(span: Any) -> None:
    span._attributes = {**span._attributes, "replaced": True}


def clear(span: Any) -> None:
    span._attributes = None


def unfreeze(span: Any) -> None:
    span._attributes._immutable = False
    span._attributes["a"] = "***"
    span._attributes._immutable = True


def reach_through(span: Any) -> None:
    span._attributes._dict.pop("secret", None)
    span._attributes._dict["a"] = "***"


def nest(span: Any) -> None:
    span._attributes["nested"] = {"deep": [1, object]}


CHANGES = {
    "put": (put, {"a": 1, "secret": "x", "put": "new"}),
    "delete": (redact, {"a": 1}),
    "overwrite": (overwrite, {"a": "***", "secret": "x"}),
    "replace": (replace, {"a": 1, "secret": "x", "replaced": True}),
    "clear": (clear, {}),
    "unfreeze": (unfreeze, {"a": "***", "secret": "x"}),
    "reach through": (reach_through, {"a": "***"}),
}


@pytest.mark.parametrize("when", ["ending", "end"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_what_processors_do_to_attributes_is_exported(recorded: Recorded, change: str, when: str) -> None:
    """Later processors, exporters and our recorder all see it."""
    exporter = InMemorySpanExporter()
    action, expected = CHANGES[change]
    recorded.provider.add_span_processor(Changing(**{when: action}))
    recorded.provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    recorded.tracer.start_span("s", attributes={"a": 1, "secret": "x"}).end()
    assert attributes(recorded.only()) == expected
    assert dict(exporter.get_finished_spans()[0].attributes) == expected


def test_a_processor_may_put_anything(recorded: Recorded) -> None:
    """A value that was never checked is made recordable when the span is written."""
    recorded.provider.add_span_processor(Changing(end=nest))
    recorded.tracer.start_span("s").end()
    (pair,) = recorded.only().attributes
    (deep,) = pair.value.kvlist_value.values
    assert deep.value.array_value.values[0].int_value == 1
    assert "object" in deep.value.array_value.values[1].string_value


def test_a_span_can_be_written_until_it_has_ended(recorded: Recorded) -> None:
    """In `_on_ending` all of the API works; in `on_end` none of it does."""

    def late(span: Any) -> None:
        assert not span.is_recording()
        span.set_attribute("too late", 1)

    recorded.provider.add_span_processor(Changing(ending=fill, end=late))
    recorded.tracer.start_span("s").end()
    found = recorded.only()
    assert found.events[0].name == "seen"
    assert found.links[0].attributes[0].key == "why"
    assert found.status.message == "no"
    assert "too late" not in attributes(found)
    assert attributes(found)["text"] == "ä"


def test_processors_may_change_the_rest_too(recorded: Recorded) -> None:
    """Name, times, events, links and status under the names that the SDK gives them."""

    def change(span: Any) -> None:
        span._name = "renamed"
        span._start_time = 5
        span._end_time = 9
        span._events = [event for event in span._events if event.name != "noise"]
        span._links = [*span._links, Link(FAR)]
        span._status = trace.Status(StatusCode.ERROR, "mine")

    recorded.provider.add_span_processor(Changing(end=change))
    span = recorded.tracer.start_span("s")
    span.add_event("noise")
    span.add_event("kept", {"a": 1}, timestamp=7)
    span.end()
    found = recorded.only()
    assert (found.name, found.start_time_unix_nano, found.end_time_unix_nano) == ("renamed", 5, 9)
    assert [(event.name, event.time_unix_nano, len(event.attributes)) for event in found.events] == [("kept", 7, 1)]
    assert found.links[0].span_id == FAR.span_id.to_bytes(8, "big")
    assert (found.status.code, found.status.message) == (2, "mine")


def test_others_may_remember_spans_weakly(recorded: Recorded) -> None:
    """As keys of a `WeakKeyDictionary`, which tell spans apart and let go of them."""
    import gc
    import weakref

    notes: Any = weakref.WeakKeyDictionary()
    span, other = recorded.tracer.start_span("s"), recorded.tracer.start_span("s")
    notes[span] = 5
    assert notes[span] == 5
    assert other not in notes
    span.end()
    del span
    gc.collect()
    assert len(notes) == 0


def test_what_is_written_on_an_event_or_link_is_exported(recorded: Recorded) -> None:
    """Redaction replaces the attributes of exception events, which are objects that stay."""

    def change(span: Any) -> None:
        for event in span.events:
            if event.name == "exception":
                event._attributes = {**event.attributes, "exception.message": "***"}
            else:
                event._attributes._immutable = False
                event._attributes.clear()
                event._attributes["cleared"] = True
        span._events.append(theirs.Event("added", {"a": 1}, timestamp=9))
        for link in span.links:
            link._attributes = {"redacted": True}

    exporter = InMemorySpanExporter()
    recorded.provider.add_span_processor(Changing(end=change))
    recorded.provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    span = recorded.tracer.start_span("s", links=[Link(FAR, {"secret": "x"})])
    span.record_exception(ValueError("secret"))
    span.add_event("other", {"secret": "x"})
    span.end()
    (shown,) = exporter.get_finished_spans()
    for events in (shown.events, recorded.only().events):
        assert [event.name for event in events] == ["exception", "other", "added"]
    assert shown.events[0].attributes["exception.message"] == "***"
    assert attributes(recorded.only().events[0])["exception.message"] == "***"
    assert attributes(recorded.only().events[1]) == {"cleared": True}
    assert attributes(recorded.only().events[2]) == {"a": 1}
    assert attributes(recorded.only().links[0]) == {"redacted": True}


def test_a_processor_that_ends_an_ending_span_changes_nothing(recorded: Recorded) -> None:
    """The first end is the only one, and nothing is told twice."""
    told: list[str] = []
    processor = Changing(ending=lambda span: span.end(5), end=lambda span: told.append(span.name))
    recorded.provider.add_span_processor(processor)
    recorded.tracer.start_span("s", start_time=1).end(9)
    assert recorded.only().end_time_unix_nano == 9
    assert told == ["s"]


def test_many_threads_may_end_one_span(recorded: Recorded) -> None:
    """It is recorded once."""
    for number in range(50):
        span = recorded.tracer.start_span(f"span {number}")
        threads = [threading.Thread(target=span.end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorded.spans()) == 50


class Failing(theirs.SpanProcessor):
    """A processor that raises wherever it can."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("start")

    def _on_ending(self, span: Any) -> None:
        raise RuntimeError("ending")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("end")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        raise RuntimeError("flush")


@pytest.mark.parametrize(
    "multi", [None, theirs.SynchronousMultiSpanProcessor, theirs.ConcurrentMultiSpanProcessor], ids=str
)
def test_a_processor_that_raises_harms_nobody(multi: Any) -> None:
    """Not the application, and not our recorder; and not the processor after it, where the list is ours."""
    exporter = InMemorySpanExporter()
    traced = Recorded(active_span_processor=None if multi is None else multi())
    traced.provider.add_span_processor(Failing())
    traced.provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    traced.tracer.start_span("s").end()
    assert traced.only().name == "s"
    if multi is None:
        assert exporter.get_finished_spans()[0].name == "s"
    assert traced.provider.force_flush() is False
    traced.provider.shutdown()


def test_an_old_processor_without_on_ending_works(recorded: Recorded) -> None:
    """One that was written before `_on_ending`, and derives from nothing."""
    ended: list[str] = []

    class Old:
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            pass

        def on_end(self, span: Any) -> None:
            ended.append(span.name)

        def shutdown(self) -> None:
            pass

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

    recorded.provider.add_span_processor(Old())
    recorded.tracer.start_span("s").end()
    assert ended == ["s"]


@pytest.mark.parametrize("multi", [theirs.SynchronousMultiSpanProcessor, theirs.ConcurrentMultiSpanProcessor])
def test_the_multi_processors_of_the_sdk_can_be_the_active_one(multi: Any) -> None:
    """With processors that were added before and after."""
    active, first, second = multi(), InMemorySpanExporter(), InMemorySpanExporter()
    active.add_span_processor(export.SimpleSpanProcessor(first))
    traced = Recorded(active_span_processor=active)
    assert traced.provider._active_span_processor is active
    assert traced.tracer.span_processor is active
    traced.provider.add_span_processor(export.SimpleSpanProcessor(second))
    with traced.tracer.start_as_current_span("s"):
        pass
    assert [len(exporter.get_finished_spans()) for exporter in (first, second)] == [1, 1]
    assert traced.only().name == "s"
    assert traced.provider.force_flush(5000)
    traced.provider.shutdown()


def test_the_active_processor_may_be_replaced(recorded: Recorded) -> None:
    """As test helpers do, by assignment, for tracers that exist too."""
    exporter = InMemorySpanExporter()
    active = theirs.SynchronousMultiSpanProcessor()
    active.add_span_processor(export.SimpleSpanProcessor(exporter))
    recorded.provider._active_span_processor = active
    recorded.tracer.start_span("s").end()
    assert [span.name for span in exporter.get_finished_spans()] == ["s"]
