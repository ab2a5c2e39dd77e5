"""What do the ready-made metrics cost the program that they watch?

`python benchmarks/runtime_metrics.py` asks in the interpreter that runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from programs import Sink, run
from report import Answer, Budget, cell, figure, spread, table

WORKER = "runtime_metrics_worker.py"
TITLES = {
    "pause": "one collection of garbage, ns",
    "run": "`run_until_complete` of nothing, ns",
    "idle": "one second of an idle event loop, ns",
    "collect": "one collection of all these metrics by the SDK, ns",
}
MOST_NS = 1000
"""What may be added to one collection of garbage."""


def measure(sink: Sink, quick: bool) -> Answer:
    """Ask the worker in our environment."""
    return answer(run("noops", WORKER, "--rounds", 3 if quick else 9)["samples"])


def answer(samples: dict[str, dict[str, list[float]]]) -> Answer:
    """Write what the worker found."""
    rows, added = [], {}
    for name, title in TITLES.items():
        bare, ours = samples[name]["bare"], samples[name]["ours"]
        added[name] = spread([mine - theirs for mine, theirs in zip(ours, bare, strict=True)]).median
        rows.append((title, cell(bare), cell(ours), figure(added[name])))
    text = "CPU of the thread.\n\n" + table(("", "without", "with", "added"), rows)
    budget = Budget("added to one collection of garbage", added["pause"], MOST_NS, " ns")
    return Answer("Ready-made metrics", text, [budget], samples)


def main() -> None:
    """Ask in this interpreter, and print."""
    worker = Path(__file__).with_name(WORKER)
    ran = subprocess.run([sys.executable, str(worker)], capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    print(answer(found["samples"]).text)


if __name__ == "__main__":
    main()
