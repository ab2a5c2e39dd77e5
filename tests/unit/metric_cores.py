"""Both cores of the metrics, and a current span for exemplars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from noops_agent import _core
from noops_agent._core import aggregation
from noops_agent._core.measured import Shape

CORES: list[ModuleType] = list(dict.fromkeys([_core.measuring, aggregation]))
TRACE_ID, SPAN_ID = 0x0123456789ABCDEF0123456789ABCDEF, 0x0123456789ABCDEF


@contextmanager
def current_span(sampled: bool = True, span_id: int = SPAN_ID) -> Iterator[Any]:
    """A span of another implementation is the current one."""
    context = SpanContext(TRACE_ID, span_id, False, TraceFlags(1 if sampled else 0))
    token = context_api.attach(set_span_in_context(NonRecordingSpan(context)))
    try:
        yield context
    finally:
        context_api.detach(token)


def instrument(core: ModuleType, *shapes: Shape, kind: str = "Adding", signed: bool = True) -> Any:
    """An instrument with a stream of each shape."""
    made = getattr(core, kind)()
    made.signed = signed
    made.streams = tuple(core.Stream(shape) for shape in shapes)
    return made


def values(stream: Any, now_ns: int = 1) -> list[tuple[dict[str, Any], Any]]:
    """Attributes and value of each point."""
    return [(attributes, value) for attributes, _, value, _ in stream.collect(now_ns)]
