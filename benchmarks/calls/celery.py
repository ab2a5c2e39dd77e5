"""One task run at once (`apply`), which is what a worker does with each message besides talking to its broker."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.celery:CeleryInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-celery"
DDTRACE = "celery"
REQUIRES = ("celery",)


def prepare() -> Callable[[], object]:
    """Make an application; the task's tracer is built once, as a worker does."""
    import celery
    from celery.app import trace

    app = celery.Celery("calls", broker="memory://")

    @app.task(name="nothing", ignore_result=True)
    def nothing() -> None:
        """Do nothing."""

    app.finalize()
    run = trace.build_tracer("nothing", app.tasks["nothing"], app=app)
    request = {"id": "1", "task": "nothing", "delivery_info": {"exchange": "", "routing_key": "celery"}, "retries": 0}
    return lambda: run("1", (), {}, dict(request))
