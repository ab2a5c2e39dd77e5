"""Traces that the head sampler did not take are kept when they failed or were slow, and never otherwise."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from typing import Any

import pytest
from opentelemetry.trace import Status, StatusCode

from noops_agent import _diagnostics
from noops_agent._core.segment import ERROR, SPAN
from noops_agent._signals import rescue
from noops_agent._signals.rescue import (
    BUCKETS,
    HALVE_AT,
    MAX_ROUTES,
    MIN_SEEN,
    PAGE_BYTES,
    Durations,
    Rescue,
    bucket,
    halved,
)
from tests.conftest import Bench, Never

MS = 1_000_000


class Recorder:
    """Takes note of what is appended."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, bytes]] = []

    def append(self, signal: int, scope: int, payload: bytes) -> bool:
        self.records.append((signal, scope, payload))
        return True


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def seen(keeper: Rescue, name: str, duration_ns: int, times: int) -> None:
    """Let a route have had durations."""
    for _ in range(times):
        keeper.observe(name, duration_ns)


# ---- what is kept


def test_a_trace_that_failed_anywhere_is_kept_whole(recorder: Recorder) -> None:
    """In the order in which its spans ended, failed ones marked."""
    held = Rescue(("errors",)).open("GET /")
    held.add(1, b"one", False)
    held.add(2, b"two", True)
    held.add(1, b"root", False)
    assert held.finish(recorder, "GET /", MS, False) is True
    assert recorder.records == [(SPAN, 1, b"one"), (SPAN | ERROR, 2, b"two"), (SPAN, 1, b"root")]
    assert _diagnostics.counters() == {"rescue.kept": 1}


def test_a_root_that_failed_is_enough(recorder: Recorder) -> None:
    """The error may come with the end of the root."""
    held = Rescue(("errors",)).open("GET /")
    held.add(1, b"one", False)
    assert held.finish(recorder, "GET /", MS, True) is True
    assert recorder.records == [(SPAN, 1, b"one")]


def test_a_slow_trace_is_kept(recorder: Recorder) -> None:
    """Slow is what is longer than the 99th percentile of its own route."""
    keeper = Rescue(("slow",))
    seen(keeper, "slow route", 900 * MS, 500)
    seen(keeper, "fast route", 2 * MS, 500)
    for name, expected in (("fast route", True), ("slow route", False)):
        held = keeper.open(name)
        held.add(1, name.encode(), False)
        assert held.finish(recorder, name, 500 * MS, False) is expected
    assert recorder.records == [(SPAN, 1, b"fast route")]


@pytest.mark.parametrize(
    ("keep", "error", "duration_ns"),
    [
        (("errors",), False, 10_000 * MS),
        (("slow",), True, MS),
        ((), True, 10_000 * MS),
        (("errors", "slow"), False, MS),
    ],
)
def test_nothing_else_is_kept(recorder: Recorder, keep: Any, error: bool, duration_ns: int) -> None:
    """A trace is forgotten for good: what ends later in it is dropped too."""
    keeper = Rescue(keep)
    seen(keeper, "GET /", 10 * MS, 500)
    held = keeper.open("GET /")
    held.add(1, b"one", error)
    assert held.finish(recorder, "GET /", duration_ns, error) is False
    held.add(1, b"late", True)
    assert held.finish(recorder, "GET /", duration_ns, True) is False
    assert recorder.records == []
    assert keeper.held_bytes == 0


def test_children_that_end_after_a_kept_root_are_recorded_at_once(recorder: Recorder) -> None:
    """A background task belongs to its trace."""
    keeper = Rescue(("errors",))
    held = keeper.open("GET /")
    held.finish(recorder, "GET /", MS, True)
    held.add(3, b"late", False)
    held.add(3, b"later", True)
    assert recorder.records == [(SPAN, 3, b"late"), (SPAN | ERROR, 3, b"later")]
    assert keeper.held_bytes == 0


# ---- bounds


