"""The peers: how each is set up inside its own environment, as its documentation tells.

A worker imports nothing of a peer before `start`, so variables that are read at import can be set here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

NOTHING = "nothing"
"""Target of a peer that ships nowhere: our local store, an SDK exporter that only counts."""


class Running(NamedTuple):
    """A peer at work in this process."""

    open_span: Callable[..., Any]
    """`start_as_current_span(name, attributes=...)`; for ddtrace its `tracer.trace(name)`."""
    flush: Callable[[], object]
    stop: Callable[[], object]
    lost: Callable[[int], int]
    """Given the spans that ended, says how many of them the peer dropped; 0 where only the sink can tell."""
    family: str = "otel"
    """Which bodies of the ladder speak its interface: `otel`, `ddtrace` or `bare`."""
    own: Callable[..., Any] | None = None
    """The peer's shorter form `span(name, **attributes)`, where it has one."""


class Peer(NamedTuple):
    """A peer as the driver knows it."""

    title: str
    environment: str
    start: Callable[[str, str], Running]
    variables: dict[str, str]


def nothing() -> None:
    """Do nothing."""


def none_lost(ended: int) -> int:
    """Say that nothing was dropped."""
    return 0


def start_noops(state: str, url: str) -> Running:
    """Start our agent; *state* is `off`, `unsampled` or `recorded`."""
    import noops_agent

    if state == "off":
        return Running(noops_agent.span, nothing, nothing, none_lost)
    from opentelemetry import trace

    folder = tempfile.mkdtemp(prefix="noops-bench-")
    settings: dict[str, Any] = {"exporters": ("local",)} if url == NOTHING else {"endpoint": url}
    if state == "unsampled":
        settings["sampler"] = "always_off"
    noops_agent.init(service_name="bench", state_dir=folder, **settings)

    def stop() -> None:
        noops_agent.shutdown()
        shutil.rmtree(folder, ignore_errors=True)

    def lost(ended: int) -> int:
        return int(noops_agent.stats().get("spans.dropped", 0))

    open_span = trace.get_tracer("bench").start_as_current_span
    return Running(open_span, noops_agent.flush, stop, lost, own=noops_agent.span)


def start_sdk(state: str, url: str) -> Running:
    """Start opentelemetry-sdk with its batch processor, every setting at its default."""
    if state == "off":
        os.environ["OTEL_SDK_DISABLED"] = "true"
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

    sampler = ALWAYS_OFF if state == "unsampled" else ParentBased(ALWAYS_ON)
    provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": "bench"}))
    exporter, lost = sdk_exporter(url)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    open_span = trace.get_tracer("bench").start_as_current_span
    if state != "recorded":
        lost = none_lost
    return Running(open_span, provider.force_flush, provider.shutdown, lost)


def sdk_exporter(url: str) -> tuple[Any, Callable[[int], int]]:
    """Make the SDK's OTLP/HTTP exporter, or one that only counts what reaches it."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    if url != NOTHING:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=url + "/v1/traces"), none_lost

    class Counting(SpanExporter):
        received = 0

        def export(self, spans: Any) -> Any:
            self.received += len(spans)
            return SpanExportResult.SUCCESS

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

        def shutdown(self) -> None:
            pass

    counting = Counting()
    return counting, lambda ended: ended - counting.received


def start_ddtrace(state: str, url: str) -> Running:
    """Start ddtrace's tracer; what isn't tracing (telemetry, remote configuration) is off, in its favour."""
    os.environ["DD_SERVICE"] = "bench"
    os.environ["DD_TRACE_AGENT_URL"] = url
    if state == "off":
        os.environ["DD_TRACE_ENABLED"] = "false"
    if state == "unsampled":
        os.environ["DD_TRACE_SAMPLING_RULES"] = '[{"sample_rate": 0}]'
    from ddtrace.trace import tracer

    return Running(tracer.trace, tracer.flush, tracer.shutdown, none_lost, "ddtrace")


def start_api(state: str, url: str) -> Running:
    """Use the API with no SDK: what a library's spans cost where nobody listens."""
    from opentelemetry import trace

    return Running(trace.get_tracer("bench").start_as_current_span, nothing, nothing, none_lost)


def start_bare(state: str, url: str) -> Running:
    """Make no spans at all."""
    return Running(nothing, nothing, nothing, none_lost, "bare")


QUIET_DDTRACE = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}

PEERS = {
    "bare": Peer("no spans", "noops", start_bare, {}),
    "noops": Peer("noops_agent", "noops", start_noops, {"NOOPS_CORE": "native"}),
    "noops-python": Peer("noops_agent, Python core", "noops", start_noops, {"NOOPS_CORE": "python"}),
    "api": Peer("API, no SDK", "api", start_api, {}),
    "sdk": Peer("opentelemetry-sdk", "sdk", start_sdk, {}),
    "calls": Peer("calls of libraries", "calls", start_bare, {}),
    "ddtrace": Peer("ddtrace", "ddtrace", start_ddtrace, QUIET_DDTRACE),
}
