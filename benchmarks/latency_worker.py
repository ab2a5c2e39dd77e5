"""Measures the lag of an event loop while spans are made in it at a steady rate."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import urllib.request

import peers
from ladder import Body, bodies

TICK_S = 0.001
PACE_S = 0.002


async def produce(body: Body, number: int, until_s: float) -> None:
    """Make some spans every two milliseconds."""
    while time.perf_counter() < until_s:
        body(number)
        await asyncio.sleep(PACE_S)


class Queue:
    """How long this thread has waited for a processor, in seconds; 0 where the kernel doesn't tell.

    Source: Linux, Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
    """

    def __init__(self) -> None:
        try:
            self.file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self.file = -1

    def waited_s(self) -> float:
        """Seconds since the thread began."""
        return 0.0 if self.file < 0 else int(os.pread(self.file, 64, 0).split()[1]) / 1e9


async def tick(lags_s: list[float], until_s: float) -> None:
    """Sleep a millisecond at a time, and keep by how much each sleep was too long.

    Time in which the thread could run but had no processor is taken off: other programs make it.
    Waiting for the interpreter's lock is no such time.
    """
    queue = Queue()
    waited_s, before_s = queue.waited_s(), time.perf_counter()
    while before_s < until_s:
        await asyncio.sleep(TICK_S)
        now_s = time.perf_counter()
        queued_s = queue.waited_s()
        lags_s.append(max(0.0, now_s - before_s - TICK_S - (queued_s - waited_s)))
        waited_s, before_s = queued_s, now_s


async def watch(body: Body, number: int, seconds: float) -> list[float]:
    """Run ticker and producer beside each other; the lags in seconds, shortest first."""
    until_s = time.perf_counter() + seconds
    lags_s: list[float] = []
    await asyncio.gather(produce(body, number, until_s), tick(lags_s, until_s))
    return sorted(lags_s)


def delivered(url: str) -> int:
    """Spans that reached the sink by now."""
    if url == peers.NOTHING:
        return 0
    with urllib.request.urlopen(f"{url}/bench/count", timeout=10) as answer:
        return int(json.load(answer)["spans"])


def main() -> None:
    """Warm up, watch, and print percentiles in milliseconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=peers.PEERS)
    parser.add_argument("--url", default=peers.NOTHING)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=int, required=True, help="spans in a second")
    asked = parser.parse_args()
    peer = peers.PEERS[asked.peer].start("recorded", asked.url)
    body = bodies(peer)["five"]
    body(500)
    peer.flush()
    earlier = delivered(asked.url)
    lags_s = asyncio.run(watch(body, int(asked.rate * PACE_S), asked.seconds))
    at = {
        f"p{part:g}": lags_s[min(len(lags_s) - 1, int(len(lags_s) * part / 100))] * 1e3
        for part in (50, 99, 99.9)
    }
    print(json.dumps({**at, "max": lags_s[-1] * 1e3, "delivered": delivered(asked.url) - earlier}))
    peer.stop()


if __name__ == "__main__":
    main()
