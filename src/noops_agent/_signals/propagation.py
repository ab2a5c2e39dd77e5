"""How context travels between services: W3C Trace Context and Baggage, and propagators of installed packages.

What comes in is read strictly and never raises; what is no valid header is passed over and counted.

Source: W3C Trace Context Level 2, sections 3.2 and 3.3; W3C Baggage, section 3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from opentelemetry import baggage, trace
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import (
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)

from .. import _core
from .._diagnostics import count, say
from .._imports import on_import

OWS = " \t"


def texts(getter: Getter[Any], carrier: Any, name: str) -> list[str]:
    """Give the values of a header, whatever the getter and the carrier make of it."""
    try:
        values: Any = getter.get(carrier, name)
        if values is None:
            return []
        if isinstance(values, (str, bytes)):
            values = [values]
        found = [str(value, "latin-1") if isinstance(value, bytes) else value for value in values]
        return [value for value in found if isinstance(value, str)]
    except Exception:
        count("propagation.carrier_failed")
        return []


# ---- W3C Trace Context -----------------------------------------------------------------------------------

MAX_MEMBERS = 32
MAX_STATE_READ = 16384
MAX_STATE = 4096
"""Characters of tracestate that are passed on: servers commonly refuse a header line of more than 8 KiB."""
LARGE_MEMBER = 128

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_KEY = _FIRST | frozenset("_-*/@")
_CHARACTER = frozenset(map(chr, range(0x20, 0x7F))) - frozenset(",=")


def parse_tracestate(headers: Iterable[str]) -> trace.TraceState | None:
    """Read `tracestate` headers, in their order; None where a rule is broken: then all of it is dropped.

    Of members with the same key the first is kept: it is the newest.
    """
    joined = ",".join(headers)
    if len(joined) > MAX_STATE_READ:
        return None
    listed = [member for part in joined.split(",") if (member := part.strip(OWS))]
    if len(listed) > MAX_MEMBERS:
        return None
    members: dict[str, str] = {}
    for member in listed:
        key, _, value = member.partition("=")
        if not valid_key(key) or not valid_value(value):
            return None
        members.setdefault(key, value)
    return make_tracestate(within_limit(members))


def valid_key(key: str) -> bool:
    """Whether this is a key of tracestate: a lower-case letter or digit, and up to 255 characters more."""
    return 0 < len(key) <= 256 and key[0] in _FIRST and _KEY.issuperset(key)


def valid_value(value: str) -> bool:
    """Whether this is a value of tracestate: 1 to 256 printable characters, no `,` or `=`, no space last."""
    return 0 < len(value) <= 256 and value[-1] != " " and _CHARACTER.issuperset(value)


def within_limit(members: dict[str, str]) -> dict[str, str]:
    """Leave out members until the rest fits `MAX_STATE`: large ones first, then from the end."""
    sizes = {key: len(key) + len(value) + 2 for key, value in members.items()}
    over = sum(sizes.values()) - 1 - MAX_STATE
    for least in (LARGE_MEMBER + 2, 0):
        for key in reversed(sizes):
            if over > 0 and key in members and sizes[key] > least:
                over -= sizes[key]
                del members[key]
    return members


def make_tracestate(members: dict[str, str]) -> trace.TraceState:
    """Make the API's object of checked members; the API's own check refuses keys that Level 2 allows."""
    state = trace.TraceState()
    state._dict = members
    return state


class TraceContextPropagator(TextMapPropagator):
    """The `traceparent` and `tracestate` headers."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Read the remote parent; without a valid one the context is given back as it is."""
        context = Context() if context is None else context
        headers = texts(getter, carrier, "traceparent")
        if not headers:
            return context
        read = _core.parse_traceparent(headers[0].strip(OWS)) if len(headers) == 1 else None
        if read is None:
            count("propagation.traceparent_invalid")
            return context
        states = texts(getter, carrier, "tracestate")
        state = parse_tracestate(states) if states else None
        if states and state is None:
            count("propagation.tracestate_invalid")
        trace_id, span_id, flags = read
        parent = trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags & 3), state)
        return trace.set_span_in_context(trace.NonRecordingSpan(parent), context)

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Write the current span's headers."""
        span: Any = trace.get_current_span(context)
        if type(span) is _core.Span:
            setter.set(carrier, "traceparent", span.traceparent)
            state = span.trace_state_header
        else:
            parent = span.get_span_context()
            if not parent.is_valid:
                return
            header = _core.format_traceparent(parent.trace_id, parent.span_id, parent.trace_flags)
            setter.set(carrier, "traceparent", header)
            state = parent.trace_state.to_header()
        if state:
            setter.set(carrier, "tracestate", state)

    @property
    def fields(self) -> set[str]:
        """The headers that `inject` may write."""
        return {"traceparent", "tracestate"}


# ---- W3C Baggage -----------------------------------------------------------------------------------------

