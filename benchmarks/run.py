"""Runs the benchmarks: `python benchmarks/run.py [--quick] [--only NAME]`.

A full run writes RESULTS.md, results.json and the table of the README; any other only prints.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import environments
import export
import latency
import memory
import metrics
import report
import runtime_metrics
import span
import start
from ladder import LADDER, SPANS
from peers import PEERS
from programs import HERE, Sink, running_sink
from report import Answer, Budget

import instrumentation

QUESTIONS: dict[str, Callable[[Sink, bool], Answer]] = {
    "span": span.measure,
    "export": export.measure,
    "start": start.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "instrumentation": instrumentation.measure,
    "metrics": metrics.measure,
    "runtime_metrics": runtime_metrics.measure,
}


def main() -> int:
    """Make the environments, ask the questions, report."""
    parser = argparse.ArgumentParser(description="Ask what the agent costs, beside its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first look, not for the record")
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="ask this question alone")
    asked = parser.parse_args()
    for name in environments.REQUIREMENTS:
        environments.prepare(name)
    facts, begin_s = report.machine(), time.monotonic()
    answers = {}
    with running_sink() as sink:
        for name in asked.only or QUESTIONS:
            say(f"{name} ...")
            answers[name] = QUESTIONS[name](sink, asked.quick)
    say(f"took {time.monotonic() - begin_s:.0f} s")
    text = write(answers, facts)
    print(text)
    if not asked.quick and not asked.only:
        keep(answers, facts, text)
    return 0


def say(text: str) -> None:
    """Tell how far the run is."""
    print(text, file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Versions of what was compared; each from the environment that it was measured in."""
    found: dict[str, str] = {}
    for name in ("api", "ddtrace", "sdk", "noops"):
        for package, version in environments.versions(name).items():
            if package == "noops_agent" or name != "noops":
                found[package] = version
    return found


def budgets_of(answers: dict[str, Answer]) -> list[Budget]:
    """All budgets that were measured."""
    return [budget for answer in answers.values() for budget in answer.budgets]


def write(answers: dict[str, Answer], facts: dict[str, Any]) -> str:
    """Write the report."""
    parts = ["# What the agent costs", "", report.setting(facts, versions(), f"{datetime.date.today()}"), ""]
    parts.append(
        "Made by `make bench`; how it is measured is in [README.md](README.md). Ratios hold within one run."
    )
    if budgets := budgets_of(answers):
        parts += ["", "## Budgets", "", report.budget_table(budgets)]
    for answer in answers.values():
        parts += ["", f"## {answer.title}", "", answer.text]
    return "\n".join(parts) + "\n"


def keep(answers: dict[str, Answer], facts: dict[str, Any], text: str) -> None:
    """Write RESULTS.md, results.json and the part of the README between its markers."""
    (HERE / "RESULTS.md").write_text(text)
    record = {
        "day": f"{datetime.date.today()}",
        "machine": facts,
        "versions": versions(),
        "budgets": [{**budget._asdict(), "kept": budget.kept} for budget in budgets_of(answers)],
        "samples": {name: answer.samples for name, answer in answers.items()},
    }
    (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    readme = environments.ROOT / "README.md"
    if readme.exists():
        readme.write_text(report.replace_between(readme.read_text(), summary(answers, facts)))


def summary(answers: dict[str, Answer], facts: dict[str, Any]) -> str:
    """The README's part: what one span costs, and the budgets."""
    ladder, all_in = answers["span"].samples["samples"], answers["export"].samples["five"]
    peers = [peer for peer in SPANS if peer != "noops-python"]
    rows = [
        [LADDER[rung].title, *(summary_cell(peer, ladder[rung]) for peer in peers)]
        for rung in ("off", "unsampled", "five", "twenty", "exception", "threads")
    ]
    rows.append(["all in, delivered to a collector", *(summary_cell(peer, all_in) for peer in peers)])
    table = report.table(["CPU for one span, µs", *(PEERS[peer].title for peer in peers)], rows)
    setting = report.setting(facts, versions(), f"{datetime.date.today()}")
    more = "Median (quartiles) and times ours; more in [benchmarks/RESULTS.md](benchmarks/RESULTS.md)."
    return f"{table}\n\n{more}\n\n{report.budget_table(budgets_of(answers))}\n\n{setting}"


def summary_cell(peer: str, of_rung: dict[str, dict[str, list[float]]]) -> str:
    """Write one cell of the README's table; empty where a peer has nothing to say."""
    if peer not in of_rung:
        return ""
    return span.rung_cell(peer, of_rung[peer]["cpu_ns"], of_rung["noops"]["cpu_ns"])


if __name__ == "__main__":
    sys.exit(main())
