"""One thread that is started in a span, does nothing, and is waited for."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.threading:ThreadingInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-threading"
DDTRACE = None
REQUIRES = ()


def prepare() -> Callable[[], object]:
    """Starting and joining."""
    import threading

    from opentelemetry import context, trace

    context.attach(trace.set_span_in_context(trace.get_tracer("benchmark").start_span("outer")))

    def call() -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    return call
