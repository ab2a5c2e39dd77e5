"""Times one library's call: bare, or with one agent's instrumentation in place.

python call_worker.py --library redis --with noops --number 1000    one line of JSON
python call_worker.py --library redis --with noops                  a batch for each line of JSON on stdin
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import peers

BATCH_S = 0.05
MOST = 20_000
MOST_QUEUED = 400
"""Calls in one batch of the SDK: its queue of 2048 must hold their spans, for spans that it drops cost less."""


def instrument(name: str, calls: ModuleType) -> peers.Running:
    """Put one agent's instrumentation of the library in place, with an exporter that ships nowhere."""
    if name == "bare":
        return peers.PEERS["bare"].start("off", peers.NOTHING)
    if name == "noops":
        os.environ["NOOPS_INSTRUMENT"] = ",".join(getattr(calls, "OURS", (calls.__name__.split(".")[-1],)))
        return peers.PEERS["noops"].start("recorded", peers.NOTHING)
    if name == "contrib":
        running = peers.PEERS["sdk"].start("recorded", peers.NOTHING)
        module, _, kind = calls.CONTRIB.partition(":")
        getattr(importlib.import_module(module), kind)().instrument()
        return running
    os.environ.update(peers.QUIET_DDTRACE, DD_TRACE_AGENT_URL="http://127.0.0.1:1")
    running = peers.PEERS["ddtrace"].start("recorded", "http://127.0.0.1:1")
    import ddtrace

    ddtrace.patch(raise_errors=True, **{calls.DDTRACE: True})
    return running


class Caller:
    """A prepared call, whether it is asynchronous or not."""

    def __init__(self, prepare: Callable[[], Any]) -> None:
        self.loop = asyncio.new_event_loop() if inspect.iscoroutinefunction(prepare) else None
        self.call = self.loop.run_until_complete(prepare()) if self.loop else prepare()

    def batch(self, number: int) -> tuple[int, int]:
        """Call so often; wall and CPU time in nanoseconds."""
        if self.loop is not None:
            return self.loop.run_until_complete(self.abatch(number))
        call = self.call
        cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(number):
            call()
        return time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns

    async def abatch(self, number: int) -> tuple[int, int]:
        """Do the same in the event loop."""
        call = self.call
        cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(number):
            await call()
        return time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns


def answer(caller: Caller, running: peers.Running, number: int, batches: int) -> dict[str, Any]:
    """Time batches; nanoseconds for one call. What is queued is flushed after each, outside of what is timed."""
    wall, cpu = [], []
    for _ in range(batches):
        wall_ns, cpu_ns = caller.batch(number)
        running.flush()
        wall.append(wall_ns / number)
        cpu.append(cpu_ns / number)
    return {"number": number, "wall_ns": wall, "cpu_ns": cpu}


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", help="whose environment it is; the driver says so to every worker")
    parser.add_argument("--library", required=True)
    parser.add_argument("--with", dest="agent", required=True, choices=("bare", "noops", "contrib", "ddtrace"))
    parser.add_argument("--number", type=int)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    calls = importlib.import_module(f"calls.{asked.library}")
    running = instrument(asked.agent, calls)
    caller = Caller(calls.prepare)
    caller.batch(100)
    running.flush()
    wall_ns, _ = caller.batch(100)
    most = MOST_QUEUED if asked.agent == "contrib" else MOST
    number = asked.number or max(20, min(most, int(100 * BATCH_S * 1e9 / wall_ns)))
    if asked.number:
        print(json.dumps(answer(caller, running, number, 5)), file=answers, flush=True)
    else:
        for line in sys.stdin:
            print(json.dumps(answer(caller, running, number, json.loads(line)["batches"])), file=answers, flush=True)
    answers.close()
    os._exit(0)  # clients and their threads are of no more interest


if __name__ == "__main__":
    main()
