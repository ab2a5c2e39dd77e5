"""Context in and out of the headers that calls travel with."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import Getter, default_getter
from opentelemetry.trace.propagation import _SPAN_KEY, set_span_in_context

from .. import _core
from .._signals.propagation import Composite, textmap

P = ParamSpec("P")
R = TypeVar("R")


class _Setter:
    """Writes into a mapping, or through a function."""

    def set(self, carrier: Any, key: str, value: str) -> None:
        """Write one header."""
        if callable(carrier):
            carrier(key, value)
        else:
            carrier[key] = value


_SETTER: Any = _Setter()
_ROOT = Context()
_FLAGS = tuple(map(trace.TraceFlags, range(4)))


def inject(carrier: Any, span: Any, parent: Context | None) -> None:
    """Write the headers of a span, and the baggage of its context, into a mapping or through a function."""
    propagator = textmap()
    if type(propagator) is Composite and propagator.standard and type(span) is _core.Span:
        context = context_api.get_current() if parent is None else parent
        if _BAGGAGE_KEY not in context and not span.trace_state_header:
            # the usual case, at a third of what asking each propagator costs
            if callable(carrier):
                carrier("traceparent", span.traceparent)
            else:
                carrier["traceparent"] = span.traceparent
            return
    propagator.inject(carrier, set_span_in_context(span, parent), _SETTER)


def extract(carrier: Any, getter: Getter[Any] | None = None) -> Context:
    """Read the context that a carrier brings: remote parent and baggage. It is a root where there is none.

    Args:
        carrier: A mapping of lower-case names to a text or to a list of texts, or what *getter* understands.
        getter: How to read it; None: as a mapping.
    """
    propagator = textmap()
    plain = getter is None or getattr(getter, "plain", False)
    if plain and type(carrier) is dict and type(propagator) is Composite and propagator.standard:
        header = carrier.get("traceparent")
        if type(header) is bytes:
            header = header.decode("latin-1")
        if "tracestate" not in carrier and "baggage" not in carrier:
            # the usual case again; what is no good header is counted where it is read in full
            if header is None:
                return _ROOT
            read = _core.parse_traceparent(header)
            if read is not None:
                parent = trace.SpanContext(read[0], read[1], True, _FLAGS[read[2] & 3])
                return Context({_SPAN_KEY: trace.NonRecordingSpan(parent)})
    return propagator.extract(carrier, _ROOT, getter or default_getter)


def link_to(carrier: Any, getter: Getter[Any] | None = None) -> trace.Link | None:
    """Make a link to the span whose headers a carrier brings; None where it brings none."""
    span = extract(carrier, getter).get(_SPAN_KEY)
    context = None if span is None else span.get_span_context()  # type: ignore[attr-defined]
    return trace.Link(context) if context is not None and context.is_valid else None


def carried(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function run in the OpenTelemetry context that is current now, wherever it is called.

    Other context variables are those of the caller, as they would be without us.
    """
    context = context_api.get_current()
    if not context:
        return function

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        token = context_api.attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            context_api.detach(token)

    return call


class Pairs:
    """Headers that are a list of pairs, copied from the caller's, which are never changed; where an injector writes to.

    Args:
        given: The caller's pairs; None or empty: it has none.
        encoded: Whether values are bytes.
    """

    __slots__ = ("_encoded", "pairs")

    def __init__(self, given: Any, encoded: bool = False) -> None:
        self.pairs: list[Any] = list(given) if given else []
        self._encoded = encoded

    def __call__(self, key: str, value: str) -> None:
        """Set a header: it takes the place of one that came with what the caller hands on."""
        pairs = self.pairs
        for pair in pairs:
            if pair[0] == key:
                pairs[:] = [other for other in pairs if other[0] != key]
                break
        pairs.append((key, value.encode("latin-1") if self._encoded else value))
