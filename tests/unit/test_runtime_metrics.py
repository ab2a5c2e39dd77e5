"""Ready-made metrics of the process, of the garbage collector and of thread pools."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from noops_agent import _diagnostics
from noops_agent._signals.runtime import process
from noops_agent._signals.runtime.interpreter import MOST_PAUSES, Counts, Pauses
from noops_agent._signals.runtime.measuring import SCOPE, Measuring
from noops_agent._signals.runtime.pools import MOST_NAMES, OTHER, Pools

from .conftest import Messages
from .metering import PROVIDERS, Metering

linux = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="read from /proc")


@pytest.fixture(params=PROVIDERS)
def metering(request: pytest.FixtureRequest) -> Iterator[Metering]:
    """Each provider in turn."""
    made = Metering(request.param)
    yield made
    made.close()


@pytest.fixture
def measuring(metering: Metering) -> Iterator[Measuring]:
    """The ready-made metrics, on."""
    made = Measuring(metering.provider.get_meter(SCOPE))
    made.start()
    yield made
    made.stop()


# ---- the process -----------------------------------------------------------------------------------------


@linux
def test_the_process_is_told_by_the_names_and_units_of_the_conventions(
    metering: Metering, measuring: Measuring
) -> None:
    """Dashboards that know the conventions know our numbers."""
    found = {name: (m.unit, type(m.data).__name__, getattr(m.data, "is_monotonic", None))
             for name, m in metering.collect().items()}  # fmt: skip
    assert {name: of for name, of in found.items() if name.startswith("process.")} == {
        "process.cpu.time": ("s", "Sum", True),
        "process.cpu.utilization": ("1", "Gauge", None),
        "process.memory.usage": ("By", "Sum", False),
        "process.memory.virtual": ("By", "Sum", False),
        "process.thread.count": ("{thread}", "Sum", False),
        "process.unix.file_descriptor.count": ("{file_descriptor}", "Sum", False),
        "process.context_switches": ("{context_switch}", "Sum", True),
        "process.paging.faults": ("{fault}", "Sum", True),
        "process.uptime": ("s", "Gauge", None),
    }


@linux
def test_the_numbers_are_those_of_the_kernel(metering: Metering, measuring: Measuring) -> None:
    """Compared with /proc/self/status, which the metrics are not read from."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    values = metering.values()
    kilobytes = {name: int(status[name].split()[0]) for name in ("VmRSS", "VmSize")}
    assert values["process.memory.usage"][()] == pytest.approx(kilobytes["VmRSS"] * 1024, rel=0.1)
    assert values["process.memory.virtual"][()] == pytest.approx(kilobytes["VmSize"] * 1024, rel=0.1)
    assert values["process.thread.count"][()] == int(status["Threads"])
    assert values["process.context_switches"][("voluntary",)] >= int(status["voluntary_ctxt_switches"])
    assert 0 < values["process.uptime"][()] < time.clock_gettime(time.CLOCK_BOOTTIME)
    assert sum(values["process.cpu.time"].values()) == pytest.approx(time.process_time(), rel=0.2)
    assert set(values["process.paging.faults"]) == {("major",), ("minor",)}


@linux
def test_open_descriptors_are_counted(metering: Metering, measuring: Measuring) -> None:
    """One that is opened is one more; what reading needs is not counted."""
    name = "process.unix.file_descriptor.count"
    before = metering.values()[name][()]
    assert before == len(os.listdir("/proc/self/fd")) - 1
    ends = os.pipe()
    assert metering.values()[name][()] == before + 2
    for end in ends:
        os.close(end)
    assert metering.values()[name][()] == before