def test_a_trace_of_too_many_spans_is_given_up(recorder: Recorder) -> None:
    """And counted once."""
    keeper = Rescue(("errors",), max_spans_per_trace=5)
    held = keeper.open("GET /")
    for _ in range(20):
        held.add(1, b"x", True)
    assert held.finish(recorder, "GET /", MS, True) is False
    assert recorder.records == []
    assert keeper.held_bytes == 0
    assert _diagnostics.counters() == {"rescue.overflow": 1}


def test_all_traces_together_stay_below_the_bound(recorder: Recorder) -> None:
    """A trace that finds no room is given up, and the others are kept."""
    keeper = Rescue(("errors",), max_bytes_total=64 * PAGE_BYTES)
    traces = [keeper.open("GET /") for _ in range(100)]
    for held in traces:
        held.add(1, bytes(3000), True)
        assert keeper.held_bytes <= 64 * PAGE_BYTES
    kept = [held.finish(recorder, "GET /", MS, True) for held in traces]
    assert kept == [True] * 16 + [False] * 84
    assert len(recorder.records) == 16
    assert _diagnostics.counters() == {"rescue.kept": 16, "rescue.overflow": 84}
    assert keeper.held_bytes == 0


def test_small_spans_count_with_what_they_take(recorder: Recorder) -> None:
    """Empty payloads would otherwise be held without end."""
    keeper = Rescue(("errors",), max_bytes_total=8 * PAGE_BYTES, max_spans_per_trace=10**6)
    held = keeper.open("GET /")
    for _ in range(8 * PAGE_BYTES // rescue.SPAN_BYTES):
        held.add(1, b"", False)
    assert keeper.held_bytes == 8 * PAGE_BYTES
    assert _diagnostics.counters() == {}
    held.add(1, b"", False)
    assert _diagnostics.counters() == {"rescue.overflow": 1}


def test_a_span_larger_than_the_bound_takes_nothing_from_others() -> None:
    """It is given up without emptying what is free."""
    keeper = Rescue(("errors",), max_bytes_total=4 * PAGE_BYTES)
    other = keeper.open("GET /")
    other.add(1, b"x", False)
    keeper.open("GET /").add(1, bytes(100_000), False)
    assert keeper.held_bytes == PAGE_BYTES
    other.add(1, b"y", False)
    assert _diagnostics.counters() == {"rescue.overflow": 1}


def test_a_trace_whose_root_never_ends_gives_its_room_back() -> None:
    """When nothing refers to it any more."""
    keeper = Rescue(("errors",))
    abandoned = [keeper.open("GET /") for _ in range(10)]
    for held in abandoned:
        held.add(1, bytes(5000), True)
    assert keeper.held_bytes >= 50_000
    del held, abandoned
    gc.collect()
    assert keeper.held_bytes == 0


def test_routes_are_bounded_and_the_rest_share_one_estimate(recorder: Recorder) -> None:
    """Names of unbounded variety cost a fixed amount."""
    keeper = Rescue(("slow",))
    for number in range(5 * MAX_ROUTES):
        keeper.observe(f"GET /{number}" + "x" * 10_000, 10 * MS)
    assert len(keeper._routes) <= MAX_ROUTES + 1
    assert all(len(name) <= 256 for name in keeper._routes)
    assert keeper.wants("a new one", 100 * MS, False)
    assert not keeper.wants("a new one", 10 * MS, False)


def test_without_slow_no_durations_are_kept() -> None:
    """What is not asked for costs nothing."""
    keeper = Rescue(("errors",))
    seen(keeper, "GET /", MS, 500)
    assert keeper._routes == {}


def test_memory_of_one_estimate_is_fixed() -> None:
    """About 1 KiB a route."""
    durations = Durations()
    before = sys.getsizeof(durations._counts)
    for _ in range(20_000):
        durations.add(random.randrange(10**12))
    assert sys.getsizeof(durations._counts) == before <= 4 * BUCKETS + 100


# ---- the percentile


def test_buckets_rise_with_the_duration() -> None:
    """Each is at most an eighth wide, from 1 µs on; the ends take what lies beyond."""
    assert bucket(-5) == bucket(0) == bucket(1000) == 0
    assert bucket(10**30) == BUCKETS - 1
    edges = [1024]
    for duration_ns in range(1024, 1 << 17):
        if bucket(duration_ns) != bucket(duration_ns - 1):
            assert bucket(duration_ns) == bucket(duration_ns - 1) + 1
            assert duration_ns <= edges[-1] * 1.126
            edges.append(duration_ns)
    assert bucket((1 << 40) - 1) == BUCKETS - 1
    assert bucket(1 << 39) == BUCKETS - 8


def test_nothing_is_slow_before_enough_was_seen() -> None:
    """The first requests of a process are no measure."""
    keeper = Rescue(("slow",))
    seen(keeper, "GET /", MS, MIN_SEEN - 1)
    assert not keeper.wants("GET /", 10_000 * MS, False)
    keeper.observe("GET /", MS)
    assert keeper.wants("GET /", 10_000 * MS, False)


DISTRIBUTIONS = {
    "uniform": lambda chance: chance.uniform(1 * MS, 100 * MS),
    "exponential": lambda chance: chance.expovariate(1 / (20 * MS)),
    "log-normal": lambda chance: chance.lognormvariate(16, 1.2),
    "two humps": lambda chance: chance.gauss(5 if chance.random() < 0.9 else 400, 0.25) * MS,
    "Pareto": lambda chance: chance.paretovariate(1.5) * MS,
}


def boundary_ns(durations: Durations) -> int:
    """The shortest duration that is slow."""
    low, high = 0, 1 << 41
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if durations.slow(middle) else (middle, high)
    return high


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [1_000, HALVE_AT - 1, 3 * HALVE_AT])
def test_the_percentile_is_right_on_known_distributions(name: str, count: int) -> None:
    """What is called slow lies within a bucket of the true 99th percentile, by rank: from 98 to 99.8 %."""
    chance = random.Random(f"{name}{count}")
    durations = Durations()
    for _ in range(count):
        durations.add(int(DISTRIBUTIONS[name](chance)))
    boundary = boundary_ns(durations)
    sample = sorted(int(DISTRIBUTIONS[name](chance)) for _ in range(100_000))
    ninety_nine = sample[99_000]
    assert 0.8 * sample[98_000] <= boundary <= 1.2 * sample[99_800]
    if name == "uniform":
        assert ninety_nine / 1.13 <= boundary <= ninety_nine * 1.13


