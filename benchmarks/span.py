"""What does one span cost the program that makes it? The ladder, rung by rung, peer by peer."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from ladder import LADDER, SPANS
from peers import NOTHING, PEERS
from programs import Sink, Worker
from report import Answer, Budget, cell, ratio, table

ROUNDS = {False: 7, True: 2}
BATCHES = 3

Samples = dict[str, dict[str, dict[str, list[float]]]]
"""By rung, peer and clock (`cpu_ns`, `wall_ns`): one median for each round."""


def measure(sink: Sink, quick: bool) -> Answer:
    """Drive the ladder: in every round, on every rung, each peer makes its batches in turn."""
    samples: Samples = {
        rung: {peer: {"cpu_ns": [], "wall_ns": []} for peer in LADDER[rung].peers} for rung in LADDER
    }
    lost: dict[str, int] = {}
    with ExitStack() as stack:
        workers = {
            (peer, state): stack.enter_context(serve(peer, state, sink))
            for peer, state in sorted({(peer, rung.state) for rung in LADDER.values() for peer in rung.peers})
        }
        for turn in range(ROUNDS[quick]):
            climb(workers, samples, lost, turn)
            sink.reset()
    return Answer("One span", describe(samples, lost), budgets(samples), {"samples": samples, "lost": lost})


def serve(peer: str, state: str, sink: Sink) -> Worker:
    """Start a worker that ships nowhere; ddtrace, which can't, ships to the sink, which isn't timed."""
    url = sink.url if peer == "ddtrace" else NOTHING
    return Worker(peer, "span_worker.py", "--serve", "--state", state, "--url", url)


def climb(workers: dict[tuple[str, str], Worker], samples: Samples, lost: dict[str, int], turn: int) -> None:
    """Climb the ladder once; each round another peer begins."""
    for name, rung in LADDER.items():
        first = turn % len(rung.peers)
        for peer in rung.peers[first:] + rung.peers[:first]:
            answer = workers[peer, rung.state].ask(rung=name, batches=BATCHES)
            for clock, of_peer in samples[name][peer].items():
                of_peer.append(statistics.median(answer[clock]))
            if answer["lost"]:
                lost[f"{peer} {rung.state}"] = answer["lost"]


def describe(samples: Samples, lost: dict[str, int]) -> str:
    """Write both tables."""
    parts = [
        "CPU of the process for one span, in µs: median (quartiles), and how many times ours that is.",
        "",
    ]
    parts += [
        rungs(samples, "cpu_ns"),
        "",
        "Time that the caller waits for one span, in µs.",
        "",
        rungs(samples, "wall_ns"),
    ]
    parts += ["", f"Dropped during the run, by what the peers tell: {lost or 'none'}."]
    return "\n".join(parts)


def rungs(samples: Samples, clock: str) -> str:
    """Write the ladder by one clock."""
    rows = []
    for name, rung in LADDER.items():
        row = [rung.title]
        for peer in SPANS:
            of_peer = samples[name].get(peer)
            row.append(
                "" if of_peer is None else rung_cell(peer, of_peer[clock], samples[name]["noops"][clock])
            )
        rows.append(row)
    return table(["", *(PEERS[peer].title for peer in SPANS)], rows)


def rung_cell(peer: str, theirs: list[float], ours: list[float]) -> str:
    """Write a peer's samples, with the ratio to ours."""
    times = "" if peer == "noops" else f" ×{ratio(theirs, ours):.1f}"
    return cell(theirs, 1e-3) + times


def budgets(samples: Samples) -> list[Budget]:
    """Hold ours against the budgets."""

    def by(rung: str, peer: str) -> float:
        return ratio(samples[rung]["noops"]["cpu_ns"], samples[rung][peer]["cpu_ns"])

    return [
        Budget("span with 5 attributes, of the same through the API with no SDK", by("five", "api"), 1),
        Budget("span sampled out, of the SDK's", by("unsampled", "sdk"), 1 / 10),
    ]
