"""Threads run in the trace that they were started in."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from .conftest import Observe


def current_id() -> int:
    """The id of the span that is current; 0 where there is none."""
    return int(trace.get_current_span().get_span_context().span_id)


class Worker(threading.Thread):
    """A subclass that brings a `run` of its own, and never calls the one of Thread."""

    found = -1

    def run(self) -> None:
        self.found = current_id()


def run_in(thread: threading.Thread) -> None:
    thread.start()
    thread.join()


def test_a_thread_runs_in_the_span_that_it_was_started_in(observed: Observe) -> None:
    """Spans of the thread are children of it, and baggage is there too."""
    found: list[Any] = []

    def work() -> None:
        found.append(baggage.get_baggage("customer"))
        with seen.tracer.start_as_current_span("inner"):
            pass

    with observed("threading") as seen, seen.tracer.start_as_current_span("outer") as outer:
        token = context.attach(baggage.set_baggage("customer", "7"))
        run_in(threading.Thread(target=work))
        context.detach(token)
    assert found == ["7"]
    assert seen.named("inner").parent.span_id == outer.get_span_context().span_id


def test_a_subclass_that_overrides_run_is_carried_too(observed: Observe) -> None:
    """Its own `run` hears nothing of us, so the context has to be there before."""
    with observed("threading") as seen, seen.tracer.start_as_current_span("outer") as outer:
        thread = Worker()
        run_in(thread)
    assert thread.found == outer.get_span_context().span_id


def test_a_timer_fires_in_the_context_of_its_start(observed: Observe) -> None:
    """A timer is a thread that waits first."""
    found: list[int] = []
    with observed("threading") as seen, seen.tracer.start_as_current_span("outer") as outer:
        run_in(threading.Timer(0, lambda: found.append(current_id())))
    assert found == [outer.get_span_context().span_id]


def test_a_thread_that_was_made_before_the_patch_is_carried(observed: Observe) -> None:
    """What counts is where it is started."""
    thread = Worker()
    with observed("threading") as seen, seen.tracer.start_as_current_span("outer") as outer:
        run_in(thread)
    assert thread.found == outer.get_span_context().span_id


def test_a_thread_without_a_trace_stays_without_one(observed: Observe) -> None:
    """And nothing is left on the thread object in either case."""
    with observed("threading") as seen:
        alone = Worker()
        run_in(alone)
        with seen.tracer.start_as_current_span("outer"):
            inside = Worker()
            run_in(inside)
    assert alone.found == 0
    plain = Worker()
    run_in(plain)
    assert vars(alone).keys() == vars(inside).keys() == vars(plain).keys()


def test_threads_that_libraries_keep_begin_without_a_trace(observed: Observe) -> None:
    """A monitor that is started in the first request outlives it: its work is no part of that request."""

    class Monitor(Worker):
        __module__ = "pymongo.monitor"

    with observed("threading") as seen, seen.tracer.start_as_current_span("outer"):
        monitor = Monitor()
        run_in(monitor)
    assert monitor.found == 0


def test_an_exception_in_a_thread_is_told_as_ever(observed: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    """`threading.excepthook` gets the same exception, with a traceback that begins where it did."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def fail() -> None:
        raise LookupError("theirs")

    with observed("threading") as seen, seen.tracer.start_as_current_span("outer"):
        run_in(threading.Thread(target=fail))
    (caught,) = told
    assert caught.exc_type is LookupError
    assert caught.exc_traceback.tb_frame.f_code.co_name == "_bootstrap_inner"
    assert "instrument" not in caught.exc_traceback.tb_next.tb_frame.f_code.co_filename


def test_starting_twice_raises_as_ever(observed: Observe) -> None:
    """A thread can be started once."""
    with observed("threading") as seen, seen.tracer.start_as_current_span("outer"):
        thread = Worker()
        run_in(thread)
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()


def test_a_finished_thread_keeps_no_span(observed: Observe) -> None:
    """Programs keep thread objects; spans of long ago are not to be kept by them."""
    with observed("threading") as seen:
        thread = Worker()
        with seen.tracer.start_as_current_span("outer"):
            carried = context.get_current()
            reference = weakref.ref(carried)
            run_in(thread)
        seen.clear()
        del carried
        gc.collect()
        assert reference() is None


def test_given_contexts_of_newer_interpreters_are_respected(observed: Observe) -> None:
    """Python 3.14 runs a thread in a context that may be given; only where none was, there is one of ours."""
    import contextvars

    from noops_agent.instrument.carry import prepare_thread

    with observed("threading") as seen, seen.tracer.start_as_current_span("outer") as outer:
        given, free = threading.Thread(), threading.Thread()
        own = given.__dict__["_context"] = contextvars.Context()
        free.__dict__["_context"] = None
        prepare_thread(given)
        prepare_thread(free)
        assert given.__dict__["_context"] is own
        assert free.__dict__["_context"].run(current_id) == outer.get_span_context().span_id


def test_disabled_nothing_is_carried(observed: Observe) -> None:
    """The interpreter's own behaviour is back."""
    with observed("threading") as seen:
        pass
    with seen.tracer.start_as_current_span("outer"):
        thread = Worker()
        run_in(thread)
    assert thread.found == 0
