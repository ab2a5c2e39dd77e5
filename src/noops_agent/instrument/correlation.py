"""Trace and span id on records of the standard library's `logging`.

`trace_id`, `span_id` and `trace_flags` are the names of the OpenTelemetry specification 1.60,
compatibility/logging_trace_context.md; the `otel...` ones those that formats written for OpenTelemetry's own
instrumentation of `logging` hold.
"""

from __future__ import annotations

import functools
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace.propagation import _SPAN_KEY

from .. import _core
from .live import Live
from .patch import Patch, Wrapper

_ODD = frozenset("13579bdf")
"""Last digits of flags that say: sampled."""


class Correlates(Patch):
    """A method that handles a log record: the record gets its fields before.

    That is later than a record factory would add them, on purpose: a factory is replaced by the application's own, and
    a `trace_id` that it made would make `extra={"trace_id": ...}` raise. What is there already is left as it is.
    """

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        service = service_name(live.tracer)
        core_span, header_of = _core.Span, traceparent

        @functools.wraps(original)
        def handle(logger: Any, record: Any) -> Any:
            if live.on:
                try:
                    span: Any = get_current().get(_SPAN_KEY)
                    header = span.traceparent if type(span) is core_span else header_of(span)
                    fill(record.__dict__, header, service)
                except Exception as error:
                    live.failed("logging", error)
            return original(logger, record)

        return handle


def fill(fields: dict[str, Any], header: str, service: str) -> None:
    """Add the fields to a record's: empty, or "0" as formats expect it, where no span is current."""
    add = fields.setdefault
    if header:
        trace_id, span_id, flags = header[3:35], header[36:52], header[53:]
        add("otelTraceID", trace_id)
        add("otelSpanID", span_id)
        add("otelTraceSampled", flags[1] in _ODD)
        add("otelServiceName", service)
        add("trace_id", trace_id)
        add("span_id", span_id)
        add("trace_flags", flags)
        return
    add("otelTraceID", "0")
    add("otelSpanID", "0")
    add("otelTraceSampled", False)
    add("otelServiceName", service)
    add("trace_id", "")
    add("span_id", "")
    add("trace_flags", "")


def traceparent(span: Any) -> str:
    """Give the header of a span that is not of our core; empty where there is none, or no valid one."""
    context = None if span is None else span.get_span_context()
    if context is None or not context.is_valid:
        return ""
    return str(_core.format_traceparent(context.trace_id, context.span_id, context.trace_flags))


def service_name(tracer: Any) -> str:
    """Give the name of the service that a tracer's spans come from."""
    resource = getattr(tracer, "resource", None)
    return "" if resource is None else str(resource.attributes.get("service.name", ""))
