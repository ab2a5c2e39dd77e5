"""Context in and out of the headers that calls travel with."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import Getter, default_getter
from opentelemetry.trace.propagation import _SPAN_KEY, set_span_in_context

from .. import _core
from .._signals.propagation import Composite, textmap

if TYPE_CHECKING:
    from .._core.course import Pairs as Pairs
    from .._core.course import plain_header
    from .._core.python import remote_parent
else:
    Pairs, plain_header, remote_parent = _core.Pairs, _core.plain_header, _core.remote_parent

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


def inject(carrier: Any, span: Any, parent: Context | None) -> None:
    """Write the headers of a span, and the baggage of its context, into a mapping or through a function."""
    propagator = textmap()
    if type(propagator) is Composite and propagator.standard:
        header = plain_header(span, parent)
        if header is not None:  # the usual case, at a sixth of what asking each propagator costs
            if callable(carrier):
                carrier("traceparent", header)
            else:
                carrier["traceparent"] = header
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
            parent = remote_parent(header)
            if parent is not None:
                return parent
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
