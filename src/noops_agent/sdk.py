"""Drop-ins for the classes of `opentelemetry-sdk`, on our core."""

from typing import TYPE_CHECKING, Any

from ._core import Span
from ._signals.limits import SpanLimits
from ._signals.resource import Resource
from ._signals.trace import InstrumentationScope, SpanProcessors, Tracer, TracerProvider

if TYPE_CHECKING:
    from ._signals.metric import Meter, MeterProvider

__all__ = [
    "InstrumentationScope",
    "Meter",
    "MeterProvider",
    "Resource",
    "Span",
    "SpanLimits",
    "SpanProcessors",
    "Tracer",
    "TracerProvider",
]


def __getattr__(name: str) -> Any:
    """Load the metrics when they are first asked for."""
    if name in ("Meter", "MeterProvider"):
        from ._signals import metric

        return getattr(metric, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