@linux
def test_descriptors_are_listed_where_the_kernel_does_not_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 6.2 gives the folder no size."""
    monkeypatch.setattr(process, "descriptors_told", lambda: 0)
    (reading,) = process.descriptor_readings()
    ((number, _),) = reading.read()
    assert number == len(os.listdir("/proc/self/fd")) - 1


def test_a_name_with_blanks_and_parentheses_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may be called `a) (b`, and /proc/self/stat quotes nothing."""
    fields = " ".join(str(number) for number in range(4, 53))
    monkeypatch.setattr(os, "read", lambda *_: f"7 (a) R (b) S {fields}".encode())
    monkeypatch.setattr(os, "open", lambda *_: 99)
    monkeypatch.setattr(os, "close", lambda _: None)
    assert process.read_stat() == process.Stat(20, 22, 23, 24)  # their places in proc_pid_stat(5)


def test_the_utilization_is_that_since_the_last_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time of the processor, by the time that passed and the processors there are; at first since the start."""
    now, used = [100.0], [(8.0, 2.0)]
    monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(process, "cpu_seconds", lambda: used[0])
    monkeypatch.setattr(process, "cpus", lambda: 2)
    utilization = process.Utilization(lambda: 20.0)
    assert [value for value, _ in utilization.read()] == [8 / 40, 2 / 40]
    now[0], used[0] = 104.0, (12.0, 2.0)
    assert [value for value, _ in utilization.read()] == [4 / 8, 0]
    now[0] = 104.1
    assert [value for value, _ in utilization.read()] == [4 / 8, 0], "a second reader, right behind"


def test_the_utilization_without_a_known_start_begins_with_the_second_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No number is better than a wrong one."""
    now = [100.0]
    monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
    utilization = process.Utilization(None)
    assert utilization.read() == []
    now[0] += 10
    assert len(utilization.read()) == 2


def test_what_a_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc, but `getrusage`."""
    monkeypatch.setattr(process, "works", lambda read: False)
    names = {reading.name for reading in process.readings()}
    assert "process.cpu.time" in names
    assert not names & {"process.memory.usage", "process.uptime", "process.thread.count"}


def test_without_getrusage_the_processor_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither that nor /proc."""
    monkeypatch.setattr(process, "resource", None)
    monkeypatch.setattr(process, "works", lambda read: False)
    monkeypatch.setattr(process, "descriptor_readings", list)
    assert [reading.name for reading in process.readings()] == ["process.cpu.time", "process.cpu.utilization"]
    user, system = process.cpu_seconds()
    assert (user, system) <= os.times()[:2]


# ---- garbage collection ----------------------------------------------------------------------------------


def test_the_collector_is_told_by_generation(metering: Metering, measuring: Measuring) -> None:
    """Its own counts, and what a full collection freed."""
    before = metering.values()
    for _ in range(10):
        circle: list[Any] = []
        circle.append(circle)
    del circle
    gc.collect()
    after = metering.values()
    assert after["cpython.gc.collections"][(2,)] == before["cpython.gc.collections"][(2,)] + 1
    assert after["cpython.gc.collected_objects"][(2,)] >= before["cpython.gc.collected_objects"][(2,)] + 10
    assert set(after["cpython.gc.uncollectable_objects"]) == {(0,), (1,), (2,)}


def test_each_collection_is_one_measurement(metering: Metering, measuring: Measuring) -> None:
    """Neither more nor less than the collector counts itself."""
    metering.collect()
    gc.disable()
    try:
        seen = metering.values().get("cpython.gc.duration", {}).get((1,), (0, 0.0))
        for _ in range(5):
            gc.collect(1)
        count, total = metering.values()["cpython.gc.duration"][(1,)]
    finally:
        gc.enable()
    assert count == seen[0] + 5
    assert 0 < total - seen[1] < 10


def test_a_pause_has_the_boundaries_of_pauses(metering: Metering, measuring: Measuring) -> None:
    """The usual ones begin at 5, which is seconds here."""
    gc.collect()
    (point, *_) = metering.collect()["cpython.gc.duration"].data.data_points
    assert point.explicit_bounds[0] == 0.00005


