"""What does the agent add to the start of a program, and to its memory at rest?"""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import time
from typing import NamedTuple

from environments import FOLDER, python, variables
from peers import PEERS, QUIET_DDTRACE
from programs import Sink
from report import Answer, Budget, cell, ratio, spread, table

ROUNDS = {False: 7, True: 3}
PROGRAM = "import flask"

ALONE = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask"}


class Launch(NamedTuple):
    """One way to start the program."""

    title: str
    environment: str
    words: tuple[str, ...]
    variables: dict[str, str]
    proof: str = ""
    """A module that is loaded in the program when the agent is really on."""


NOOPS = ("noops-agent", "run")
FLASK = "opentelemetry.instrumentation.flask"
SDK = ("opentelemetry-instrument",)
LAUNCHES = {
    "bare noops": Launch("no agent, environment of noops_agent", "noops", (), {}),
    "noops": Launch("noops-agent run", "noops", NOOPS, ALONE, "noops_agent"),
    "noops flask": Launch("noops-agent run, its Flask", "noops", NOOPS, {}, "noops_instrumentation.flask"),
    "bare sdk": Launch("no agent, environment of the SDK", "sdk", (), {}),
    "sdk": Launch("opentelemetry-instrument", "sdk", SDK, ALONE, "opentelemetry.sdk.trace"),
    "sdk flask": Launch("opentelemetry-instrument, contrib's Flask", "sdk", SDK, {}, FLASK),
    "bare ddtrace": Launch("no agent, environment of ddtrace", "ddtrace", (), {}),
    "ddtrace": Launch("ddtrace-run", "ddtrace", ("ddtrace-run",), QUIET_DDTRACE, "ddtrace"),
}

WATCHED = """
import sys
def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
seen = [len(sys.modules), resident()]
{setup}
seen += [len(sys.modules), resident()]
{first}
seen += [len(sys.modules), resident()]
print(*seen)
"""

SETUPS = {
    "noops": (
        "import noops_agent; noops_agent.init()",
        "with noops_agent.span('first'): pass\nnoops_agent.flush()",
    ),
    "sdk": (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "provider = TracerProvider()\n"
        "provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))\n"
        "trace.set_tracer_provider(provider)",
        "with trace.get_tracer('bench').start_as_current_span('first'): pass\nprovider.force_flush()",
    ),
    "ddtrace": ("from ddtrace.trace import tracer", "with tracer.trace('first'): pass\ntracer.flush()"),
}
"""Setting each peer up in code, and its first span."""

Times = dict[str, dict[str, list[float]]]
Sizes = dict[str, list[list[int]]]


def measure(sink: Sink, quick: bool) -> Answer:
    """Start everything in turn, then look at modules and memory."""
    folder = tempfile.mkdtemp(prefix="noops-bench-")
    common = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "bench",
        "DD_TRACE_AGENT_URL": sink.url,
        "NOOPS_STATE_DIR": folder,
    }
    try:
        for launch in LAUNCHES.values():
            prove(launch, common)
        times: Times = {name: {"wall_s": [], "cpu_s": []} for name in LAUNCHES}
        sizes: Sizes = {peer: [] for peer in SETUPS}
        for turn in range(ROUNDS[quick]):
            time_all(times, common, turn)
            for peer in SETUPS:
                sizes[peer].append(look(peer, common))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Answer(
        "Start and rest", describe(times, sizes), budgets(times, sizes), {"times": times, "sizes": sizes}
    )


def command(launch: Launch, program: str) -> list[str]:
    """Command line of a launch; the launcher is the environment's own script."""
    words = (
        [str(FOLDER / launch.environment / "bin" / launch.words[0]), *launch.words[1:]]
        if launch.words
        else []
    )
    return [*words, python(launch.environment), "-c", program]


