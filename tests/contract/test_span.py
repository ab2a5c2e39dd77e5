"""What a span does, on both cores."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util._decorator import _agnosticcontextmanager as _  # noqa: F401  (the API's own is installed)

from noops_agent._core import model
from tests.conftest import Bench, Never


def attributes(span: Any) -> dict[str, Any]:
    """Plain attributes of a decoded span."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def test_an_ended_span_is_recorded_whole(bench: Bench) -> None:
    """Name, kind, times, attributes, events, links and status all come out of the official decoder."""
    other = SpanContext(7, 8, True, TraceFlags(1), TraceState([("k", "v")]))
    with bench.tracer.start_as_current_span("work", kind=SpanKind.CLIENT, attributes={"a": 1}) as span:
        span.set_attributes({"b": "two", "c": 2.5, "d": True})
        span.add_event("seen", {"x": "y"}, timestamp=5)
        span.add_link(other, {"why": "batch"})
        span.set_status(Status(StatusCode.ERROR, "no"))
    (found,) = bench.spans()
    assert found.name == "work"
    assert found.kind == 3
    assert attributes(found) == {"a": 1, "b": "two", "c": 2.5, "d": True}
    assert (found.events[0].name, found.events[0].time_unix_nano) == ("seen", 5)
    assert found.links[0].span_id == (8).to_bytes(8, "big")
    assert found.links[0].trace_state == "k=v"
    assert (found.status.code, found.status.message) == (2, "no")
    assert 0 < found.start_time_unix_nano <= found.end_time_unix_nano


def test_children_belong_to_the_trace_of_their_parent(bench: Bench) -> None:
    """The current span is the parent, and is current again after the child."""
    with bench.tracer.start_as_current_span("root") as root:
        with bench.tracer.start_as_current_span("child") as child:
            assert trace.get_current_span() is child
        assert trace.get_current_span() is root
    first, second = bench.spans()
    assert first.trace_id == second.trace_id
    assert first.parent_span_id == second.span_id
    assert second.parent_span_id == b""
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_remote_parent_is_followed(bench: Bench) -> None:
    """Trace id, flags and trace state come from the other side, and the record says that the parent is remote."""
    remote = SpanContext(5, 6, True, TraceFlags(1), TraceState([("a", "b")]))
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    bench.tracer.start_span("served", context=parent).end()
    (found,) = bench.spans()
    assert found.trace_id == (5).to_bytes(16, "big")
    assert found.parent_span_id == (6).to_bytes(8, "big")
    assert found.trace_state == "a=b"
    assert found.flags == 0x301


def test_a_child_of_a_trace_without_random_ids_does_not_claim_them(bench: Bench) -> None:
    """W3C Trace Context Level 2: the random flag is the root's to set."""
    remote = trace.NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(1)))
    child = bench.tracer.start_span("x", context=trace.set_span_in_context(remote))
    root = bench.tracer.start_span("y")
    assert not child.get_span_context().trace_flags.random_trace_id
    assert root.get_span_context().trace_flags.random_trace_id


def test_only_the_first_end_counts(bench: Bench) -> None:
    """A second end, and everything after the first, changes nothing."""
    span = bench.tracer.start_span("once")
    span.end(end_time=10**18)
    span.end(end_time=5)
    span.set_attribute("late", 1)
    span.update_name("late")
    span.add_event("late")
    (found,) = bench.spans()
    assert found.end_time_unix_nano == 10**18
    assert span.name == "once"
    assert not span.is_recording()
    assert span.attributes == {}


def test_an_exception_is_recorded_and_makes_the_span_an_error(bench: Bench) -> None:
    """It leaves the block as it was, too."""
    with pytest.raises(ValueError, match="bad"), bench.tracer.start_as_current_span("fails"):
        raise ValueError("bad")
    (found,) = bench.spans()
    assert (found.status.code, found.status.message) == (2, "ValueError: bad")
    assert found.events[0].name == "exception"
    seen = {pair.key: pair.value.string_value for pair in found.events[0].attributes}
    assert seen["exception.type"] == "ValueError"
    assert "raise ValueError" in seen["exception.stacktrace"]
    assert found.events[0].time_unix_nano <= found.end_time_unix_nano


