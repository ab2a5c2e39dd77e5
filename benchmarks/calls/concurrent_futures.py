"""One task that is submitted in a span, to an executor with one worker."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.threading:ThreadingInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-threading"
DDTRACE = "futures"
REQUIRES = ()
OURS = ("concurrent_futures", "threading")


def prepare() -> Callable[[], object]:
    """Submitting, and waiting for the result."""
    from concurrent.futures import ThreadPoolExecutor

    from opentelemetry import context, trace

    pool = ThreadPoolExecutor(1)
    context.attach(trace.set_span_in_context(trace.get_tracer("benchmark").start_span("outer")))
    return lambda: pool.submit(int).result()
