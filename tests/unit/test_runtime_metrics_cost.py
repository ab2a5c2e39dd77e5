"""The benchmark of the ready-made metrics works; nothing is said about time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_worker_measures_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """One figure a round and state, which the report puts into a table."""
    worker = [sys.executable, str(BENCHMARKS / "runtime_metrics_worker.py"), "--rounds", "2", "--idle", "0.01"]
    ran = subprocess.run(worker, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    samples = json.loads(ran.stdout)["samples"]
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import runtime_metrics

    assert all(len(of[state]) == 2 for of in samples.values() for state in ("bare", "ours"))
    answer = runtime_metrics.answer(samples)
    assert all(title in answer.text for title in runtime_metrics.TITLES.values())
    assert len(answer.budgets) == 1
