"""The benchmark's own programs work; nothing is said about time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CORES = {"noops": "native", "noops-python": "python"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are programs in a folder, not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(program: str, *arguments: object) -> dict[str, Any]:
    """Run a worker with this interpreter; its one line of JSON."""
    command = [sys.executable, str(BENCHMARKS / program), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@pytest.mark.parametrize("peer", CORES)
@pytest.mark.parametrize(
    "rung", ["off", "unsampled", "five", "own", "exception", "tree", "threads", "asyncio"]
)
def test_each_rung_of_the_ladder_can_be_climbed(
    peer: str, rung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rung answers with one figure for each batch, and drops no span."""
    monkeypatch.delenv("NOOPS_CORE", raising=False)
    if peer == "noops-python":
        monkeypatch.setenv("NOOPS_CORE", "python")
    answer = run("span_worker.py", "--peer", peer, "--rung", rung, "--number", 80, "--batches", 2)
    assert answer["number"] == 80
    assert len(answer["cpu_ns"]) == len(answer["wall_ns"]) == 2
    assert answer["lost"] == 0


@pytest.mark.parametrize("shape", ["five", "tree"])
def test_the_sink_counts_every_span_that_was_made(shape: str) -> None:
    """What the export benchmark divides by is what really arrived."""
    from programs import running_sink

    with running_sink(sys.executable) as sink:
        made = run(
            "export_worker.py",
            "--peer",
            "noops",
            "--url",
            sink.url,
            "--rung",
            shape,
            "--spans",
            400,
            "--rate",
            20_000,
        )["made"]
        assert made == 1_400
        assert sink.count()["spans"] == made
        sink.reset()
        assert sink.count() == {"requests": 0, "bytes": 0, "spans": 0}


def test_only_what_is_between_the_markers_is_replaced() -> None:
    """The README around its table stays as it is, and a README without markers does too."""
    from report import END, START, replace_between

    text = f"before\n{START}\nold\n{END}\nafter\n"
    assert replace_between(text, "| new |") == f"before\n{START}\n| new |\n{END}\nafter\n"
    assert replace_between(replace_between(text, "one"), "two") == replace_between(text, "two")
    assert replace_between("nothing here", "| new |") == "nothing here"


def test_a_budget_is_kept_up_to_its_limit() -> None:
    """The verdict comes from the figure that is printed beside it."""
    from report import Budget, budget_table

    kept, missed = Budget("a", 0.05, 1 / 20), Budget("b", 0.2, 1 / 20)
    assert (kept.kept, missed.kept) == (True, False)
    text = budget_table([kept, missed])
    assert "| a | 1/20 | 1/20 | kept |" in text
    assert "| b | 1/20 | 1/5 | **missed** |" in text