@pytest.mark.parametrize("error", [GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_no_exception_is_no_error(bench: Bench, error: type[BaseException]) -> None:
    """Leaving by cancellation, exit or a closed generator is not a failure of the work."""
    with pytest.raises(error), bench.tracer.start_as_current_span("left"):
        raise error()
    (found,) = bench.spans()
    assert found.status.code == 0
    assert not found.events


def test_status_ok_is_final_and_unset_is_ignored(bench: Bench) -> None:
    """The rules of the specification for `set_status`."""
    span = bench.tracer.start_span("s")
    span.set_status(StatusCode.ERROR, "first")
    span.set_status(StatusCode.UNSET)
    assert span.status.status_code is StatusCode.ERROR
    span.set_status(StatusCode.OK)
    span.set_status(StatusCode.ERROR, "late")
    assert span.status.status_code is StatusCode.OK
    assert span.status.description is None


def test_limits_bound_a_span_and_are_counted(core: Any) -> None:
    """Attributes over the limit are discarded; of events and links the newest are kept; texts are cut."""
    limits = model.Limits(attributes=2, value_length=3, events=2, links=1, event_attributes=1, link_attributes=1)
    bench = Bench(core, None, limits)
    span = bench.tracer.start_span("s", attributes={"a": "12345", "b": ["12345", 1], "c": 1})
    span.set_attribute("d", 1)
    span.set_attribute("a", "98765")
    for name in ("e1", "e2", "e3"):
        span.add_event(name, {"x": 1, "y": 2})
    for number in (1, 2):
        span.add_link(SpanContext(number, number, False), {"x": 1, "y": 2})
    span.end()
    (found,) = bench.spans()
    assert {pair.key for pair in found.attributes} == {"a", "b"}
    assert span.attributes == {"a": "987", "b": ("123", 1)}
    assert found.dropped_attributes_count == 2
    assert [event.name for event in found.events] == ["e2", "e3"]
    assert found.dropped_events_count == 1
    assert found.events[0].dropped_attributes_count == 1
    assert [link.span_id[-1] for link in found.links] == [2]
    assert found.dropped_links_count == 1
    assert found.links[0].dropped_attributes_count == 1


class Unprintable:
    """An object that can't be described."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_anything_is_an_attribute_value(bench: Bench) -> None:
    """Nested values stay nested; unknown objects are told by a bounded text; nothing raises."""
    endless: list[Any] = []
    endless.append(endless)
    span = bench.tracer.start_span("s")
    span.set_attribute("nested", {"list": [1, {"deep": b"x"}], "none": None})
    span.set_attribute("big", 2**70)
    span.set_attribute("object", Unprintable())
    span.set_attribute("class", SpanKind.SERVER)
    span.set_attribute("set", frozenset({1}))
    span.set_attribute("endless", endless)
    span.set_attribute("surrogate", "a\ud800b")
    span.set_attribute("long", type("Long", (), {"__repr__": lambda self: "x" * 100_000})())
    span.set_attribute("", 1)
    span.set_attribute(5, 1)
    span.end()
    (found,) = bench.spans()
    values = {pair.key: pair.value for pair in found.attributes}
    nested = values["nested"].kvlist_value.values
    assert nested[0].value.array_value.values[1].kvlist_value.values[0].value.bytes_value == b"x"
    assert values["big"].string_value == str(2**70)
    assert values["object"].string_value == "<Unprintable>"
    assert values["class"].string_value == "SpanKind.SERVER"
    assert values["set"].array_value.values[0].int_value == 1
    assert values["surrogate"].string_value == "a?b"
    assert len(values["long"].string_value) == 4096
    assert found.dropped_attributes_count == 2


def test_a_value_that_makes_spans_while_it_is_described_harms_nothing(bench: Bench) -> None:
    """Code of the application may run while a span is encoded."""

    class Nosy:
        def __repr__(self) -> str:
            bench.tracer.start_span("inner").end()
            return "nosy"

    span = bench.tracer.start_span("outer")
    span._attributes["n"] = Nosy()
    span.end()
    names = [found.name for found in bench.spans()]
    assert sorted(names) == ["inner", "outer"]


def test_times_never_run_backwards(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations come from a monotonic clock; a child never starts before its parent."""
    with bench.tracer.start_as_current_span("root") as root:
        child = bench.tracer.start_span("child")
        child.end()
    assert root.start_time <= child.start_time <= child.end_time <= root.end_time


def test_a_sampled_out_span_carries_its_trace_and_records_nothing(core: Any) -> None:
    """Its children know that they are not sampled either."""
    bench = Bench(core, None, sampler=Never())
    with bench.tracer.start_as_current_span("root", attributes={"a": 1}) as root:
        root.set_attribute("b", 2)
        child = bench.tracer.start_span("child")
        assert child.get_span_context().trace_id == root.get_span_context().trace_id
        assert not root.is_recording()
        assert not root.get_span_context().trace_flags.sampled
    assert bench.recorder.segments() == []
    assert root.get_span_context().is_valid


# ---- context ---------------------------------------------------------------------------------------------


def test_threads_and_copied_contexts_keep_to_themselves(bench: Bench) -> None:
    """A span that is current in one context is not current in another."""
    seen: list[bool] = []
    with bench.tracer.start_as_current_span("here") as here:
        thread = threading.Thread(target=lambda: seen.append(trace.get_current_span() is here))
        thread.start()
        thread.join()
        copied = contextvars.copy_context()
        copied.run(lambda: bench.tracer.start_as_current_span("there").__enter__())
        assert trace.get_current_span() is here
    assert seen == [False]


def test_a_generator_that_is_closed_elsewhere_detaches_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """`Token was created in a different Context` can't happen, and the other context keeps its span."""

    def work() -> Any:
        with bench.tracer.start_as_current_span("inside"):
            yield 1

    generator = work()
    contextvars.copy_context().run(next, generator)
    with bench.tracer.start_as_current_span("outer") as outer:
        generator.close()
        gc.collect()
        assert trace.get_current_span() is outer
    assert [span.name for span in bench.spans()] == ["inside", "outer"]
    assert caplog.records == []


def test_leaving_out_of_order_restores_what_was_before(bench: Bench) -> None:
    """Two overlapping spans: the first to be left takes the second's place with it, as tokens would."""
    first = bench.tracer.start_as_current_span("first")
    second = bench.tracer.start_as_current_span("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not trace.get_current_span().get_span_context().is_valid
    second.__exit__(None, None, None)
    assert len(bench.spans()) == 2


def test_baggage_set_inside_a_span_goes_with_it(bench: Bench) -> None:
    """The rest of the context is carried along, and is put back with the span."""
    token = context.attach(baggage.set_baggage("k", "v"))
    try:
        with bench.tracer.start_as_current_span("s"):
            assert baggage.get_baggage("k") == "v"
            context.attach(baggage.set_baggage("k", "inner"))
        assert baggage.get_baggage("k") == "v"
    finally:
        context.detach(token)


def test_asyncio_tasks_do_not_mix(bench: Bench) -> None:
    """Each task has its own current span, whatever the order in which they run."""

    async def one(number: int) -> bool:
        with bench.tracer.start_as_current_span(f"task {number}") as span:
            for _ in range(3):
                await asyncio.sleep(0)
                if trace.get_current_span() is not span:
                    return False
        return True

    async def many() -> list[bool]:
        with bench.tracer.start_as_current_span("root"):
            return list(await asyncio.gather(*[one(number) for number in range(50)]))

    assert all(asyncio.run(many()))
    spans = bench.spans()
    assert {span.parent_span_id for span in spans[:-1]} == {spans[-1].span_id}


def test_greenlets_do_not_mix(bench: Bench) -> None:
    """A greenlet has a context of its own."""
    greenlet = pytest.importorskip("greenlet")
    main = greenlet.getcurrent()

    def body() -> None:
        with bench.tracer.start_as_current_span("other"):
            main.switch()

    with bench.tracer.start_as_current_span("main") as mine:
        other = greenlet.greenlet(body)
        other.switch()
        assert trace.get_current_span() is mine
        other.switch()
    assert {span.name for span in bench.spans()} == {"main", "other"}


# ---- decorator -------------------------------------------------------------------------------------------


def test_plain_functions_keep_their_face(bench: Bench) -> None:
    """Name, documentation, arguments and result are the function's own."""

    @bench.tracer.start_as_current_span("call")
    def add(left: int, right: int = 2) -> int:
        """Adds."""
        return left + right

    assert add(1) == 3
    assert add(1, right=5) == 6
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert len(bench.spans()) == 2


def test_a_coroutine_function_stays_one(bench: Bench) -> None:
    """Its span lasts as long as its body."""

    @bench.tracer.start_as_current_span("call")
    async def work() -> int:
        await asyncio.sleep(0.01)
        return 1

    assert asyncio.iscoroutinefunction(work)
    assert asyncio.run(work()) == 1
    (span,) = bench.spans()
    assert span.end_time_unix_nano - span.start_time_unix_nano >= 10_000_000


def test_a_generator_is_current_only_while_its_body_runs(bench: Bench) -> None:
    """Between two values the consumer's span is the current one; sent values and results pass."""
    inside: list[Any] = []

    @bench.tracer.start_as_current_span("gen")
    def numbers() -> Any:
        inside.append(trace.get_current_span())
        got = yield 1
        inside.append(trace.get_current_span())
        inside.append(got)
        return "end"

    with bench.tracer.start_as_current_span("consumer") as consumer:
        generator = numbers()
        assert next(generator) == 1
        assert trace.get_current_span() is consumer
        with pytest.raises(StopIteration) as end:
            generator.send("hello")
        assert trace.get_current_span() is consumer
    assert end.value.value == "end"
    assert inside[0] is inside[1] is not consumer
    assert inside[2] == "hello"
    names = {span.name: span for span in bench.spans()}
    assert names["gen"].parent_span_id == names["consumer"].span_id


def test_a_generator_closed_early_is_no_error_and_ends_once(bench: Bench) -> None:
    """Its `finally` runs, thrown exceptions reach it, and one that leaves it is recorded."""
    done: list[str] = []

    @bench.tracer.start_as_current_span("gen")
    def numbers() -> Any:
        try:
            while True:
                try:
                    yield 1
                except KeyError:
                    done.append("caught")
        finally:
            done.append("closed")

    generator = numbers()
    next(generator)
    assert generator.throw(KeyError("x")) == 1
    generator.close()
    assert done == ["caught", "closed"]
    (span,) = bench.spans()
    assert span.status.code == 0

    generator = numbers()
    next(generator)
    with pytest.raises(ZeroDivisionError):
        generator.throw(ZeroDivisionError())
    assert bench.spans()[-1].status.code == 2


def test_a_generator_used_while_an_exception_is_handled_is_no_error(bench: Bench) -> None:
    """What the consumer is handling is none of the generator's business."""

    @bench.tracer.start_as_current_span("gen")
    def numbers() -> Any:
        yield 1

    try:
        raise ValueError
    except ValueError:
        assert list(numbers()) == [1]
    assert bench.spans()[0].status.code == 0


def test_an_async_generator_stays_one(bench: Bench) -> None:
    """Its span is current only while its body runs, and ends when it is closed."""
    import inspect

    @bench.tracer.start_as_current_span("agen")
    async def numbers() -> Any:
        yield 1
        yield 2

    async def consume() -> list[int]:
        found = []
        with bench.tracer.start_as_current_span("consumer") as consumer:
            async for number in numbers():
                assert trace.get_current_span() is consumer
                found.append(number)
            early = numbers()
            await early.__anext__()
            await early.aclose()
        return found

    assert inspect.isasyncgenfunction(numbers)
    assert asyncio.run(consume()) == [1, 2]
    assert [span.name for span in bench.spans()] == ["agen", "agen", "consumer"]
    assert all(span.status.code == 0 for span in bench.spans())


def test_methods_of_all_kinds_can_be_decorated(bench: Bench) -> None:
    """Static and class methods keep their kind in either order of decoration."""
    span = bench.tracer.start_as_current_span("m")

    class Thing:
        @span
        def plain(self) -> str:
            return "plain"

        @span
        @staticmethod
        def static() -> str:
            return "static"

        @classmethod
        @span
        def of_class(cls) -> str:
            return cls.__name__

    assert (Thing().plain(), Thing.static(), Thing.of_class()) == ("plain", "static", "Thing")
    assert len(bench.spans()) == 3


# ---- recorder --------------------------------------------------------------------------------------------


def test_segments_follow_one_another_and_lose_nothing(core: Any, tmp_path: Any) -> None:
    """A full segment is sealed, and the next one holds the scopes that it needs."""
    bench = Bench(core, str(tmp_path))
    bench.recorder._capacity = 8192
    for number in range(500):
        bench.tracer.start_span(f"span {number}").end()
    segments = bench.recorder.segments()
    assert len(segments) > 3
    assert [part.sealed for part in segments] == [True] * (len(segments) - 1) + [False]
    assert [span.name for span in bench.spans()] == [f"span {number}" for number in range(500)]
    assert bench.recorder.dropped == 0
    bench.recorder.close()


def test_a_span_larger_than_a_segment_gets_one_of_its_own(core: Any, tmp_path: Any) -> None:
    """No record is lost for its size alone."""
    bench = Bench(core, str(tmp_path))
    bench.tracer.start_span("huge", attributes={"text": "x" * 3_000_000}).end()
    bench.tracer.start_span("small").end()
    assert [span.name for span in bench.spans()] == ["huge", "small"]


def test_without_a_folder_records_stay_in_memory(core: Any, tmp_path: Any) -> None:
    """A state folder that can't be made is an error that is kept for `doctor`, not one for the host."""
    (tmp_path / "file").write_text("in the way")
    bench = Bench(core, str(tmp_path / "file"))
    bench.tracer.start_span("kept").end()
    assert isinstance(bench.recorder.folder_error, OSError)
    assert [span.name for span in bench.spans()] == ["kept"]
    assert bench.recorder.segments()[0].path is None


def test_a_state_folder_deleted_while_running_harms_nothing(core: Any, tmp_path: Any) -> None:
    """What is mapped stays; the next segment makes the folder anew."""
    import shutil

    bench = Bench(core, str(tmp_path / "state"))
    bench.recorder._capacity = 8192
    bench.tracer.start_span("before").end()
    shutil.rmtree(tmp_path / "state")
    for number in range(200):
        bench.tracer.start_span(f"after {number}").end()
    assert len(bench.spans()) == 201
    assert bench.recorder.dropped == 0
    assert bench.recorder.segments()[-1].path is not None


def test_both_joiners_give_the_same_request(core: Any, tmp_path: Any) -> None:
    """The native joiner and the Python one agree byte for byte, for several scopes and resources."""
    from noops_agent._core import segment

    recorder = core.Recorder(str(tmp_path), 1 << 20, bytes(16))
    scopes = [
        recorder.scope(
            recorder.resource(bytes((0x1A, 1, 65 + number % 2))),
            bytes((0x0A, 2, 0x0A, 0)) + bytes((0x1A, 1, 97 + number)),
        )
        for number in range(4)
    ]
    for number in range(40):
        recorder.append(segment.SPAN, scopes[number * 7 % 4], b"\x12\x02\x2a\x00" if number % 3 else b"\x12\x00")
    part = recorder.segments()[-1]
    for limit in (1, 7, 1000):
        ours = core.collect(part.memory, 128, part.used, segment.SPAN, 1 << 20, limit)
        theirs = segment.collect(part.memory, 128, part.used, segment.SPAN, 1 << 20, limit)
        assert ours == theirs
        assert ours[2] == min(limit, 40)


def test_other_code_may_put_attributes_of_its_own_on_a_span(bench: Bench) -> None:
    """Some instrumentation does; each span has its own, and they go with it."""
    import weakref

    class Thing:
        pass

    first, second = bench.tracer.start_span("a"), bench.tracer.start_span("b")
    first._note = thing = Thing()
    assert first._note is thing
    assert not hasattr(second, "_note")
    with pytest.raises(AttributeError):
        second._missing  # noqa: B018
    gone = weakref.ref(thing)
    first.end()
    del first, thing
    assert gone() is None
    assert not hasattr(bench.tracer.start_span("c"), "_note")
