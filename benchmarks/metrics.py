"""What does one measurement cost, and one collection of many series?"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

import environments
import peers
from programs import Sink, Worker
from report import Answer, Budget, cell, ratio, table

PROMETHEUS = peers.Peer("prometheus_client", "prometheus", peers.start_bare, {})
ASKED = ("noops", "noops-python", "sdk", "prometheus")
ROUNDS = {False: 7, True: 2}
BATCHES = 3
COLLECTED = {False: 100_000, True: 10_000}
RUNGS = {
    "add0": "`add`, no attributes",
    "add3": "`add`, 3 attributes",
    "add10": "`add`, 10 attributes",
    "record0": "`record`, no attributes",
    "record3": "`record`, 3 attributes",
    "record10": "`record`, 10 attributes",
    "add2000": "`add`, 3 attributes, 2000 series in turn",
    "threads_add3": "`add`, 3 attributes, 8 threads",
    "bound_add": "`add`, bound to 3 attributes",
    "bound_record": "`record`, bound to 3 attributes",
    "threads_bound_add": "`add`, bound, 8 threads",
}
UNBOUND = {"bound_add": "add3", "bound_record": "record3", "threads_bound_add": "threads_add3"}
"""What the SDK, which binds nothing, does in the place of a bound measurement."""

Samples = dict[str, dict[str, list[float]]]
"""By rung and peer: CPU nanoseconds, a median for each round."""


def measure(sink: Sink, quick: bool) -> Answer:
    """Let the peers measure in turn, batch by batch; then collect."""
    environments.REQUIREMENTS["prometheus"] = ("prometheus_client",)
    environments.prepare("prometheus")
    peers.PEERS["prometheus"] = PROMETHEUS
    rungs = [*RUNGS, f"collect{COLLECTED[quick]}"]
    samples: Samples = {rung: {peer: [] for peer in ASKED if can(peer, rung)} for rung in rungs}
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(Worker(peer, "metrics_worker.py")) for peer in ASKED}
        for turn in range(ROUNDS[quick]):
            first = turn % len(ASKED)
            for rung, of_rung in samples.items():
                for peer in ASKED[first:] + ASKED[:first]:
                    if peer in of_rung and (turn < 3 or rung in RUNGS):
                        seen = workers[peer].ask(rung=rung, batches=BATCHES if rung in RUNGS else 1)
                        of_rung[peer].append(statistics.median(seen["cpu_ns"]))
    return Answer("Metrics", describe(samples, rungs[-1]), budgets(samples), {"cpu_ns": samples})


def can(peer: str, rung: str) -> bool:
    """Whether a peer can do what a rung asks."""
    return peer != "sdk" or rung not in UNBOUND


def describe(samples: Samples, collection: str) -> str:
    """Write both tables."""
    heads = [peers.PEERS[peer].title for peer in ASKED]
    rows = [[title, *(shown(samples, rung, peer, 1) for peer in ASKED)] for rung, title in RUNGS.items()]
    measured = table(("CPU for one measurement, ns", *heads), rows)
    series = int(collection[len("collect") :])
    row = [f"{series} series of a counter", *(shown(samples, collection, peer, 1e-6) for peer in ASKED)]
    collected = table(("CPU for one collection, encoded, ms", *heads), [row])
    return f"{EXPLAINED}\n\n{measured}\n\n{collected}"


EXPLAINED = (
    "Median (quartiles) and times ours. The attributes are a dict that is there already; prometheus_client looks "
    "its labels up with `labels(...)`, and binds with it. What the SDK does without binding is compared to our bound "
    "instruments. A collection ends with the bytes to be sent: OTLP of ours and the SDK's, text of prometheus_client's."
)


def shown(samples: Samples, rung: str, peer: str, scale: float) -> str:
    """Write one cell."""
    of_rung = samples[rung]
    theirs = of_rung.get(peer) or samples[UNBOUND.get(rung, rung)].get(peer)
    if not theirs:
        return ""
    text = cell(theirs, scale)
    return text if peer == "noops" else f"{text} ×{1 / ratio(of_rung['noops'], theirs):.1f}"


def budgets(samples: Samples) -> list[Budget]:
    """Hold ours against the budgets."""
    found = []
    for rung in ("add3", "record3"):
        measured = ratio(samples[rung]["noops"], samples[rung]["sdk"])
        found.append(Budget(f"{RUNGS[rung]}, of the SDK's", measured, 1 / 15))
    for rung in ("bound_add", "bound_record"):
        measured = ratio(samples[rung]["noops"], samples[UNBOUND[rung]]["sdk"])
        found.append(Budget(f"{RUNGS[rung]}, of the SDK's without binding", measured, 1 / 40))
    return found
