"""Real programs with the agent in them, beside a collector and a state folder of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from noops_agent._commands.run import INJECT
from noops_agent._core import segment

from .collector import Collector

PROGRAMS = Path(__file__).parent / "programs"
SOURCES = Path(INJECT).parents[1]
LIMIT_S = 60.0


class Ended:
    """How a program ended: status (negative: a signal), what it printed, how long it took."""

    def __init__(self, status: int, out: str, err: str, took_s: float) -> None:
        self.status, self.out, self.err, self.took_s = status, out, err, took_s

    @property
    def ids(self) -> Counter[bytes]:
        """The identifiers of the spans that it and its children printed."""
        return Counter(span_id for span_id, _ in self.printed())

    @property
    def pids(self) -> dict[bytes, int]:
        """The process of each of these spans."""
        return dict(self.printed())

    def printed(self) -> Iterator[tuple[bytes, int]]:
        """Walk the lines that name a span; a last line that was cut is none."""
        for line in self.out.split("\n")[:-1]:
            span_id, _, pid = line.partition(" ")
            if len(span_id) == 16 and pid.isdigit():
                yield bytes.fromhex(span_id), int(pid)


class Launch:
    """Starts programs that send to one collector and share one state folder."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self.collector = collector
        self.state = folder / "state"
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def environment(self, agent: bool = True, **more: str) -> dict[str, str]:
        """The variables of a program; without *agent* nothing of ours is on in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NOOPS_", "PYTHON"))}
        kept |= {"PYTHONPATH": f"{SOURCES}{os.pathsep}{PROGRAMS}", "PYTHONUNBUFFERED": "1"}
        kept |= {
            "NOOPS_STATE_DIR": str(self.state),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": self.collector.endpoint,
            "NOOPS_ENABLED": "true" if agent else "false",
            "NOOPS_LOG_LEVEL": "error",
        }
        return kept | more

    def command(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start any command."""
        made = subprocess.Popen(
            words,
            env=self.environment(**options),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=default_signals,
        )
        self.started.append(made)
        return made

    def start(self, program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program of the folder `programs`."""
        return self.command(sys.executable, str(PROGRAMS / program), *arguments, **options)

    def run(self, program: str, *arguments: str, **options: Any) -> Ended:
        """Run a program of the folder `programs` to its end."""
        return self.end(self.start(program, *arguments, **options))

    def end(self, process: subprocess.Popen[str], number: int | None = None) -> Ended:
        """Send a signal, where one is named, and wait for the end."""
        began = time.monotonic()
        if number is not None:
            process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
        return Ended(process.returncode, out, err, time.monotonic() - began)

    def adopt(self, expected: Counter[bytes], **options: Any) -> None:
        """Start the next process of this destination, and wait until it has delivered what is expected."""
        process = self.start("wait.py", **options)
        self.collector.wait_until(lambda: expected <= self.collector.span_ids(), 15.0)
        adopted = self.end(process)
        assert adopted.status == 0, adopted.err
        assert self.arrived() >= expected

    def arrived(self) -> Counter[bytes]:
        """How often each span was acknowledged; those of the adopting process are not counted."""
        return Counter(span.span_id for span in self.collector.spans if span.name != "wait")

    def on_disk(self) -> Counter[bytes]:
        """The identifiers of the spans in the segments of all processes, dead or alive."""
        found: Counter[bytes] = Counter()
        for folder in segment.process_folders(str(self.state)):
            for path in segment.segment_paths(folder):
                for record in segment.records(Path(path).read_bytes()):
                    if record.signal == segment.SPAN:
                        found.update(span.span_id for span in ScopeSpans.FromString(record.payload).spans)
        return found

    def close(self) -> None:
        """End what is still running, with its children."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def default_signals() -> None:
    """Whoever runs these tests may have been started to ignore some."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def resources(collector: Collector) -> Iterator[tuple[dict[str, Any], Any]]:
    """Walk what was acknowledged: the attributes of the resource and the span."""
    for _, message in collector.messages:
        for part in message.resource_spans:
            attributes = {
                pair.key: pair.value.int_value or pair.value.string_value for pair in part.resource.attributes
            }
            for scope in part.scope_spans:
                for span in scope.spans:
                    yield attributes, span


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Wait for a condition that nobody announces."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
