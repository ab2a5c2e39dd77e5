"""The native core gives back what it takes, each question in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from noops_agent import _core

HEAD = """
import gc, sys
sys.path.insert(0, {root!r})
from tests.conftest import Bench
from noops_agent import _core

def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4

bench = Bench(_core, None)
"""

SPANS = """
def work(count):
    for number in range(count):
        with bench.tracer.start_as_current_span("outer", attributes={{"n": number, "text": "x" * 50}}) as span:
            span.add_event("event", {{"k": [1, 2]}})
            span.get_span_context()
            try:
                with bench.tracer.start_as_current_span("inner"):
                    raise ValueError("no")
            except ValueError:
                pass
        for part in bench.recorder.segments()[:-1]:
            part.release()
"""

CALLS = """
from noops_agent.instrument import Call, Instrumentation
from noops_agent.instrument.carriers import Pairs
from noops_agent.instrument.live import Live
from noops_agent.instrument.operation import Operation
from opentelemetry.trace import SpanKind

live = Live(Instrumentation("probe"))
live.tracer = bench.tracer

def work(count):
    for number in range(count):
        parent = _core.remote_parent("00-" + "1" * 32 + "-" + "2" * 16 + "-01")
        call = Call("serve", {{"n": number}}, parent=parent, state=[number])
        call.state.append(call)  # the collector has to find it
        with Operation(live, call, SpanKind.SERVER, None, 2) as outer:
            headers = Pairs([("a", "1")])
            inner = Operation(live, Call("get", {{}}, inject=headers), SpanKind.CLIENT, None, 2)
            try:
                with inner:
                    raise ValueError("no")
            except ValueError as error:
                inner.close(error)
            outer.call.state.append(outer)
        outer.close(None, {{"k": ["a", "b"], "error.type": "odd"}})
        _core.labels_of(call.attributes, ("n", "x"))
        outer.span.parent
        for part in bench.recorder.segments()[:-1]:
            part.release()
"""

TAIL = """
work(3000)
gc.collect()
objects, before = len(gc.get_objects()), resident_kb()
work(20000)
gc.collect()
print(len(gc.get_objects()) - objects, resident_kb() - before)
"""


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="AddressSanitizer holds freed memory back")
@pytest.mark.skipif(_core.NAME != "native", reason="the native core is not built here")
@pytest.mark.parametrize("work", [SPANS, CALLS], ids=["spans", "calls"])
def test_spans_leave_nothing_behind(pytestconfig: pytest.Config, work: str) -> None:
    """40 000 spans with events and exceptions: no object more, and memory that stays within a segment or two."""
    program = (HEAD + work + TAIL).format(root=str(pytestconfig.rootpath))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    objects, grown_kb = map(int, done.stdout.split())
    assert objects < 200
    assert grown_kb < 8192
