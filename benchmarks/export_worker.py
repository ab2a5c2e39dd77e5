"""Makes spans at a steady rate, ships them, and says what CPU that took, inside a peer's environment."""

from __future__ import annotations

import argparse
import json
import time

import peers
from ladder import bodies

BURST = 200
WARM = 1_000


def main() -> None:
    """Make the spans, flush, and print nanoseconds a span: CPU of all threads, and wall."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=peers.PEERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rung", required=True, help="`five` or `tree`")
    parser.add_argument("--spans", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True, help="spans in a second")
    asked = parser.parse_args()
    peer = peers.PEERS[asked.peer].start("recorded", asked.url)
    body = bodies(peer)[asked.rung]
    body(WARM)
    peer.flush()
    cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
    for turn in range(asked.spans // BURST):
        body(BURST)
        due_ns = wall_ns + (turn + 1) * BURST * 1_000_000_000 // asked.rate
        time.sleep(max(0, due_ns - time.perf_counter_ns()) / 1e9)
    peer.flush()
    cpu_ns, wall_ns = time.process_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
    peer.stop()
    timed = asked.spans // BURST * BURST
    print(json.dumps({"cpu_ns": cpu_ns / timed, "wall_ns": wall_ns / timed, "made": timed + WARM}))


if __name__ == "__main__":
    main()
