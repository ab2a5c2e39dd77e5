"""Ready-made metrics of the process and of the interpreter, measured for whatever meter provider the API has.

Nothing is loaded before somebody loads `opentelemetry.metrics`, without which there is no meter provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._imports import on_import

_running: Any = None
"""The measuring for the global meter provider, made once: observable instruments can't be taken back from a meter."""


def watch() -> Callable[[], None]:
    """Measure from when there can be a meter provider; gives what ends that."""
    forget = on_import("opentelemetry.metrics", start)

    def end() -> None:
        forget()
        if _running is not None:
            _running.stop()

    return end


def start(metrics: Any) -> None:
    """Measure for the global meter provider. Never raises.

    Args:
        metrics: The module `opentelemetry.metrics`.
    """
    global _running
    from ... import _diagnostics

    try:
        if _running is None:
            from .measuring import SCHEMA, SCOPE, Measuring

            _running = Measuring(metrics.get_meter(SCOPE, schema_url=SCHEMA))
        _running.start()
    except Exception as error:
        _diagnostics.say("runtime.failed", error=repr(error))
