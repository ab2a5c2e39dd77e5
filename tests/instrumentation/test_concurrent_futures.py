"""Tasks of executors run in the trace that they were submitted in."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
import weakref
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from .conftest import Observe


def current_id(*_: object) -> int:
    """The id of the span that is current; 0 where there is none."""
    return int(trace.get_current_span().get_span_context().span_id)


def current_ids(*_: object) -> tuple[int, int, Any]:
    """Process, current trace, and a baggage entry."""
    return os.getpid(), trace.get_current_span().get_span_context().trace_id, baggage.get_baggage("customer")


def refuse(reason: str) -> None:
    raise LookupError(reason)


# ---- threads ---------------------------------------------------------------------------------------------


def test_submit_and_map_carry_the_submitters_context(observed: Observe) -> None:
    """Each task that of its own submitter, in the same workers."""
    with observed("concurrent_futures", "threading") as seen, ThreadPoolExecutor(2) as pool:
        for name in ("one", "two"):
            with seen.tracer.start_as_current_span(name) as span:
                own = span.get_span_context().span_id
                assert pool.submit(current_id).result() == own
                assert list(pool.map(current_id, range(5))) == [own] * 5


def test_a_worker_is_without_a_trace_between_tasks(observed: Observe) -> None:
    """Also when the first task of all, for which it was started, had one."""
    with observed("concurrent_futures", "threading") as seen, ThreadPoolExecutor(1) as pool:
        with seen.tracer.start_as_current_span("first"):
            assert pool.submit(current_id).result() != 0
        assert pool.submit(current_id).result() == 0


def test_a_failing_task_leaves_its_worker_clean(observed: Observe) -> None:
    """And its exception arrives as it is."""
    with observed("concurrent_futures") as seen, ThreadPoolExecutor(1) as pool:
        with seen.tracer.start_as_current_span("failing"), pytest.raises(LookupError, match="theirs"):
            pool.submit(refuse, "theirs").result()
        assert pool.submit(current_id).result() == 0


def test_a_shut_down_executor_refuses_as_ever(observed: Observe) -> None:
    """Same class, same words."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with (
        observed("concurrent_futures") as seen,
        seen.tracer.start_as_current_span("outer"),
        pytest.raises(RuntimeError, match="after shutdown"),
    ):
        pool.submit(current_id)


def test_wrong_calls_raise_the_same(observed: Observe) -> None:
    """`submit()` without a function is the caller's mistake, and told so."""
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TypeError) as plain:
            pool.submit()  # type: ignore[call-arg]
        with (
            observed("concurrent_futures") as seen,
            seen.tracer.start_as_current_span("outer"),
            pytest.raises(TypeError) as wrapped,
        ):
            pool.submit()  # type: ignore[call-arg]
    assert str(wrapped.value) == str(plain.value)


def test_a_callback_runs_in_the_context_that_it_was_added_in(observed: Observe) -> None:
    """Wherever that happens: in the worker when the task is done later, at once when it is done already."""
    found: list[int] = []
    gate, done = threading.Event(), threading.Event()
    with observed("concurrent_futures") as seen, ThreadPoolExecutor(1) as pool:
        future = pool.submit(gate.wait)
        with seen.tracer.start_as_current_span("outer") as outer:
            future.add_done_callback(lambda f: found.append(current_id()))
            future.add_done_callback(fn=lambda f: found.append(f is future))
            future.add_done_callback(lambda f: done.set())
        gate.set()
        assert done.wait(10)
    assert found == [outer.get_span_context().span_id, True]


def test_a_future_that_is_kept_keeps_no_span(observed: Observe) -> None:
    """Neither by its task nor by its callbacks."""
    with observed("concurrent_futures") as seen, ThreadPoolExecutor(1) as pool:
        with seen.tracer.start_as_current_span("outer"):
            reference = weakref.ref(context.get_current())
            future: Future[int] = pool.submit(current_id)
            future.add_done_callback(current_id)
            future.result()
        pool.submit(current_id).result()
        seen.clear()
        gc.collect()
        assert reference() is None
        assert future.done()


def test_concurrent_submitters_do_not_mix(observed: Observe) -> None:
    """Many threads, one pool: each result is that of its own span."""
    wrong: list[int] = []
    with observed("concurrent_futures") as seen, ThreadPoolExecutor(4) as pool:

        def submitter(number: int) -> None:
            for _ in range(50):
                with seen.tracer.start_as_current_span(f"{number}") as span:
                    if pool.submit(current_id).result() != span.get_span_context().span_id:
                        wrong.append(number)

        threads = [threading.Thread(target=submitter, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_executor_of_interpreters_gets_what_it_can_pickle(observed: Observe) -> None:
    """Python 3.14 has one that is a thread pool by inheritance, and sends its tasks elsewhere."""

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        pass

    with (
        observed("concurrent_futures") as seen,
        InterpreterPoolExecutor(1) as pool,
        seen.tracer.start_as_current_span("outer"),
    ):
        assert pool.submit(current_id).result() == 0


# ---- processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_pool_runs_a_task_in_the_submitters_trace(observed: Observe, method: str) -> None:
    """Baggage travels too; and a worker that was started in a trace is without one for a task that has none."""
    both = ("concurrent_futures", "multiprocessing")
    with observed(*both) as seen, ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        token = context.attach(baggage.set_baggage("customer", "7"))
        with seen.tracer.start_as_current_span("outer") as outer:
            pid, carried, customer = pool.submit(current_ids).result()
            (mapped,) = pool.map(current_ids, range(1))
        context.detach(token)
        bare = pool.submit(current_ids).result()
    assert pid != os.getpid()
    assert carried == mapped[1] == outer.get_span_context().trace_id
    assert customer == "7"
    assert bare == (pid, 0, None)


def test_what_cannot_be_pickled_fails_as_ever(observed: Observe) -> None:
    """The same error, through the future, naming the submitter's function and not a wrapper of ours."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        with pytest.raises((pickle.PicklingError, AttributeError)) as plain:
            pool.submit(lambda: None).result()
        with (
            observed("concurrent_futures") as seen,
            seen.tracer.start_as_current_span("outer"),
            pytest.raises(type(plain.value)) as wrapped,
        ):
            pool.submit(lambda: None).result()
    assert "lambda" in str(wrapped.value)
    assert "Shipped" not in str(wrapped.value)


def test_an_exception_of_a_process_task_arrives_as_it_is(observed: Observe) -> None:
    """Class and message are those of the task."""
    with (
        observed("concurrent_futures") as seen,
        ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool,
        seen.tracer.start_as_current_span("outer"),
        pytest.raises(LookupError, match="theirs"),
    ):
        pool.submit(refuse, "theirs").result()
