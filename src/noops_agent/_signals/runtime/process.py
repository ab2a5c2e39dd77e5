"""Metrics of the process, as the operating system tells them: Linux by /proc, elsewhere what `getrusage` knows.

What a system does not tell is left out. All is read for the process that asks, so a forked child tells its own.
Source: OpenTelemetry semantic conventions 1.44, docs/system/process-metrics.md; proc_pid_stat(5).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from .reading import COUNTER, GAUGE, UP_DOWN_COUNTER, Reading, Value

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

USER, SYSTEM = {"cpu.mode": "user"}, {"cpu.mode": "system"}
VOLUNTARY = {"process.context_switch.type": "voluntary"}
INVOLUNTARY = {"process.context_switch.type": "involuntary"}
MAJOR, MINOR = {"system.paging.fault.type": "major"}, {"system.paging.fault.type": "minor"}

SHORTEST_S = 0.5
"""Least time between two measurements of the utilization: over less, the clock of the processor is too coarse."""


class Stat(NamedTuple):
    """What /proc/self/stat tells."""

    threads: int
    started_ticks: int
    """Since the machine started."""
    virtual_bytes: int
    resident_pages: int


def read_stat() -> Stat:
    """Read /proc/self/stat."""
    descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    words = text[text.rindex(b")") + 2 :].split()  # the name of the program may hold blanks and parentheses
    return Stat(int(words[17]), int(words[19]), int(words[20]), int(words[21]))


def cpu_seconds() -> tuple[float, float]:
    """Time of the processor in user and in system mode, of all threads."""
    if resource is None:
        times = os.times()
        return times.user, times.system
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def cpus() -> int:
    """Count the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def uptime() -> float:
    """Seconds since the process began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - read_stat().started_ticks / os.sysconf("SC_CLK_TCK")


def descriptors_told() -> int:
    """Give the number of open file descriptors as Linux 6.2 and later tell it, without a list of them."""
    return os.stat("/proc/self/fd").st_size


def descriptors_listed(folder: str) -> int:
    """Count the open file descriptors in a list of them, which takes one itself."""
    return len(os.listdir(folder)) - 1


class Utilization:
    """Share of the processors that the process has used since the last measurement, at first since its start."""

    def __init__(self, age: Callable[[], float] | None) -> None:
        """
        Args:
            age: Gives the seconds since the process began; None where they are not known.
        """
        self._age = age
        self._pid = 0
        self._at = 0.0
        self._used = (0.0, 0.0)
        self._shares: tuple[float, float] | None = None

    def read(self) -> list[Value]:
        """Give the shares in user and in system mode, from 0 to 1."""
        now, used = time.monotonic(), cpu_seconds()
        if self._pid != os.getpid():
            self._begin(now, used)
        elapsed = now - self._at
        if elapsed >= SHORTEST_S or (self._shares is None and elapsed > 0):
            span = elapsed * cpus()
            self._shares = ((used[0] - self._used[0]) / span, (used[1] - self._used[1]) / span)
            self._at, self._used = now, used
        return [] if self._shares is None else [(self._shares[0], USER), (self._shares[1], SYSTEM)]

    def _begin(self, now: float, used: tuple[float, float]) -> None:
        """Begin in this process, whose clock of the processor began at 0."""
        self._pid, self._shares = os.getpid(), None
        if self._age is None:
            self._at, self._used = now, used
        else:
            self._at, self._used = now - self._age(), (0.0, 0.0)


def cpu_times() -> list[Value]:
    """Time of the processor by mode."""
    user, system = cpu_seconds()
    return [(user, USER), (system, SYSTEM)]


def switches() -> list[Value]:
    """How often the process left the processor, on its own account or not."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [(usage.ru_nvcsw, VOLUNTARY), (usage.ru_nivcsw, INVOLUNTARY)]


def faults() -> list[Value]:
    """Page faults that needed the disk, and those that didn't."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [(usage.ru_majflt, MAJOR), (usage.ru_minflt, MINOR)]


def alone(read: Callable[[], float]) -> Callable[[], list[Value]]:
    """Make of a function that gives a number one that gives the values of a metric without attributes."""
    return lambda: [(read(), None)]


def works(read: Callable[[], object]) -> bool:
    """Whether this system tells what a function reads."""
    try:
        read()
    except (OSError, ValueError, IndexError, AttributeError):
        return False
    return True


def readings() -> list[Reading]:
    """Give the metrics that this system can tell."""
    proc = works(read_stat) and works(uptime)
    found = [
        Reading(COUNTER, "process.cpu.time", "s", "Time of the processor, by mode.", cpu_times),
        Reading(
            GAUGE,
            "process.cpu.utilization",
            "1",
            "Time of the processor since the last measurement, divided by the time that passed and the processors.",
            Utilization(uptime if proc else None).read,
        ),
    ]
    if resource is not None:
        found += [
            Reading(
                COUNTER,
                "process.context_switches",
                "{context_switch}",
                "How often the process left the processor.",
                switches,
            ),
            Reading(COUNTER, "process.paging.faults", "{fault}", "Page faults of the process.", faults),
        ]
    return found + (proc_readings() if proc else []) + descriptor_readings()


def proc_readings() -> list[Reading]:
    """Give the metrics that /proc tells."""
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> float:
        return read_stat().resident_pages * page

    def virtual() -> float:
        return read_stat().virtual_bytes

    def threads() -> float:
        return read_stat().threads

    return [
        Reading(UP_DOWN_COUNTER, "process.memory.usage", "By", "Physical memory in use.", alone(resident)),
        Reading(UP_DOWN_COUNTER, "process.memory.virtual", "By", "Virtual memory in use.", alone(virtual)),
        Reading(UP_DOWN_COUNTER, "process.thread.count", "{thread}", "Threads of the process.", alone(threads)),
        Reading(GAUGE, "process.uptime", "s", "Time since the process began.", alone(uptime)),
    ]


def descriptor_readings() -> list[Reading]:
    """Give the number of open file descriptors, where it can be told."""
    folder = next((folder for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), None)
    if folder is None:
        return []
    listed = functools.partial(descriptors_listed, folder)
    read = descriptors_told if folder.startswith("/proc") and descriptors_told() == listed() else listed
    name = "process.unix.file_descriptor.count"
    return [Reading(UP_DOWN_COUNTER, name, "{file_descriptor}", "File descriptors in use.", alone(read))]