def test_the_percentile_moves_with_the_route() -> None:
    """After a change of the route's speed the new one counts."""
    durations = Durations()
    for _ in range(20_000):
        durations.add(100 * MS)
    assert not durations.slow(100 * MS)
    for _ in range(12 * HALVE_AT):
        durations.add(2 * MS)
    assert durations.slow(100 * MS)


def test_about_one_in_a_hundred_is_kept_as_slow(recorder: Recorder) -> None:
    """Over a long run of one distribution."""
    chance = random.Random(3)
    keeper = Rescue(("slow",))
    kept = 0
    for _ in range(40_000):
        duration_ns = int(chance.lognormvariate(16, 1))
        kept += keeper.open("GET /").finish(recorder, "GET /", duration_ns, False)
        keeper.observe("GET /", duration_ns)
    assert 0.004 <= kept / 40_000 <= 0.0115


def test_halving_keeps_a_thin_tail() -> None:
    """Ones in the longest buckets don't vanish: the sum from the top down is halved, not each count alone."""
    from array import array

    counts = array("I", [1000, 0, 1, 0, 1, 1, 0, 1, 1, 1])
    half = halved(counts)
    for index in range(len(counts)):
        assert sum(half[index:]) == sum(counts[index:]) // 2


# ---- threads, processes, interruptions


