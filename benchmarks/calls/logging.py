"""One line that is logged in a span, to a handler that does nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ["OTEL_PYTHON_LOG_CORRELATION"] = "true"  # contrib adds no field without it

CONTRIB = "opentelemetry.instrumentation.logging:LoggingInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-logging"
DDTRACE = "logging"
REQUIRES = ()


def prepare() -> Callable[[], object]:
    """A logger that stands alone."""
    import logging

    from opentelemetry import context, trace

    logger = logging.getLogger("benchmark")
    logger.propagate = False
    logger.handlers[:] = [logging.NullHandler()]
    context.attach(trace.set_span_in_context(trace.get_tracer("benchmark").start_span("outer")))
    return lambda: logger.error("hello")
