"""Child processes and tasks of pools belong to the trace that they come from."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from noops_agent.instrument import registry
from tests.adversity.collector import Collector

from .conftest import Observe

METHODS = ["fork", "spawn", "forkserver"]


def current_ids(*_: object) -> tuple[int, int, Any]:
    """Trace, span, and a baggage entry that are current."""
    found = trace.get_current_span().get_span_context()
    return found.trace_id, found.span_id, baggage.get_baggage("customer")


def remote(*_: object) -> tuple[bool, bool]:
    """Whether the current span is another process's, and whether it is one that could be changed."""
    span = trace.get_current_span()
    return span.get_span_context().is_remote, span.is_recording()


def tell(pipe: Any, what: Any = current_ids) -> None:
    pipe.send(what())


class Told(multiprocessing.Process):
    """A subclass with a `run` of its own, that is pickled as a whole."""

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self.pipe = pipe

    def run(self) -> None:
        self.pipe.send(current_ids())


class Instrumented:
    """Enables the integration in a child that is spawned: unpickling it comes before the child's own work."""

    def __reduce__(self) -> Any:
        return registry.enable, ("multiprocessing",)


class SpawnedWith(multiprocessing.get_context("spawn").Process):  # type: ignore[name-defined,misc]
    """A spawned process whose child has the agent, as it has under `noops-agent run`."""

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self.agent = Instrumented()
        self.pipe = pipe

    def run(self) -> None:
        self.pipe.send((current_ids(), sorted(vars(self))))


def told_by(process: Any, ours: Any) -> Any:
    """What a process sends."""
    process.start()
    try:
        assert ours.poll(60)
        return ours.recv()
    finally:
        process.join()


def test_a_forked_child_begins_in_a_remote_parent(observed: Observe) -> None:
    """In the trace, but not in the very span object of its parent, that it can't end; baggage comes along."""
    ours, theirs = multiprocessing.Pipe()
    fork = multiprocessing.get_context("fork")
    with observed("multiprocessing") as seen, seen.tracer.start_as_current_span("outer") as outer:
        token = context.attach(baggage.set_baggage("customer", "7"))
        told = told_by(fork.Process(target=tell, args=(theirs,)), ours)
        context.detach(token)
        assert told_by(fork.Process(target=tell, args=(theirs, remote)), ours) == (True, False)
        assert trace.get_current_span() is outer
    own = outer.get_span_context()
    assert told == (own.trace_id, own.span_id, "7")


def test_a_spawned_child_reads_its_context_from_the_process_object(observed: Observe) -> None:
    """The environment of the parent, which all of its threads share, is not touched."""
    ours, theirs = multiprocessing.Pipe()
    environ = dict(os.environ)
    with observed("multiprocessing") as seen, seen.tracer.start_as_current_span("outer") as outer:
        process = SpawnedWith(theirs)
        (trace_id, span_id, _), names = told_by(process, ours)
    own = outer.get_span_context()
    assert (trace_id, span_id) == (own.trace_id, own.span_id)
    assert not [name for name in (*names, *vars(process)) if "noops" in name]
    assert dict(os.environ) == environ


def test_a_child_without_the_agent_runs_as_ever(observed: Observe) -> None:
    """What we add to the process object means nothing to it."""
    ours, theirs = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    with observed("multiprocessing") as seen, seen.tracer.start_as_current_span("outer"):
        assert told_by(spawn.Process(target=tell, args=(theirs,)), ours) == (0, 0, None)


def test_a_subclass_that_overrides_run_is_carried_too(observed: Observe) -> None:
    """As with threads."""
    ours, theirs = multiprocessing.Pipe()
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("the default start method of this Python is another one")
    with observed("multiprocessing") as seen, seen.tracer.start_as_current_span("outer") as outer:
        assert told_by(Told(theirs), ours)[1] == outer.get_span_context().span_id