def test_callbacks_of_others_may_collect_and_call_all_callbacks() -> None:
    """Each end meets its own beginning; one without a beginning is left, and so is a generation that is none."""
    pauses = Pauses()
    pauses.callback("stop", {"generation": 0})
    pauses.callback("start", {"generation": 2})
    pauses.callback("start", {"generation": 0})
    pauses.callback("stop", {"generation": 0})
    pauses.callback("stop", {"generation": 2})
    pauses.callback("start", {})
    pauses.callback("stop", {})
    pauses.callback("start", {})
    pauses.callback("stop", {"generation": 7})
    assert [len(kept) for kept in pauses.kept] == [1, 0, 1]
    assert pauses.kept[2][0] > pauses.kept[0][0]


def test_a_collection_in_the_middle_of_a_record_does_no_harm(metering: Metering, measuring: Measuring) -> None:
    """A meter provider records under a lock; the collector's callback must not come for the same."""
    histogram = metering.provider.get_meter("x").create_histogram("h")

    class Heavy(float):
        def __lt__(self, other: Any) -> bool:  # asked for by any histogram
            gc.collect()
            return float(self) < other

        __le__ = __gt__ = __ge__ = __lt__

    done = threading.Event()

    def record() -> None:
        histogram.record(Heavy(1.0))
        done.set()

    threading.Thread(target=record, daemon=True).start()
    assert done.wait(20)


def test_pauses_that_nobody_collects_take_bounded_memory() -> None:
    """The oldest go, and that is counted."""
    pauses = Pauses()
    for _ in range(MOST_PAUSES + 10):
        pauses.callback("start", {"generation": 0})
        pauses.callback("stop", {"generation": 0})
    recorded: list[float] = []

    class Histogram:
        def record(self, value: float, attributes: Any) -> None:
            recorded.append(value)

    pauses.record(Histogram())
    assert len(recorded) == MOST_PAUSES
    assert _diagnostics.counters()["runtime.pauses.full"] == 1


