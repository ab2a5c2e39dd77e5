"""`noops-agent doctor`: what is on, where it goes, whether it arrives."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from .. import __version__, _core, _export
from .._config import Settings, load
from .._core import segment
from .._core.wire import resource_fields
from .._env import PROVEN
from .._export.sink import DELIVERED, Sink
from .._signals.resource import make_resource
from ..instrument import installed, registry
from . import libraries
from .run import INJECT
from .terminal import BOLD, GREEN, RED, YELLOW, Terminal, clean, duration, open_terminal, to_ascii
from .tree import plural

OK, NOTE, WRONG = "ok", "note", "wrong"
MARKS = {OK: ("✓", GREEN), NOTE: ("!", YELLOW), WRONG: ("✗", RED)}

START_TIMEOUT_S = 30.0
PROBE_NAME = "noops_agent doctor"
CONSOLE = "console"

OTHER_AGENTS = {
    "ddtrace": "patches the same libraries, and continues traces by headers of its own",
    "newrelic": "patches the same libraries",
    "elastic-apm": "patches the same libraries",
    "opentelemetry-distro": "its `opentelemetry-instrument` installs a tracer provider; use one of the two",
    "sentry-sdk": "its tracing patches the same libraries; its error reports don't collide",
    "logfire": "installs a tracer provider when it is configured",
    "azure-monitor-opentelemetry": "installs a tracer provider when it is configured",
    "aws-opentelemetry-distro": "installs a tracer provider when it starts",
    "splunk-opentelemetry": "installs a tracer provider when it starts",
    "scout-apm": "patches the same libraries",
    "appdynamics": "patches the same libraries",
    "instana": "patches the same libraries, and installs a tracer provider",
}
"""Agents that may be in the same program, and how they collide."""


class Finding(NamedTuple):
    """One thing that was looked at: how it is, what it is, what there is to say."""

    state: str
    topic: str
    text: str


class Listener(logging.Handler):
    """Takes what the agent says: what matters of it is a finding, and stands there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message."""
        self.texts.append(record.getMessage())

    def __enter__(self) -> Listener:
        logging.getLogger("noops_agent").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("noops_agent").removeHandler(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-probe", action="store_true", help="look around, but send nothing and start nothing")


def execute(arguments: argparse.Namespace) -> int:
    """Print what was found, as it is found; exit status 1 where something is wrong."""
    findings = []
    terminal = open_terminal()
    if not arguments.json:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    topic = ""
    for finding in examine(not arguments.no_probe):
        findings.append(finding)
        if not arguments.json:
            print(drawn(finding, topic, terminal), flush=True)
        topic = finding.topic
    wrong = [finding for finding in findings if finding.state == WRONG]
    if arguments.json:
        print(json.dumps({"fine": not wrong, "findings": [finding._asdict() for finding in findings]}, indent=2))
    else:
        verdict = f"{plural(len(wrong), 'thing')} to put right." if wrong else "All is well."
        print("\n" + terminal.paint(verdict, RED if wrong else GREEN))
    return 1 if wrong else 0


def drawn(finding: Finding, topic_before: str, terminal: Terminal) -> str:
    """Write a finding as a line; the topic is named once."""
    mark, style = MARKS[finding.state]
    if not terminal.unicode:
        mark = to_ascii(mark)
    topic = finding.topic if finding.topic != topic_before else ""
    return f"{terminal.paint(mark, style)} {terminal.paint(f'{topic:13}', BOLD)} {clean(finding.text)}"


def examine(active: bool) -> Iterator[Finding]:
    """Look at everything in turn.

    Args:
        active: Whether a program is started and a span is sent.
    """
    with Listener() as listener:
        settings = load()
        yield from interpreter()
        yield from configuration(settings, list(listener.texts))
        if active and settings.enabled:
            yield from injection()
        yield from instrumentation(settings, active and settings.enabled)
        yield from other_agents(os.environ)
        yield from state_folder(settings)
        yield from exporters(settings, active and settings.enabled)


# ---- what runs -------------------------------------------------------------------------------------------


def interpreter() -> Iterator[Finding]:
    """Tell which Python and which core this is."""
    name = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    untried = "; the agent was not tried on it, so `noops-agent run` leaves it alone"
    yield Finding(OK if PROVEN else NOTE, "interpreter", name if PROVEN else name + untried)
    text = f"noops_agent {__version__}, {_core.NAME} core"
    native = _core.NAME == "native"
    yield Finding(OK if native else NOTE, "agent", text if native else f"{text}: {_core.WHY}; spans cost more with it")


def configuration(settings: Settings, said: list[str]) -> Iterator[Finding]:
    """Tell what was set and where, and what was said about it."""
    if not settings.enabled:
        yield Finding(WRONG, "settings", f"the agent is switched off by {settings.origin('enabled')}")
    changed = [row for row in settings.describe() if row.origin != "default"]
    for row in changed:
        yield Finding(OK, "settings", f"{row.name} = {written(row.value)} ({row.origin})")
    if not changed:
        yield Finding(OK, "settings", "all at their defaults; `noops-agent config` lists them")
    for text in said:
        yield Finding(WRONG, "settings", text)


def written(value: Any) -> str:
    """Write the value of a setting as a variable holds it."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def injection() -> Iterator[Finding]:
    """Start a program as `noops-agent run` does, and ask it whether the agent runs in it."""
    asking = "import json, noops_agent; print(json.dumps(noops_agent.status()))"
    try:
        done = start("-m", "noops_agent", "run", sys.executable, "-c", asking)
        running = done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["running"]
        if not running:
            done = start("-c", "import noops_agent._lifecycle as agent; agent.start_injected()")
            reason = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
            yield Finding(WRONG, "injection", f"the agent does not start under `noops-agent run`: {reason}")
            return
    except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        yield Finding(WRONG, "injection", f"a program under `noops-agent run` could not be asked: {error}")
        return
    yield Finding(OK, "injection", "the agent starts in a program under `noops-agent run`")


