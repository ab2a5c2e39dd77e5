"""What does one span cost all in: made, encoded and delivered?"""

from __future__ import annotations

from typing import NamedTuple

from peers import PEERS
from programs import Sink, run
from report import Answer, Budget, cell, ratio, table

ASKED = ("bare", "noops", "noops-python", "sdk", "ddtrace")
SHAPES = {"five": "a trace for each span", "tree": "traces of 10 spans"}
ROUNDS = {False: 4, True: 2}
SPANS = {False: 8_000, True: 2_000}
RATE = 4_000
"""Spans in a second: less than the SDK's exporter can carry, so that its queue never fills."""


class Delivered(NamedTuple):
    """What one peer did, round by round."""

    cpu_ns: list[float]
    made: list[int]
    came: list[int]
    size_bytes: list[int]


Samples = dict[str, dict[str, Delivered]]


def measure(sink: Sink, quick: bool) -> Answer:
    """Let each peer in turn deliver its spans, and count them at the sink."""
    samples: Samples = {shape: {peer: Delivered([], [], [], []) for peer in ASKED} for shape in SHAPES}
    for turn in range(ROUNDS[quick]):
        first = turn % len(ASKED)
        for shape, of_shape in samples.items():
            for peer in ASKED[first:] + ASKED[:first]:
                deliver(sink, peer, shape, SPANS[quick], of_shape[peer])
    flat = {
        shape: {peer: seen._asdict() for peer, seen in of_shape.items()}
        for shape, of_shape in samples.items()
    }
    text = "\n\n".join([EXPLAINED, *(describe(SHAPES[shape], samples[shape]) for shape in SHAPES)])
    return Answer("All in, with export", text, budgets(samples), flat)


def deliver(sink: Sink, peer: str, shape: str, spans: int, seen: Delivered) -> None:
    """Let one peer make and ship its spans."""
    sink.reset()
    asked = ("--url", sink.url, "--rung", shape, "--spans", spans, "--rate", RATE)
    answer, counted = run(peer, "export_worker.py", *asked), sink.count()
    seen.cpu_ns.append(answer["cpu_ns"])
    seen.made.append(0 if peer == "bare" else answer["made"])
    seen.came.append(counted["spans"])
    seen.size_bytes.append(counted["bytes"])


EXPLAINED = (
    "CPU of the whole process for one span with 5 attributes, its exporting threads included, delivered to a "
    f"sink on loopback: {RATE} spans a second, every exporter at its defaults. Nothing is taken off for the "
    "loop itself (the row without spans). The sink decodes what came and counts it."
)


def describe(shape: str, samples: dict[str, Delivered]) -> str:
    """Write one table."""
    rows = []
    for peer, seen in samples.items():
        row = [PEERS[peer].title, cell(seen.cpu_ns, 1e-3)]
        if peer != "bare":
            times = f"×{ratio(seen.cpu_ns, samples['noops'].cpu_ns):.1f}"
            came = sum(seen.came)
            row += [times, f"{came} of {sum(seen.made)}", f"{sum(seen.size_bytes) / max(came, 1):.0f}"]
        rows.append(row + [""] * (5 - len(row)))
    return table(
        (f"CPU a span, µs: {shape}", "median (quartiles)", "times ours", "arrived", "bytes a span"), rows
    )


def budgets(samples: Samples) -> list[Budget]:
    """Hold ours against the budgets; a peer that lost spans would be compared at too little work."""
    found = []
    for shape, title in SHAPES.items():
        for peer, most in (("sdk", 1 / 20), ("ddtrace", 1 / 12)):
            measured = ratio(samples[shape]["noops"].cpu_ns, samples[shape][peer].cpu_ns)
            found.append(Budget(f"CPU all in with export, {title}, of {PEERS[peer].title}'s", measured, most))
    return found
