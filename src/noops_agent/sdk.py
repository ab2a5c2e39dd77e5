"""Drop-ins for the classes of `opentelemetry-sdk`, on our core."""

from ._core import Span
from ._signals.limits import SpanLimits
from ._signals.resource import Resource
from ._signals.trace import InstrumentationScope, SpanProcessors, Tracer, TracerProvider

__all__ = ["InstrumentationScope", "Resource", "Span", "SpanLimits", "SpanProcessors", "Tracer", "TracerProvider"]