def start(*words: str) -> subprocess.CompletedProcess[str]:
    """Run this Python without a probe of ours leaving anything behind."""
    environ = {**os.environ, "NOOPS_EXPORTERS": "none", "NOOPS_RUN": "1"}
    return subprocess.run(
        [sys.executable, *words],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=START_TIMEOUT_S,
        check=False,
    )


def instrumentation(settings: Settings, active: bool) -> Iterator[Finding]:
    """Tell of each library that is installed whether it is instrumented when a program imports it."""
    if "none" in settings.instrument:
        yield Finding(NOTE, "libraries", f"none is instrumented, by {settings.origin('instrument')}")
        return
    try:
        done = start("-m", "noops_agent._commands.libraries") if active else None
        reports = [] if done is None else libraries.read(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Finding(WRONG, "libraries", f"a program that imports all libraries could not be asked: {error}")
        return
    if done is None:
        yield Finding(OK, "libraries", f"installed, not tried: {', '.join(sorted(libraries.found()))}")
    whole = [titled(report) for report in reports if report.state == registry.PATCHED]
    if whole:
        yield Finding(OK, "libraries", f"patched: {', '.join(whole)}")
    for report in reports:
        if report.state != registry.PATCHED:
            state = OK if report.state == registry.WAITING else NOTE
            told = ": ".join(filter(None, (titled(report), report.state, report.why)))
            yield Finding(state, "libraries", told)
    theirs = [entry.name for entry in installed.entries(installed.THEIRS) if not registry.is_ours(entry.name)]
    if theirs:
        yield Finding(OK, "libraries", f"by OpenTelemetry's instrumentors: {', '.join(sorted(theirs))}")


def titled(report: registry.Report) -> str:
    """Write a library with its version."""
    return f"{report.library} {report.version}".rstrip()


def other_agents(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell which other agents are here."""
    for name, collision in OTHER_AGENTS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        yield Finding(NOTE, "other agents", f"{name} {version} is installed: {collision}")
    for place in environ.get("PYTHONPATH", "").split(os.pathsep):
        if place and os.path.abspath(place) != INJECT and os.path.isfile(os.path.join(place, "sitecustomize.py")):
            yield Finding(NOTE, "other agents", f"PYTHONPATH names {place}; its sitecustomize runs after ours")


# ---- what is kept ----------------------------------------------------------------------------------------


def state_folder(settings: Settings) -> Iterator[Finding]:
    """Tell whether records can be written, and what waits."""
    state = settings.state_dir
    try:
        write_segment(settings)
        free = shutil.disk_usage(state).free
    except OSError as error:
        reason = error.strerror or str(error)
        yield Finding(WRONG, "state folder", f"{state} can't be written ({reason}): records don't survive a crash")
        return
    few = free < settings.segment_bytes * 8
    yield Finding(NOTE if few else OK, "state folder", f"{state}, {size(free)} free")
    yield held_records(state)


def write_segment(settings: Settings) -> None:
    """Make and delete a segment, as a program does that records.

    Raises:
        OSError: It can't be done.
    """
    folder = segment.Folder.create(settings.state_dir)
    try:
        segment.FileSegment.create(folder.path, 1, settings.segment_bytes, segment.LOCAL).release()
    finally:
        folder.close()


def held_records(state: str) -> Finding:
    """Count what the segments hold: of living and of dead processes, kept here or waiting for a collector."""
    living = dead = waiting = kept = 0
    for path in segment.process_folders(state):
        folder = segment.Folder.adopt(path)
        if folder is None:
            living += 1
        else:
            folder.forget()
        here = sent_away = 0
        for file in segment.segment_paths(path):
            unshipped, local = unshipped_bytes(file)
            here += unshipped if local else 0
            sent_away += 0 if local else unshipped
        kept, waiting = kept + here, waiting + sent_away
        dead += folder is not None and sent_away > 0
    text = f"{size(kept)} kept for `noops-agent show`, {size(waiting)} waiting for a collector; "
    text += f"{plural(living, 'process', 'processes')} recording now"
    if dead:
        text += f"; what {dead} that ended left is sent by the next program with the same destination"
    return Finding(OK, "state folder", text)


def unshipped_bytes(path: str) -> tuple[int, bool]:
    """Give the bytes of records in a segment that were not acknowledged, and whether they stay on this machine."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        header = segment.read_header(data)
    except (OSError, ValueError):
        return 0, True
    return max(segment.end_of_records(data) - header.shipped, 0), header.destination == segment.LOCAL


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


# ---- where it goes ---------------------------------------------------------------------------------------


def exporters(settings: Settings, active: bool) -> Iterator[Finding]:
    """Tell where records go, and send a span to each place."""
    if settings.exporters == ("none",):
        yield Finding(NOTE, "export", f"nothing is exported, by {settings.origin('exporters')}")
    if "local" in settings.exporters:
        yield Finding(OK, "export", "records stay on this machine; `noops-agent show` shows them")
    for sink in _export.open_sinks(settings):
        if sink.name == CONSOLE:
            yield Finding(OK, "export", "spans are printed to standard output")
        elif active:
            yield probe(sink, settings)
        else:
            yield Finding(OK, "export", f"{sink.name}, not tried")


def probe(sink: Sink, settings: Settings) -> Finding:
    """Send one span by the same way as all others, and tell the answer."""
    request = probe_request(settings)
    began = time.perf_counter()
    try:
        answer = sink.send(segment.SPAN, request.SerializeToString(), 1, settings.otlp_traces.timeout_s)
    except Exception as error:
        return Finding(WRONG, "export", f"{sink.name}: {error!r}")
    finally:
        took = duration((time.perf_counter() - began) * 1e9)
        sink.close()
    if answer.outcome == DELIVERED and not answer.rejected:
        named = service_of(request)
        return Finding(OK, "export", f"{sink.name} took the span {PROBE_NAME!r} of the service {named!r} in {took}")
    reason = answer.reason or ("it rejects the span" if answer.rejected else answer.outcome)
    return Finding(WRONG, "export", f"{sink.name} did not take a span, after {took}: {reason}")


def probe_request(settings: Settings) -> ExportTraceServiceRequest:
    """Make a request with one span of the user's service."""
    described = ResourceSpans.FromString(resource_fields(make_resource(settings)))
    now = time.time_ns()
    scope = described.scope_spans.add()
    scope.scope.name, scope.scope.version = "noops_agent", __version__
    scope.spans.add(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name=PROBE_NAME,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=now - 1000,
        end_time_unix_nano=now,
        flags=0x101,
    )
    return ExportTraceServiceRequest(resource_spans=[described])


def service_of(request: ExportTraceServiceRequest) -> str:
    """Give the name of the service in a request."""
    attributes = request.resource_spans[0].resource.attributes
    return next((pair.value.string_value for pair in attributes if pair.key == "service.name"), "")
