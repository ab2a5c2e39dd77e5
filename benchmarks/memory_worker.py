"""Makes many spans, ships them, and watches the memory of the process, inside a peer's environment."""

from __future__ import annotations

import argparse
import json

import peers
from ladder import bodies

STEP = 10_000
BURST = 1_000


def resident() -> dict[str, int]:
    """Resident memory in bytes: all of it, and without what is backed by files."""
    found = {}
    with open("/proc/self/status") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                found[name] = int(value.split()[0]) * 1024
    return found


def main() -> None:
    """Print the resident memory after each 10 000 spans; the first 10 000 warm up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=peers.PEERS)
    parser.add_argument("--url", default=peers.NOTHING)
    parser.add_argument("--spans", type=int, required=True)
    asked = parser.parse_args()
    peer = peers.PEERS[asked.peer].start("recorded", asked.url)
    body = bodies(peer)["tree"]
    seen = []
    for _ in range(asked.spans // STEP + 1):
        for _ in range(STEP // BURST):
            body(BURST)
            peer.flush()
        seen.append(resident())
    peer.stop()
    print(json.dumps({"resident": seen}))


if __name__ == "__main__":
    main()
