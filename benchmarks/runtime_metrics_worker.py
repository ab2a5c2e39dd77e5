"""Does what the ready-made metrics watch, with and without them, in turn, inside our environment."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from noops_agent._signals.runtime.measuring import SCOPE, Measuring

NUMBER = {"pause": 5_000, "run": 2_000, "collect": 20}


def per_call(body: Callable[[], object], number: int) -> float:
    """CPU of this thread for one call, in nanoseconds."""
    begin = time.thread_time_ns()
    for _ in range(number):
        body()
    return (time.thread_time_ns() - begin) / number


def collector() -> None:
    """Let the collector look at next to nothing: what is left is the cost of being called."""
    gc.collect(0)


def idle(loop: Any, seconds: float) -> float:
    """CPU of a loop that has nothing to do but a timer of ours, in nanoseconds a second."""
    begin = time.thread_time_ns()
    loop.run_until_complete(asyncio.sleep(seconds))
    return (time.thread_time_ns() - begin) / seconds


def main() -> None:
    """Print the samples: one of each kind for each round, bare and ours."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle", type=float, default=2.0, help="seconds")
    asked = parser.parse_args()
    reader = InMemoryMetricReader()
    measuring = Measuring(MeterProvider([reader]).get_meter(SCOPE))
    loop = asyncio.new_event_loop()

    async def nothing() -> None:
        pass

    bodies: dict[str, Callable[[], object]] = {
        "pause": collector,
        "run": lambda: loop.run_until_complete(nothing()),
        "collect": reader.get_metrics_data,
    }
    samples: dict[str, dict[str, list[float]]] = {name: {"bare": [], "ours": []} for name in (*bodies, "idle")}
    gc.freeze()
    for _ in range(asked.rounds):
        for state, switch in (("bare", measuring.stop), ("ours", measuring.start)):
            switch()
            reader.get_metrics_data()
            for name, body in bodies.items():
                samples[name][state].append(per_call(body, NUMBER[name]))
                reader.get_metrics_data()
            samples["idle"][state].append(idle(loop, asked.idle))
    measuring.stop()
    loop.close()
    print(json.dumps({"samples": samples}))


if __name__ == "__main__":
    main()
