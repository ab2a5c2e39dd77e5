"""The course of a call, on both cores: the native one does what its twin says."""

from __future__ import annotations

import contextvars
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState

from noops_agent._core import course
from noops_agent._core.layer import LAYERS, layer_bit
from tests.conftest import Bench, Never

HEADER = f"00-{'1' * 32}-{'2' * 16}-01"
LAYER = layer_bit("course")


class Parts:
    """One core's calls, with a library that counts what it is asked for."""

    def __init__(self, core: ModuleType, sampler: Any = None) -> None:
        self.core = core
        self.calling: Any = course if core.NAME == "python" else core
        self.bench = Bench(core, None, sampler=sampler)
        told: list[Any] = []
        self.told = told

        class Live(self.calling.Enabled):  # type: ignore[misc]
            def record(self, *measured: Any) -> None:
                told.append(measured)

            def failed(self, place: str, error: BaseException) -> bool:
                told.append((place, error))
                return False

        self.live = Live()
        self.live.tracer, self.live.plain, self.live.on = self.bench.tracer, True, True
        self.live.inject = lambda carrier, span, parent: carrier.update(span=span, parent=parent)

    def call(self, **more: Any) -> Any:
        """Make a call."""
        return self.calling.Call("get", {"key": "a"}, **more)

    def begin(self, call: Any = None, kind: Any = SpanKind.CLIENT, duration: Any = None, bit: int = 0) -> Any:
        """Begin its course."""
        return self.calling.Course(self.live, call or self.call(), kind, duration, bit)


@pytest.fixture
def parts(core: ModuleType) -> Parts:
    """Those of each core in turn."""
    return Parts(core)


def test_what_becomes_known_goes_to_the_span_and_to_the_call(parts: Parts) -> None:
    """A measurement is taken from the attributes of the call; late ones join the early ones, whatever their types."""
    begun = parts.begin(duration="took")
    begun.add({"late": 1, "key": "b"})
    begun.close(None, {"reasons": ["stop", "length"], "odd": {"a": b"1"}})
    (span,) = parts.bench.spans()
    assert [pair.key for pair in span.attributes] == ["key", "late", "reasons", "odd"]
    values = {pair.key: pair.value for pair in span.attributes}
    assert values["key"].string_value == "b"
    assert [item.string_value for item in values["reasons"].array_value.values] == ["stop", "length"]
    ((duration, seconds, attributes, chosen),) = parts.told
    assert (duration, chosen) == ("took", False)
    assert 0 <= seconds < 60
    assert attributes is begun.call.attributes
    assert attributes["late"] == 1


def test_an_error_type_among_what_is_known_makes_the_call_a_failure(parts: Parts) -> None:
    """Nothing was raised; status ERROR all the same."""
    parts.begin().close(None, {"error.type": "NOT_FOUND"})
    parts.begin().close(None, {"other": 1})
    assert [span.status.code for span in parts.bench.spans()] == [2, 0]


def test_only_the_first_end_counts(parts: Parts) -> None:
    """Two threads may tell of an outcome."""
    begun = parts.begin(duration="took")
    begun.close()
    begun.close(None, {"error.type": "late"})
    assert begun.closed
    assert len(parts.bench.spans()) == len(parts.told) == 1


def test_a_call_that_is_not_sampled_is_measured(core: ModuleType) -> None:
    """Metrics are of all calls."""
    parts = Parts(core, Never())
    begun = parts.begin(parts.call(labels={"label": 1}), duration="took")
    assert not begun.recording
    begun.close(None, {"late": 1})
    assert parts.bench.spans() == []
    assert parts.told[0][2:] == ({"label": 1}, True)
    assert begun.call.attributes["late"] == 1


def test_a_failure_of_ours_at_the_end_stays_here(parts: Parts) -> None:
    """What a meter raises is counted, not raised."""
    parts.live.inject = None
    begun = parts.begin(duration="took")
    begun.call.attributes = None
    begun.close(None, {"late": 1})
    ((place, error),) = parts.told
    assert place == "end"
    assert isinstance(error, (AttributeError, TypeError))


