"""Times rungs of the ladder inside a peer's environment.

python span_worker.py --peer noops --rung five --number 1000      one rung, one line of JSON
python span_worker.py --peer noops --state recorded --serve       a rung for each line of JSON on stdin
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, TextIO

import peers
from ladder import LADDER, Body, bodies, made

BATCH_S = 0.03
"""A batch takes about this long, unless its size is given."""

MOST = 50_000
MOST_QUEUED = 1_500
"""Spans in one batch of the SDK: fewer than its queue of 2048 holds, for spans that it drops cost less."""


class Ladder:
    """A peer in one state, and how many spans it was asked for."""

    def __init__(self, peer: str, state: str, url: str) -> None:
        self.peer = peers.PEERS[peer].start(state, url)
        self.bodies = bodies(self.peer)
        self.most = MOST_QUEUED if peer == "sdk" and state == "recorded" else MOST
        self.numbers: dict[str, int] = {}
        self.ended = 0

    def time(self, rung: str, number: int | None, batches: int) -> dict[str, Any]:
        """Time batches of a rung; nanoseconds for one span, wall and CPU of the whole process.

        The peer is flushed after each batch, outside of what is timed: a batch finds an empty queue and no
        export of the one before it.
        """
        body = self.bodies[LADDER[rung].body]
        size = made(LADDER[rung], number or self.numbers.get(rung) or self.calibrate(rung, body))
        wall, cpu = [], []
        for _ in range(batches):
            wall_ns, cpu_ns = self.batch(body, size)
            wall.append(wall_ns / size)
            cpu.append(cpu_ns / size)
        return {"rung": rung, "number": size, "wall_ns": wall, "cpu_ns": cpu, "lost": self.lost()}

    def batch(self, body: Body, size: int) -> tuple[int, int]:
        """Run one batch; wall and CPU time in nanoseconds."""
        cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
        body(size)
        wall_ns, cpu_ns = time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns
        self.ended += size
        self.peer.flush()
        return wall_ns, cpu_ns

    def calibrate(self, rung: str, body: Body) -> int:
        """Warm a rung up and choose its batch size."""
        size = made(LADDER[rung], 400)
        self.batch(body, size)
        wall_ns, _ = self.batch(body, size)
        chosen = int(size * BATCH_S * 1e9 / wall_ns)
        self.numbers[rung] = max(size, min(chosen, self.most))
        return self.numbers[rung]

    def lost(self) -> int:
        """Spans that the peer says, or is known, to have dropped."""
        return self.peer.lost(self.ended)


def serve(ladder: Ladder, answers: TextIO) -> None:
    """Answer each request on stdin until it closes."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(ladder.time(request["rung"], None, request["batches"])), file=answers, flush=True)


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=peers.PEERS)
    parser.add_argument("--rung", choices=LADDER)
    parser.add_argument("--state", default="recorded")
    parser.add_argument("--number", type=int)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--url", default=peers.NOTHING)
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints must not mix with the answers
    ladder = Ladder(asked.peer, LADDER[asked.rung].state if asked.rung else asked.state, asked.url)
    if asked.serve:
        serve(ladder, answers)
    else:
        print(json.dumps(ladder.time(asked.rung, asked.number, asked.batches)), file=answers, flush=True)
    ladder.peer.stop()


if __name__ == "__main__":
    main()
