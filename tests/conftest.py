"""Fixtures of all tests: both cores, a state folder of one's own, and no trace of one test in the next."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from noops_agent import _core, _diagnostics
from noops_agent._core import model, python, segment

native = python if _core.NAME == "python" else _core.chosen
CORES = list(dict.fromkeys([native, python]))
SPAN_SCOPE = b"\x0a\x06\x0a\x04test"


# A shell that starts the tests in the background lets them ignore these, and so every program that they start.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


# A machine that decides whether a change lands tries the same examples each time; all others look for new ones.
# How long one takes says nothing.
settings.register_profile("new", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("new"), derandomize=True)
settings.load_profile("same" if os.environ.get("CI") else "new")


class Always:
    """A sampler that takes everything."""

    static = (1.0, 1.0, 1.0, 1.0, 1.0)


class Never:
    """A sampler that takes nothing."""

    static = (0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(params=CORES, ids=lambda core: core.NAME)
def core(request: pytest.FixtureRequest) -> ModuleType:
    """Each core in turn."""
    chosen: ModuleType = request.param
    return chosen


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "NOOPS_")) and name != "NOOPS_CORE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NOOPS_STATE_DIR", str(tmp_path / "state"))
    _diagnostics.reset()
    logging.disable(logging.NOTSET)  # a library under test may have configured logging, and silenced all others
    logging.getLogger().setLevel(logging.WARNING)
    ours = logging.getLogger("noops_agent")
    ours.disabled, ours.propagate = False, True


class Bench:
    """A core's tracer with a recorder, and what it recorded, decoded by the official messages."""

    def __init__(self, core: ModuleType, folder: str | None, limits: Any = None, sampler: Any = None) -> None:
        self.core = core
        self.recorder = core.Recorder(folder, 1 << 20, bytes(16))
        self.tracing = core.Tracing(sampler or Always(), limits or model.Limits(), core.ProcessorList(), None)
        self.tracing.recorder = self.recorder
        scope = self.recorder.scope(self.recorder.resource(b""), SPAN_SCOPE)
        self.tracer = core.Tracer(self.tracing, None, scope)

    def request(self, collect: Any = None) -> Any:
        """All spans of the newest segment as an ExportTraceServiceRequest."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        newest = self.recorder.segments()[-1]
        body, _, _ = (collect or self.core.collect)(
            newest.memory, segment.HEADER_BYTES, newest.used, segment.SPAN, 1 << 30, 1 << 30
        )
        return ExportTraceServiceRequest.FromString(body)

    def spans(self) -> list[Any]:
        """All spans recorded so far, oldest first; across segments."""
        from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

        found: list[Any] = []
        for part in self.recorder.segments():
            for record in segment.records(part.memory, segment.HEADER_BYTES, part.used):
                if record.signal == segment.SPAN:
                    found.extend(ScopeSpans.FromString(record.payload).spans)
        return found


@pytest.fixture
def bench(core: ModuleType, tmp_path: Any) -> Iterator[Bench]:
    """A tracer and recorder of each core in turn."""
    made = Bench(core, str(tmp_path / "state"))
    yield made
    made.recorder.close()