def test_the_span_is_current_and_the_layer_speaks_no_more_while_it_is_attached(parts: Parts) -> None:
    """And all is as before when it is detached."""
    begun = parts.begin(bit=LAYER)
    assert parts.calling.speaks(LAYER)
    with begun:
        assert trace.get_current_span() is begun.span
        assert not parts.calling.speaks(LAYER)
        with parts.begin(kind=SpanKind.SERVER, bit=LAYER):
            assert parts.calling.speaks(LAYER)
        assert not parts.calling.speaks(LAYER)
    assert LAYERS.get() == 0
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_detaching_in_another_context_does_nothing(parts: Parts) -> None:
    """A generator that the garbage collector closes, say; what is current there stays."""
    begun = parts.begin(bit=LAYER)
    contextvars.copy_context().run(begun.attach)
    with parts.begin() as other:
        begun.detach()
        assert trace.get_current_span() is other.span
    assert LAYERS.get() == 0


def test_headers_are_written_once_the_span_has_started(parts: Parts) -> None:
    """With the parent that the describer gave."""
    carrier: dict[str, Any] = {}
    parent = Context()
    begun = parts.begin(parts.call(inject=carrier, parent=parent))
    assert carrier == {"span": begun.span, "parent": parent}


def test_the_plain_header_is_for_spans_without_state_and_baggage(parts: Parts) -> None:
    """All else is for the propagators to write."""
    plain = parts.calling.plain_header
    span = parts.begin().span
    assert plain(span, None) == plain(span, Context()) == span.traceparent
    assert plain(span, baggage.set_baggage("a", "1", Context())) is None
    assert plain(NonRecordingSpan(span.get_span_context()), None) is None
    state = SpanContext(1, 2, True, TraceFlags(1), TraceState([("a", "b")]))
    stated = parts.begin(parts.call(parent=trace.set_span_in_context(NonRecordingSpan(state), Context()))).span
    assert plain(stated, Context()) is None


def test_a_remote_parent_is_a_span_like_any_other(parts: Parts) -> None:
    """Its context is made late, and says the same as the header; children take all of it over."""
    context = parts.core.remote_parent(HEADER)
    remote = trace.get_current_span(context)
    assert isinstance(remote, NonRecordingSpan)
    assert not remote.is_recording()
    told = remote.get_span_context()
    assert told == SpanContext(int("1" * 32, 16), int("2" * 16, 16), True, TraceFlags(1))
    assert told.is_valid
    assert "0x2222222222222222" in repr(remote)
    begun = parts.begin(parts.call(parent=context), kind=SpanKind.SERVER)
    assert begun.span.parent == told
    assert begun.span.get_span_context().trace_id == told.trace_id
    begun.close()
    (span,) = parts.bench.spans()
    assert span.parent_span_id.hex() == "2" * 16
    assert span.flags & 0x300 == 0x300
    with trace.use_span(remote):
        assert trace.get_current_span() is remote


@pytest.mark.parametrize("header", ["", "00-1-2-01", HEADER.upper().replace("1", "A"), b"00", None, HEADER + "x"])
def test_what_is_no_header_gives_no_parent(parts: Parts, header: Any) -> None:
    """The propagators read it in full then, and count it."""
    assert parts.core.remote_parent(header) is None


def test_pairs_take_the_place_of_a_header_that_is_there(parts: Parts) -> None:
    """What the caller gave is copied; bytes where the system wants them."""
    given = [("a", b"1"), ("traceparent", b"old"), ("traceparent", b"older")]
    pairs = parts.calling.Pairs(given, encoded=True)
    pairs("traceparent", "new")
    assert pairs.pairs == [("a", b"1"), ("traceparent", b"new")]
    assert len(given) == 3
    plain = parts.calling.Pairs(None)
    plain("a", "1")
    assert plain.pairs == [("a", "1")]


def test_labels_are_the_attributes_with_those_keys(parts: Parts) -> None:
    """In the order of the keys."""
    kept = parts.calling.labels_of({"a": 1, "b": 2, "c": None}, ("c", "x", "a"))
    assert list(kept.items()) == [("c", None), ("a", 1)]
