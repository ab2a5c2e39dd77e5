"""Statistics, tables, and the text that goes into RESULTS.md and the README."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

START, END = "<!-- bench:start -->", "<!-- bench:end -->"


class Budget(NamedTuple):
    """A promise about a number of ours, and what was measured."""

    what: str
    measured: float
    most: float
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether the measured value is within the budget."""
        return self.measured <= self.most


class Answer(NamedTuple):
    """What a question found."""

    title: str
    text: str
    """Markdown: the table, and what must be known to read it."""
    budgets: list[Budget]
    samples: dict[str, Any]


class Spread(NamedTuple):
    """Median and quartiles of samples."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Describe samples by their median and quartiles, which one disturbed sample doesn't move."""
    if len(samples) < 2:
        return Spread(samples[0], samples[0], samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of ours by theirs, round by round: both of a round met the same machine."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def figure(value: float) -> str:
    """Write a number with three significant digits, never in powers of ten."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(samples: Sequence[float], scale: float = 1) -> str:
    """Write samples as `median (quartile to quartile)`."""
    median, low, high = (value * scale for value in spread(samples))
    return f"{figure(median)} ({figure(low)}–{figure(high)})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; all columns but the first are figures."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" + "---:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def budget_table(budgets: Sequence[Budget]) -> str:
    """Write the budgets, with what was measured in this run."""
    rows = [
        (
            one.what,
            limit(one.most, one.unit),
            limit(one.measured, one.unit),
            "kept" if one.kept else "**missed**",
        )
        for one in budgets
    ]
    return table(("budget", "at most", "measured", ""), rows)


def limit(value: float, unit: str) -> str:
    """Write an amount with its unit, a ratio below a half as one over how many."""
    if unit or not 0 < value < 0.5:
        return figure(value) + unit
    return f"1/{1 / value:.3g}"


def machine() -> dict[str, Any]:
    """Facts about the machine that figures depend on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def setting(facts: dict[str, Any], versions: dict[str, str], day: str) -> str:
    """One paragraph: where and with what the figures were made."""
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured on {day}: {facts['processor']}, {facts['cores']} cores, {facts['system']}, "
        f"CPython {facts['python']}, load {facts['load']} at the start. {packages}."
    )


def replace_between(text: str, part: str) -> str:
    """Put *part* between the two marker comments of *text*; a text without them stays as it is."""
    begin, end = text.find(START), text.find(END)
    if begin < 0 or end < begin:
        return text
    return f"{text[: begin + len(START)]}\n{part.strip()}\n{text[end:]}"