def test_collections_in_many_threads_are_all_measured(metering: Metering, measuring: Measuring) -> None:
    """Only one collection runs at a time, and the callback never waits."""
    metering.collect()
    before = gc.get_stats()[0]["collections"]
    seen = metering.values().get("cpython.gc.duration", {}).get((0,), (0, 0.0))[0]
    between = gc.get_stats()[0]["collections"]
    threads = [threading.Thread(target=lambda: [gc.collect(0) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = gc.get_stats()[0]["collections"]
    count = metering.values()["cpython.gc.duration"][(0,)][0] - seen
    assert after - between <= count <= gc.get_stats()[0]["collections"] - before


# ---- thread pools ----------------------------------------------------------------------------------------


def test_the_queue_and_the_workers_of_a_pool_are_counted(metering: Metering, measuring: Measuring) -> None:
    """Pools of one name are told as one; the number of an unnamed one is not its name."""
    hold = threading.Event()
    pools = [ThreadPoolExecutor(2, thread_name_prefix="thumbs"), ThreadPoolExecutor(1, thread_name_prefix="thumbs")]
    pools.append(ThreadPoolExecutor(1))
    futures = [pool.submit(hold.wait) for pool in pools for _ in range(5)]
    try:
        while sum(future.running() for future in futures) < 4:
            time.sleep(0)
        values = metering.values()
        assert values["cpython.thread_pool.queue.length"][("thumbs",)] == 7
        assert values["cpython.thread_pool.thread.count"][("thumbs",)] == 3
        assert values["cpython.thread_pool.thread.count"][("ThreadPoolExecutor",)] >= 1
    finally:
        hold.set()
        for pool in pools:
            pool.shutdown()
    assert "thumbs" not in Pools().look()


def test_pools_with_ever_new_names_are_told_as_one() -> None:
    """A name for each request must not make a series for each request."""
    pools = Pools()

    class Worker:
        def __init__(self, name: str) -> None:
            self.name = name

    names = {pools.name_of(Worker(f"pool-{chr(97 + number)}x_0")) for number in range(MOST_NAMES + 5)}
    assert len(names) == MOST_NAMES + 1
    assert OTHER in names


# ---- on, off and fork ------------------------------------------------------------------------------------


def test_nothing_is_touched_once_it_is_off(metering: Metering) -> None:
    """`shutdown` undoes all."""
    before = list(gc.callbacks)
    measuring = Measuring(metering.provider.get_meter(SCOPE))
    measuring.start()
    assert gc.callbacks != before
    metering.collect()
    measuring.stop()
    assert gc.callbacks == before
    assert not [name for name in metering.values() if name.startswith("process.")]


def test_it_can_be_on_again(metering: Metering, measuring: Measuring) -> None:
    """On the same instruments: a meter gives none back."""
    measuring.stop()
    measuring.start()
    gc.collect()
    assert metering.values()["cpython.gc.duration"][(2,)][0] == 1


def test_a_metric_that_cannot_be_read_is_said_once(
    metering: Metering, measuring: Measuring, monkeypatch: pytest.MonkeyPatch, said: Messages
) -> None:
    """The rest is told."""

    def fail() -> Any:
        raise OSError("gone")

    monkeypatch.setattr(process, "cpu_seconds", fail)
    for _ in range(2):
        values = metering.values()
    assert "process.cpu.time" not in values
    assert "cpython.gc.collections" in values
    assert len([text for text in said if "process.cpu.time" in text]) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_tells_its_own_values(metering: Metering, measuring: Measuring) -> None:
    """Its collections begin at 0, it records no pause of its parent, and its processor time is its own."""
    metering.collect()
    for _ in range(3):
        gc.collect()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            gc.disable()
            counts = {key: list(read.read()) for key, read in enumerate(measuring._counts.readings())}
            kept = sum(len(kept) for kept in measuring.pauses.kept)
            os.write(writing, repr((counts[0][2][0], kept)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"(0, 0)"
    for end in (reading, writing):
        os.close(end)


def test_a_child_that_ran_no_hook_is_recognized_when_it_collects(metering: Metering, measuring: Measuring) -> None:
    """A server may fork in C. What its parent had not recorded yet is not recorded here."""
    gc.disable()
    try:
        metering.collect()
        seen = metering.values()
        for _ in range(3):
            gc.collect()
        measuring._pid = 0
        values = metering.values()
    finally:
        gc.enable()
    assert values["cpython.gc.collections"][(2,)] == 0
    assert values.get("cpython.gc.duration", {}).get((2,)) == seen.get("cpython.gc.duration", {}).get((2,))


def test_counts_of_a_child_leave_out_what_its_parent_counted() -> None:
    """Where no hook of a fork ran, it is from when the child first reads."""
    counts = Counts()
    counts.enter_child()
    gc.collect()
    (reading, *_) = counts.readings()
    assert [value for value, _ in reading.read()][2] == 1


# ---- with `init` -----------------------------------------------------------------------------------------

PROGRAM = """
import gc, sys
import noops_agent
gc.disable()
before = list(gc.callbacks)
noops_agent.init({settings})
assert "opentelemetry.metrics" not in sys.modules
from opentelemetry import metrics
assert gc.callbacks == before, "without a provider nothing is measured"
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
def names():
    data = reader.get_metrics_data()
    return sorted(m.name for r in (data.resource_metrics if data else ()) for s in r.scope_metrics for m in s.metrics)
first = names()
gc.collect()
second = names()
print("process.cpu.time" in first, "cpython.gc.duration" in first, "cpython.gc.duration" in second)
noops_agent.shutdown()
assert gc.callbacks == before
noops_agent.init({settings})
gc.collect()
print("process.cpu.time" in names())
"""


def run(program: str, **variables: str) -> str:
    """Run a program in a fresh interpreter; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    assert "already been created" not in done.stderr
    return done.stdout


def test_init_measures_for_a_provider_that_comes_later() -> None:
    """Observables from the first collection on, pauses from then; again after `shutdown` and `init`."""
    assert run(PROGRAM.format(settings="")).split() == ["True", "False", "True", "True"]


def test_it_can_be_switched_off() -> None:
    """By a setting, and by its variable."""
    off = ["False", "False", "False", "False"]
    assert run(PROGRAM.format(settings="runtime_metrics=False")).split() == off
    assert run(PROGRAM.format(settings=""), NOOPS_RUNTIME_METRICS="false").split() == off