MAX_BAGGAGE = 8192
MAX_BAGGAGE_MEMBERS = 180
"""The specification asks for 64 and for 8192 bytes at least."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_OCTET = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('",;\\')


class BaggagePropagator(TextMapPropagator):
    """The `baggage` header."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Read the baggage; members that are none are passed over."""
        context = Context() if context is None else context
        for key, value in parse_baggage(texts(getter, carrier, "baggage")).items():
            context = baggage.set_baggage(key, value, context)
        return context

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Write the baggage that fits the limits."""
        header = format_baggage(baggage.get_all(context))
        if header:
            setter.set(carrier, "baggage", header)

    @property
    def fields(self) -> set[str]:
        """The header that `inject` may write."""
        return {"baggage"}


def parse_baggage(headers: Iterable[str]) -> dict[str, str]:
    """Read `baggage` headers within the limits; the properties of a member are left out."""
    joined = ",".join(headers)
    if len(joined) > MAX_BAGGAGE:
        count("propagation.baggage_dropped")
        joined = joined[: MAX_BAGGAGE + 1].rpartition(",")[0]
    found: dict[str, str] = {}
    for member in joined.split(","):
        key, separator, value = member.partition(";")[0].partition("=")
        key, value = key.strip(OWS), value.strip(OWS)
        if separator and key and _TOKEN.issuperset(key) and _OCTET.issuperset(value):
            if len(found) == MAX_BAGGAGE_MEMBERS:
                count("propagation.baggage_dropped")
                break
            found[unquote(key)] = unquote(value)
        elif member.strip(OWS):
            count("propagation.baggage_invalid")
    return found


def format_baggage(entries: Mapping[str, object]) -> str:
    """Write baggage as a header; entries past the limits are left out and counted."""
    members: list[str] = []
    room = MAX_BAGGAGE + 1
    for key, value in entries.items():
        member = f"{encoded(key, '!#$&^`|')}={encoded(value, '!#$&()*/:<=>?@[]^`{|}')}"
        if member[0] == "=" or len(member) >= room or len(members) == MAX_BAGGAGE_MEMBERS:
            count("propagation.baggage_dropped")
        else:
            members.append(member)
            room -= len(member) + 1
    return ",".join(members)


def encoded(value: object, plain: str) -> str:
    """Percent-encode UTF-8 text but for letters, digits, `_.-~` and *plain*.

    A plus sign is encoded too: readers that take baggage for a form would make a space of it.
    """
    return quote(str(value), plain, errors="replace")


# ---- which ones ------------------------------------------------------------------------------------------

PACKAGES = {
    "b3": "opentelemetry-propagator-b3",
    "b3multi": "opentelemetry-propagator-b3",
    "jaeger": "opentelemetry-propagator-jaeger",
    "xray": "opentelemetry-propagator-aws-xray",
    "ottrace": "opentelemetry-propagator-ot-trace",
}


class Composite(TextMapPropagator):
    """Several propagators as one; what one of them raises is counted and stays here."""

    def __init__(self, propagators: Iterable[TextMapPropagator]) -> None:
        self._propagators = tuple(propagators)
        kinds = [type(propagator) for propagator in self._propagators]
        self.standard = TraceContextPropagator in kinds and {*kinds} <= {TraceContextPropagator, BaggagePropagator}
        """Whether W3C trace context is written, and nothing but it and W3C baggage."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Read with each in turn."""
        context = Context() if context is None else context
        for propagator in self._propagators:
            try:
                context = propagator.extract(carrier, context, getter)
            except Exception:
                count("propagation.extract_failed")
        return context

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Write with each in turn."""
        for propagator in self._propagators:
            try:
                propagator.inject(carrier, context, setter)
            except Exception:
                count("propagation.inject_failed")

    @property
    def fields(self) -> set[str]:
        """The headers of all."""
        return {name for propagator in self._propagators for name in propagator.fields}


def make_propagator(names: Iterable[str]) -> Composite:
    """Make the propagator of a list of names, as `OTEL_PROPAGATORS` has it."""
    words = dict.fromkeys(name.strip().lower() for name in names)
    if "none" in words:
        return Composite(())
    return Composite(made for made in map(_one, words) if made is not None)


def _one(name: str) -> TextMapPropagator | None:
    if name == "tracecontext":
        return TraceContextPropagator()
    if name == "baggage":
        return BaggagePropagator()
    try:
        from importlib.metadata import entry_points

        for entry in entry_points(group="opentelemetry_propagator", name=name):
            made: TextMapPropagator = entry.load()()
            return made
        hint = f"; install {PACKAGES[name]}" if name in PACKAGES else ""
    except Exception as error:
        hint = f" ({error!r})"
    say("propagator.unknown", key=name, name=name, hint=hint)
    return None


# ---- the global one --------------------------------------------------------------------------------------

MODULE = "opentelemetry.propagate"

_installed: Composite | None = None
"""What `install` chose."""


def textmap() -> TextMapPropagator:
    """Give the global propagator, without importing the module that holds it where nothing else has."""
    global _installed
    module = sys.modules.get(MODULE)
    if module is not None:
        found: TextMapPropagator = module.get_global_textmap()
        return found
    if _installed is None:
        _installed = make_propagator(("tracecontext", "baggage"))
    return _installed


def install(names: Iterable[str]) -> Callable[[], None]:
    """Make ours the global propagator once `opentelemetry.propagate` is imported; gives what undoes it.

    It is not imported here: that would make it look for entry points in the metadata of all packages.
    """
    global _installed
    chosen = tuple(names)
    _installed = make_propagator(chosen)
    before: list[tuple[Any, TextMapPropagator, Composite]] = []

    def put(module: Any) -> None:
        try:
            ours = _installed or make_propagator(chosen)
            before.append((module, module.get_global_textmap(), ours))
            module.set_global_textmap(ours)
        except Exception:
            count("propagation.not_installed")

    forget = on_import(MODULE, put)

    def restore() -> None:
        global _installed
        _installed = None
        forget()
        for module, theirs, ours in before:
            if module.get_global_textmap() is ours:
                module.set_global_textmap(theirs)

    return restore