def test_children_of_many_threads_are_each_recorded_once(recorder: Recorder) -> None:
    """Whether they end before the root, beside it or behind it."""
    keeper = Rescue(("errors",), max_bytes_total=64 << 20)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(30):
            held = keeper.open("GET /")
            ready = threading.Barrier(5)

            def work(worker: int, turn: int = turn, held: Any = held, ready: Any = ready) -> None:
                ready.wait()
                for number in range(40):
                    held.add(1, f"{turn} {worker} {number}".encode(), False)

            threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
            for thread in threads:
                thread.start()
            ready.wait()
            assert held.finish(recorder, "GET /", MS, True) is True
            for thread in threads:
                thread.join()
            del held, work, threads
    finally:
        sys.setswitchinterval(interval)
    expected = sorted(f"{turn} {w} {number}".encode() for turn in range(30) for w in range(4) for number in range(40))
    assert sorted(payload for _, _, payload in recorder.records) == expected
    gc.collect()
    assert keeper.held_bytes == 0


def test_room_is_neither_lost_nor_made_by_threads(recorder: Recorder) -> None:
    """After many traces of many threads, kept, forgotten and abandoned, all of it is free again."""
    keeper = Rescue(("errors",), max_bytes_total=40 * PAGE_BYTES)
    most: list[int] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            held = keeper.open("GET /")
            for _ in range(chance.randrange(6)):
                held.add(1, bytes(chance.randrange(3000)), chance.random() < 0.2)
            most.append(keeper.held_bytes)
            if chance.random() < 0.8:
                held.finish(recorder, "GET /", MS, False)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert keeper.held_bytes == 0
    assert len(keeper._free) == 40
    assert max(most) <= 40 * PAGE_BYTES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_all_of_the_room() -> None:
    """What other threads held at the fork would never be given back there."""
    keeper = Rescue(("errors",), max_bytes_total=4 * PAGE_BYTES)
    full = keeper.open("GET /")
    full.add(1, bytes(3900), False)
    pid = os.fork()
    if pid == 0:
        held = keeper.open("GET /")
        held.add(1, bytes(3900), True)
        full.add(1, b"x", False)
        del full
        kept = held.finish(Recorder(), "GET /", MS, True)
        os._exit(0 if kept and keeper.held_bytes == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert keeper.held_bytes == 4 * PAGE_BYTES


# ---- with the core


@pytest.fixture
def unsampled(bench: Bench) -> Bench:
    """A tracer that samples nothing, with a rescue."""
    bench.tracing.sampler = Never()
    bench.tracing.rescue = Rescue(("errors", "slow"))
    return bench


def test_both_cores_keep_a_failed_trace_and_nothing_else(unsampled: Bench) -> None:
    """Ten traces that went well leave no bytes; the one that failed is there whole."""
    tracer = unsampled.tracer
    for number in range(10):
        with tracer.start_as_current_span(f"good {number}"), tracer.start_as_current_span("child"):
            pass
    with tracer.start_as_current_span("bad"):
        with tracer.start_as_current_span("fine child"):
            pass
        with tracer.start_as_current_span("failed child") as failed:
            failed.set_status(Status(StatusCode.ERROR))
    found = unsampled.spans()
    assert [span.name for span in found] == ["fine child", "failed child", "bad"]
    assert len({span.trace_id for span in found}) == 1
    assert unsampled.tracing.rescue.held_bytes == 0


def test_both_cores_keep_a_slow_trace(unsampled: Bench) -> None:
    """Durations are those of the local roots, sampled or not."""
    tracer = unsampled.tracer
    for _ in range(200):
        tracer.start_span("GET /", start_time=10**18).end(10**18 + 5 * MS)
    assert unsampled.spans() == []
    tracer.start_span("GET /", start_time=10**18).end(10**18 + 50 * MS)
    assert [span.name for span in unsampled.spans()] == ["GET /"]


def test_both_cores_give_back_what_a_lost_span_held(unsampled: Bench) -> None:
    """A root that is dropped without an end."""
    from opentelemetry import trace

    root = unsampled.tracer.start_span("lost")
    context = trace.set_span_in_context(root)
    unsampled.tracer.start_span("child", context=context).end()
    assert unsampled.tracing.rescue.held_bytes > 0
    del root, context
    gc.collect()
    assert unsampled.tracing.rescue.held_bytes == 0
    assert unsampled.spans() == []