@pytest.mark.parametrize("method", METHODS)
def test_tasks_of_a_pool_belong_to_whoever_gives_them(observed: Observe, method: str) -> None:
    """By each of its methods; and its workers, started in a trace, are without one for other tasks."""
    with observed("multiprocessing", "threading") as seen, seen.tracer.start_as_current_span("first"):
        pool = multiprocessing.get_context(method).Pool(1)
    with pool:
        with observed("multiprocessing") as seen, seen.tracer.start_as_current_span("outer") as outer:
            own = outer.get_span_context().trace_id
            found = [
                pool.apply(current_ids),
                pool.apply_async(func=current_ids).get(),
                *pool.map(current_ids, range(2)),
                *pool.starmap(current_ids, [(1,), (2,)]),
                *pool.map_async(current_ids, range(2)).get(),
                *pool.imap(current_ids, range(3), chunksize=2),
                *pool.imap_unordered(current_ids, range(2)),
            ]
        assert [ids[0] for ids in found] == [own] * len(found)
        assert pool.apply(current_ids)[0] == 0


def test_a_pool_of_threads_hands_on_the_span_itself(observed: Observe) -> None:
    """It is in the same process: no way through variables."""
    with observed("multiprocessing", "threading") as seen, ThreadPool(2) as pool:
        with seen.tracer.start_as_current_span("outer") as outer:
            assert set(pool.map(remote, range(4))) == {(False, True)}
            assert pool.apply(current_ids)[1] == outer.get_span_context().span_id
        assert pool.apply(current_ids)[1] == 0


def test_a_callback_of_a_pool_runs_in_the_context_of_the_call(observed: Observe) -> None:
    """It is called in a thread that the pool keeps."""
    found: list[Any] = []
    done = threading.Event()

    def callback(_: Any) -> None:
        found.append(current_ids()[1])
        done.set()

    with observed("multiprocessing", "threading") as seen, ThreadPool(1) as pool:
        with seen.tracer.start_as_current_span("outer") as outer:
            pool.apply_async(current_ids, callback=callback)
        assert done.wait(10)
    assert found == [outer.get_span_context().span_id]


def test_an_error_in_a_pool_arrives_as_it_is(observed: Observe) -> None:
    """Class and message."""
    with (
        observed("multiprocessing") as seen,
        ThreadPool(1) as pool,
        seen.tracer.start_as_current_span("outer"),
        pytest.raises(ZeroDivisionError),
    ):
        pool.apply(divmod, (1, 0))


PROGRAM = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import noops_agent


def work(name):
    with noops_agent.span(name):
        pass


if __name__ == "__main__":
    with noops_agent.span("outer"):
        for method in ("fork", "spawn", "forkserver"):
            context = multiprocessing.get_context(method)
            child = context.Process(target=work, args=(f"process {method}",))
            child.start()
            child.join()
            with context.Pool(1) as pool:
                pool.map(work, [f"pool {method}"])
            with ProcessPoolExecutor(1, context) as executor:
                executor.submit(work, f"executor {method}").result()
"""


def test_under_the_agent_the_spans_of_all_children_are_in_the_trace(tmp_path: Path) -> None:
    """However a child is started; each span of its own process is a child of the parent's."""
    (tmp_path / "program.py").write_text(PROGRAM)
    collector = Collector()
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint, "NOOPS_EXPORT_INTERVAL": "50ms"}
    command = [sys.executable, "-m", "noops_agent", "run", sys.executable, "program.py"]
    try:
        subprocess.run(command, cwd=tmp_path, env=environ, check=True, timeout=60)
        ways = [f"{way} {method}" for way in ("process", "pool", "executor") for method in METHODS]
        # A pool's worker is ended by a signal: what it recorded last is sent by whoever adopts it.
        assert collector.wait_until(lambda: "outer" in {span.name for span in collector.spans})
        subprocess.run([*command[:-1], "-c", "import noops_agent\nwith noops_agent.span('adopts'): pass"], env=environ)
        assert collector.wait_until(lambda: {*ways, "outer"} <= {span.name for span in collector.spans})
    finally:
        collector.close()
    (outer,) = [span for span in collector.spans if span.name == "outer"]
    parents = {span.name: (span.trace_id, span.parent_span_id) for span in collector.spans if span.name in ways}
    assert parents == dict.fromkeys(ways, (outer.trace_id, outer.span_id))
