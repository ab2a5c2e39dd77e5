"""Does shipping hold up the application? The lag of its event loop, with and without export."""

from __future__ import annotations

from peers import NOTHING, PEERS
from programs import Sink, run
from report import Answer, cell, ratio, spread, table

ASKED = (
    ("bare", False),
    ("noops", False),
    ("noops", True),
    ("noops-python", True),
    ("sdk", False),
    ("sdk", True),
    ("ddtrace", True),
)
ROUNDS = {False: 4, True: 1}
SECONDS = {False: 2.0, True: 1.5}
RATE = 3_000
DELAY_MS = 250
"""Export interval, by the variable that both ours and the SDK know, so that there is export all the time."""
PARTS = ("p50", "p99", "p99.9", "max", "delivered")

Samples = dict[tuple[str, bool], dict[str, list[float]]]


def measure(sink: Sink, quick: bool) -> Answer:
    """Watch a loop under each peer in turn."""
    samples: Samples = {key: {part: [] for part in PARTS} for key in ASKED}
    for turn in range(ROUNDS[quick]):
        first = turn % len(ASKED)
        for key in ASKED[first:] + ASKED[:first]:
            peer, export = key
            asked = ("--url", sink.url if export else NOTHING, "--seconds", SECONDS[quick], "--rate", RATE)
            answer = run(peer, "latency_worker.py", *asked, OTEL_BSP_SCHEDULE_DELAY=f"{DELAY_MS}")
            for part, of_part in samples[key].items():
                of_part.append(answer[part])
            sink.reset()
    kept = {f"{peer}{' exporting' * export}": values for (peer, export), values in samples.items()}
    return Answer("Lag of the application's event loop", describe(samples), [], kept)


def describe(samples: Samples) -> str:
    """Write the table."""
    bare = samples["bare", False]["p99"]
    rows = [
        (
            PEERS[peer].title,
            "" if peer == "bare" else "yes" if export else "no",
            *(cell(samples[peer, export][part]) for part in PARTS[:-1]),
            f"×{ratio(samples[peer, export]['p99'], bare):.1f}",
            f"{spread(samples[peer, export]['delivered']).median:.0f}" if export else "",
        )
        for peer, export in samples
    ]
    text = (
        f"By how much a sleep of 1 ms is too long, in ms, in an asyncio program that makes {RATE} spans with "
        f"5 attributes a second. The loop's own timer is good to 1 ms. Export every {DELAY_MS} ms; the last "
        "column counts the spans that were delivered meanwhile. "
        "Waiting for a processor that other programs hold is taken off."
    )
    heads = ("", "export", *PARTS[:-1], "p99 of no spans", PARTS[-1])
    return f"{text}\n\n{table(heads, rows)}"