def prove(launch: Launch, common: dict[str, str]) -> None:
    """Check that a launch works and its agent is on, before its time is believed.

    Raises:
        RuntimeError: the program failed, or ran without the agent.
    """
    program = f"{PROGRAM}, sys; print({launch.proof!r} in sys.modules if {launch.proof!r} else True)"
    env = variables(launch.environment, **common, **launch.variables)
    ran = subprocess.run(
        command(launch, program), env=env, cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    if ran.returncode or ran.stdout.split()[-1:] != ["True"]:
        raise RuntimeError(f"{launch.title}: the agent is not on\n{ran.stdout}{ran.stderr[-4000:]}")


def time_all(times: Times, common: dict[str, str], turn: int) -> None:
    """Start every launch once; each round another one begins."""
    names = list(LAUNCHES)
    first = turn % len(names)
    for name in names[first:] + names[:first]:
        wall_s, cpu_s = time_one(LAUNCHES[name], common)
        times[name]["wall_s"].append(wall_s)
        times[name]["cpu_s"].append(cpu_s)


def time_one(launch: Launch, common: dict[str, str]) -> tuple[float, float]:
    """Run a launch from start to exit; wall and CPU seconds, its children included."""
    env = variables(launch.environment, **common, **launch.variables)
    before, begin_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command(launch, PROGRAM), env=env, cwd=FOLDER, capture_output=True, check=True, timeout=60)
    wall_s, after = time.perf_counter() - begin_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def look(peer: str, common: dict[str, str]) -> list[int]:
    """Modules and resident KiB: before, after setting up, after the first span was delivered."""
    setup, first = SETUPS[peer]
    known = PEERS[peer]
    ran = subprocess.run(
        [python(known.environment), "-c", WATCHED.format(setup=setup, first=first)],
        env=variables(known.environment, **common, **known.variables),
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [int(word) for word in ran.stdout.split()]


def added(times: Times, name: str, clock: str = "wall_s") -> list[float]:
    """Seconds that a launch adds to the bare one of its environment, round by round."""
    bare = times["bare " + LAUNCHES[name].environment][clock]
    return [with_agent - without for with_agent, without in zip(times[name][clock], bare, strict=True)]


def describe(times: Times, sizes: Sizes) -> str:
    """Write both tables."""
    rows = []
    for name, launch in LAUNCHES.items():
        more = (
            []
            if name.startswith("bare")
            else [cell(added(times, name, clock), 1e3) for clock in ("wall_s", "cpu_s")]
        )
        rows.append([launch.title, cell(times[name]["wall_s"], 1e3), *(more or ["", ""])])
    heads = (f'`python -c "{PROGRAM}"`, ms', "time to exit", "added", "added CPU")
    parts = [
        table(heads, rows),
        "",
        "Set up in code: modules imported, and growth of resident memory in MiB.",
        "",
    ]
    heads = ("", "modules", "memory after setting up", "memory after the first span was delivered")
    parts.append(table(heads, [size_row(peer, looks) for peer, looks in sizes.items()]))
    return "\n".join(parts)


def size_row(peer: str, looks: list[list[int]]) -> tuple[str, ...]:
    """Write one row of the second table."""
    modules = f"{spread([look[2] - look[0] for look in looks]).median:.0f}"
    return (PEERS[peer].title, modules, *(cell(grown(looks, at)) for at in (3, 5)))


def grown(looks: list[list[int]], at: int) -> list[float]:
    """Growth of resident memory in MiB between the beginning and a later moment."""
    return [(look[at] - look[1]) / 1024 for look in looks]


def budgets(times: Times, sizes: Sizes) -> list[Budget]:
    """Hold ours against the budgets; start by CPU, since a busy machine stretches the time to exit."""

    def by(ours: str, theirs: str) -> float:
        return ratio(added(times, ours, "cpu_s"), added(times, theirs, "cpu_s"))

    resting = spread(grown(sizes["noops"], 3)).median
    delivered = spread(grown(sizes["noops"], 5)).median
    return [
        Budget(
            "CPU added by `noops-agent run`, of what `opentelemetry-instrument` adds, tracing alone",
            by("noops", "sdk"),
            1 / 6,
        ),
        Budget(
            "the same, with contrib's Flask instrumentation in both", by("noops flask", "sdk flask"), 1 / 6
        ),
        Budget("memory at rest, after `init()`", resting, 8, " MiB"),
        Budget("memory at rest, after the first delivery", delivered, 8, " MiB"),
    ]
