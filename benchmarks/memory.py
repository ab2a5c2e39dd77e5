"""Does memory stay flat while a process runs?"""

from __future__ import annotations

from peers import NOTHING, PEERS
from programs import Sink, run
from report import Answer, Budget, figure, table

ASKED = {False: ("noops", "noops-python", "sdk", "ddtrace"), True: ("noops",)}
SPANS = 100_000
FLAT_BYTES = 1 << 20
"""Growth over 100 000 spans that still counts as flat: what an allocator may keep."""


def measure(sink: Sink, quick: bool) -> Answer:
    """Let each peer make 100 000 spans, with export; ours also into the local store."""
    grown: dict[str, dict[str, int]] = {}
    runs = [(PEERS[peer].title, peer, sink.url) for peer in ASKED[quick]]
    runs.insert(1, (PEERS["noops"].title + ", local store", "noops", NOTHING))
    for title, peer, url in runs:
        sink.reset()
        seen = run(peer, "memory_worker.py", "--spans", SPANS, "--url", url)["resident"]
        grown[title] = {name: seen[-1][name] - seen[0][name] for name in seen[0]}
    sink.reset()
    heads = ("MiB", "resident", "of that, not backed by files")
    rows = [
        (title, *(figure(size / (1 << 20)) for size in growth.values())) for title, growth in grown.items()
    ]
    text = f"Growth of resident memory over {SPANS} spans, after 10 000 to warm up.\n\n{table(heads, rows)}"
    most = max(growth["VmRSS"] for growth in list(grown.values())[:2])
    budget = Budget(f"growth of memory over {SPANS} spans", most / (1 << 20), FLAT_BYTES / (1 << 20), " MiB")
    return Answer("Memory over time", text, [budget], grown)
