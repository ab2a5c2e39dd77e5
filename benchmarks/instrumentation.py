"""What does instrumentation add to a call of a library? Ours, contrib's and ddtrace's, each beside the bare call."""

from __future__ import annotations

import ast
import statistics
from contextlib import ExitStack
from typing import Any, NamedTuple

import environments
from programs import HERE, Sink, Worker
from report import Answer, Budget, cell, figure, table

ROUNDS = {False: 7, True: 2}
BATCHES = 3
LONGEST_S = 20.0
"""Longest wait for a worker's batches, its start included."""

MOST_OF_CONTRIB = 1 / 8
SERVERS = ("flask", "fastapi", "django", "aiohttp_server", "starlette", "tornado", "wsgi", "asgi")
MOST_OF_CONTRIB_SERVER = 1 / 10


class Library(NamedTuple):
    """A file of `calls/`."""

    name: str
    contrib: str | None
    ddtrace: str | None

    @property
    def agents(self) -> list[str]:
        """What the call is timed with."""
        peers = [name for name, known in (("contrib", self.contrib), ("ddtrace", self.ddtrace)) if known]
        return ["bare", "noops", *peers]


def constants(name: str) -> dict[str, Any]:
    """Read the constants of a file of `calls/` without importing it or its library."""
    tree = ast.parse((HERE / "calls" / f"{name}.py").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def libraries(only: list[str] | None = None) -> list[Library]:
    """All libraries whose call is timed."""
    names = sorted(path.stem for path in (HERE / "calls").glob("*.py") if path.stem != "__init__")
    return [
        Library(name, known.get("CONTRIB"), known.get("DDTRACE"))
        for name in names
        if not only or name in only
        for known in [constants(name)]
    ]


def requirements() -> tuple[str, ...]:
    """Distributions that the calls need."""
    found = {"ddtrace==4.16.*", "opentelemetry-sdk==1.45.*"}
    for library in libraries():
        found.update(constants(library.name).get("REQUIRES", ()))
    return tuple(sorted(found))


def instrumentors() -> tuple[str, ...]:
    """Contrib's instrumentations of them.

    They are installed without their dependencies, of which these are all: pip tries the releases of forty packages
    against each other for hours.
    """
    found = {"opentelemetry-instrumentation", "opentelemetry-util-http", "opentelemetry-util-genai"}
    found |= {"opentelemetry-instrumentation-dbapi", "opentelemetry-instrumentation-wsgi"}
    found |= {"opentelemetry-instrumentation-asgi", "opentelemetry-propagator-aws-xray"}
    known = [constants(library.name) for library in libraries()]
    return tuple(sorted(found | {of_library["CONTRIB_PACKAGE"] for of_library in known if of_library.get("CONTRIB")}))


Samples = dict[str, dict[str, list[float]]]
"""By library and agent: CPU nanoseconds of a call, a median for each round."""


def measure(sink: Sink, quick: bool, only: list[str] | None = None) -> Answer:
    """Time each library's call, the agents in turn, batch by batch."""
    environments.REQUIREMENTS["calls"] = requirements()
    environments.UNRESOLVED["calls"] = instrumentors()
    environments.prepare("calls")
    samples: Samples = {}
    failed: dict[str, str] = {}
    for library in libraries(only):
        try:
            samples[library.name] = of_library(library, ROUNDS[quick])
        except RuntimeError as error:
            failed[library.name] = str(error).strip().splitlines()[-1]
    return Answer("Calls of libraries", describe(samples, failed), budgets(samples), {"cpu_ns": samples})


def of_library(library: Library, rounds: int) -> dict[str, list[float]]:
    """Time one library's call; a peer that can't make it is left out.

    Raises:
        RuntimeError: The bare call, or ours, can't be made.
    """
    found: dict[str, list[float]] = {agent: [] for agent in library.agents}
    with ExitStack() as stack:
        workers = {
            agent: stack.enter_context(Worker("calls", "call_worker.py", "--library", library.name, "--with", agent))
            for agent in library.agents
        }
        for turn in range(rounds):
            agents = list(found)
            first = turn % len(agents)
            for agent in agents[first:] + agents[:first]:
                try:
                    found[agent].append(statistics.median(workers[agent].ask(LONGEST_S, batches=BATCHES)["cpu_ns"]))
                except (RuntimeError, OSError):
                    if agent in ("bare", "noops"):
                        raise
                    del found[agent]
    return found


def added(samples: dict[str, list[float]], agent: str) -> list[float]:
    """What an agent adds to the bare call, round by round."""
    return [with_it - bare for with_it, bare in zip(samples[agent], samples["bare"], strict=True)]


def share(samples: dict[str, list[float]]) -> float:
    """What ours adds, of what contrib's adds."""
    ours, theirs = statistics.median(added(samples, "noops")), statistics.median(added(samples, "contrib"))
    return max(ours, 0.0) / theirs if theirs > 0 else float("inf")


def budgets(samples: Samples) -> list[Budget]:
    """One budget for each library that contrib instruments too."""
    return [
        Budget(
            f"a call of {name}: adds, of what contrib's instrumentation adds",
            share(of_library),
            MOST_OF_CONTRIB_SERVER if name in SERVERS else MOST_OF_CONTRIB,
        )
        for name, of_library in samples.items()
        if "contrib" in of_library
    ]


def describe(samples: Samples, failed: dict[str, str]) -> str:
    """Write the table."""
    rows = []
    for name, of_library in samples.items():
        row = [name, cell(of_library["bare"], 1e-3)]
        for agent in ("noops", "contrib", "ddtrace"):
            row.append("+" + cell(added(of_library, agent), 1e-3) if agent in of_library else "")
        row.append(f"1/{figure(1 / max(share(of_library), 1e-3))}" if "contrib" in of_library else "")
        rows.append(row)
    heads = ["CPU of one call, µs", "bare", "ours adds", "contrib adds", "ddtrace adds", "ours of contrib's"]
    text = "Median (quartiles). Contrib's instrumentations record through opentelemetry-sdk, which ships nowhere.\n\n"
    text += table(heads, rows)
    if failed:
        text += "\n\nNot measured: " + "; ".join(f"{name} ({why})" for name, why in failed.items()) + "."
    return text
