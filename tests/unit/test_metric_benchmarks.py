"""The benchmark of metrics works; nothing is said about time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parents[2] / "benchmarks" / "metrics_worker.py"
REQUESTS = ("add3", "record0", "record10", "add2000", "threads_add3", "collect100")


@pytest.mark.parametrize("peer", ["noops", "noops-python", "sdk", "prometheus"])
def test_each_peer_measures_and_collects(peer: str) -> None:
    """A rung answers with one figure for each batch."""
    if peer == "prometheus":
        pytest.importorskip("prometheus_client")
    rungs = [*REQUESTS, *(("bound_add", "bound_record", "threads_bound_add") if peer != "sdk" else ())]
    requests = "".join(json.dumps({"rung": rung, "batches": 2}) + "\n" for rung in rungs)
    variables = {**os.environ, "NOOPS_CORE": "python"} if peer == "noops-python" else dict(os.environ)
    command = [sys.executable, str(WORKER), "--peer", peer]
    ran = subprocess.run(command, input=requests, capture_output=True, text=True, timeout=60, env=variables)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [answer["rung"] for answer in answers] == rungs
    assert all(len(answer["cpu_ns"]) == 2 for answer in answers)
