"""The native core of metrics gives back what it takes, each question in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from noops_agent import _core

PROGRAM = """
import gc, sys
sys.path.insert(0, {root!r})
from noops_agent import _core
from noops_agent._core.measured import EXEMPLARS_ON, EXPONENTIAL, HISTOGRAM, SUM, Shape
from tests.unit.metric_cores import current_span, instrument

def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4

core = _core.measuring
shapes = [Shape(SUM, limit=100), Shape(SUM, delta=True), Shape(HISTOGRAM, delta=True, bounds=(1.0, 2.0)),
          Shape(EXPONENTIAL, delta=True, max_size=8, exemplars=EXEMPLARS_ON)]
counter = instrument(core, *shapes)

def work(rounds):
    for number in range(rounds):
        for i in range(50):
            counter.add(i, {{"i": i, "round": number, "list": [number]}})
            bound = counter.bind({{"i": i}})
            bound.add(i)
        counter.add("x", {{1: 2}})
        with current_span():
            counter.add(1.5)
        for stream in counter.streams:
            stream.encode(b"", 1) if number % 2 else stream.collect(1)
        del bound
    made = instrument(core, *shapes)
    made.add(1, {{"a": number}})

work(100)
gc.collect()
objects, before = len(gc.get_objects()), resident_kb()
work(1000)
gc.collect()
print(len(gc.get_objects()) - objects, resident_kb() - before)
"""


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="AddressSanitizer holds freed memory back")
@pytest.mark.skipif(_core.measuring.NAME != "native", reason="the native core is not built here")
def test_series_that_are_forgotten_leave_nothing_behind(pytestconfig: pytest.Config) -> None:
    """Series that come and go, bound ones, exemplars, instruments: no object more, and memory that stays."""
    program = PROGRAM.format(root=str(pytestconfig.rootpath))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    objects, grown_kb = map(int, done.stdout.split())
    assert objects < 200
    assert grown_kb < 2048
