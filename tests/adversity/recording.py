"""A recorder, its pipeline, and spans whose identifiers are counted, so that each can be looked for later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from noops_agent import _export
from noops_agent._config import load
from noops_agent._core import segment
from noops_agent._export.pipeline import Pipeline
from noops_agent._export.sink import DELIVERED, Answer

RESOURCE = ResourceSpans(resource=Resource()).SerializeToString()
SCOPE = ScopeSpans(scope=InstrumentationScope(name="recording")).SerializeToString()


def span_record(number: int, size_bytes: int = 0) -> bytes:
    """Encode one span as the payload of a record; its identifier is *number*."""
    span = Span(
        trace_id=(1).to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name=f"span {number}" + "x" * size_bytes,
        start_time_unix_nano=number,
        end_time_unix_nano=number + 1,
    )
    return ScopeSpans(spans=[span]).SerializeToString()


def identifiers(numbers: Sequence[int] | range) -> set[bytes]:
    """The span identifiers of these numbers."""
    return {number.to_bytes(8, "big") for number in numbers}


class Recording:
    """What `_lifecycle` wires, with settings of one's own."""

    def __init__(self, core: ModuleType, folder: Any, sinks: list[Any] | None = None, **settings: Any) -> None:
        defaults = {"state_dir": str(folder), "export_interval_s": 0.01, "segment_bytes": 65536}
        self.settings = settings_of({**defaults, **settings})
        self.destination = _export.destination(self.settings)
        self.recorder = core.Recorder(self.settings.state_dir, self.settings.segment_bytes, self.destination)
        self._scope = self.recorder.scope(self.recorder.resource(RESOURCE), SCOPE)
        opened = _export.open_sinks(self.settings) if sinks is None else sinks
        self.pipeline = Pipeline(self.recorder, opened, self.settings, self.destination)
        self._thread: threading.Thread | None = None

    def write(
        self, numbers: Sequence[int] | range, error: bool = False, size_bytes: int = 0, signal: int = segment.SPAN
    ) -> None:
        """Record one span for each number."""
        tag = signal | (segment.ERROR if error else 0)
        for number in numbers:
            assert self.recorder.append(tag, self._scope, span_record(number, size_bytes))

    def start(self) -> None:
        """Run the shipper."""
        self._thread = threading.Thread(target=self.pipeline.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the shipper and leave what is left."""
        self.pipeline.stop(5.0)
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive()
        self.recorder.close()


def settings_of(overrides: dict[str, Any]) -> Any:
    """Read settings from these alone."""
    return load(overrides, {}, "/")


class MemorySink:
    """Takes everything, or does as it is told."""

    signals: tuple[int, ...] = (segment.SPAN,)

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.answers: list[Answer] = []
        self.always: Answer | None = None
        self.taken: list[tuple[int, Any]] = []
        self.before: Callable[[], object] = lambda: None
        self.closed = self.forgotten = 0
        self.changed = threading.Condition()

    def send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        """Decode and keep the request, where that is the answer."""
        self.before()
        with self.changed:
            answer = self.answers.pop(0) if self.answers else self.always or Answer(DELIVERED)
            if answer.outcome == DELIVERED:
                self.taken.append((signal, body))
            self.changed.notify_all()
        return answer

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def forget(self) -> None:
        """Count it."""
        self.forgotten += 1

    def numbers(self) -> list[int]:
        """The numbers of all spans taken, in order."""
        found = []
        for signal, body in self.taken:
            if signal == segment.SPAN:
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        found += [int.from_bytes(span.span_id, "big") for span in scope.spans]
        return found

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        """Wait for something to become true of this sink."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Wait for a condition that nobody announces."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
