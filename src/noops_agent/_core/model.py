"""The parts of a span that both cores share: events, links, limits, and the SDK's view of a span.

`isinstance` asks an object's `__class__` when its real type does not match. Our classes answer with a subclass
of the SDK's class once an application has imported the SDK, so its checks hold and we never import it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from .values import clean, text_of

KINDS = (SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)
STATUS_CODES = (StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR)
UNSET = Status(StatusCode.UNSET)


class Limits(NamedTuple):
    """How much one span may hold; None: no limit. Counts are items, lengths are characters (bytes of bytes).

    `value_length` is for the span's own attributes, `detail_length` for those of its events and links.
    """

    attributes: int | None = 128
    value_length: int | None = None
    detail_length: int | None = None
    events: int | None = 128
    links: int | None = 128
    event_attributes: int | None = 128
    link_attributes: int | None = 128


_faces: dict[tuple[str, str], type] = {}


def sdk_face(module: str, name: str, default: type) -> type:
    """Give a subclass of a class of the SDK where its module is loaded, else *default*."""
    loaded = sys.modules.get(module)
    if loaded is None:
        return default
    face = _faces.get((module, name))
    if face is None:
        base = getattr(loaded, name, None)
        if not isinstance(base, type):  # the module is only half imported
            return default
        face = _faces[module, name] = type(default.__name__, (base,), {"__module__": default.__module__})
    return face


def bounded(
    attributes: Mapping[str, Any] | None, count: int | None, length: int | None
) -> tuple[dict[str, Any] | None, int]:
    """Copy attributes within limits: the first *count* valid keys are kept, the rest is counted as dropped."""
    if not attributes:
        return None, 0
    kept: dict[str, Any] = {}
    dropped = 0
    try:
        pairs = list(attributes.items())
    except Exception:
        return None, 1
    for given, value in pairs:
        key = as_key(given)
        if not key or (count is not None and len(kept) >= count and key not in kept):
            dropped += 1
        else:
            kept[key] = clean(value, length)
    return kept, dropped


def as_key(given: Any) -> str:
    """Give the name of an attribute as a plain string; empty where it is none."""
    if type(given) is str:
        return given
    return str.__str__(given) if isinstance(given, str) else ""


def as_name(given: Any) -> str:
    """Give the name of a span or event as a plain string; what is no string is described."""
    return given if type(given) is str else text_of(given, None)


def as_time(given: Any, now_ns: int) -> int:
    """Read a time in nanoseconds since the epoch; *now_ns* where none is given, or none that could be sent."""
    try:
        time_ns = int(given)
    except Exception:
        return now_ns
    return time_ns if 0 <= time_ns < 1 << 63 else now_ns


class Attributes(dict[str, Any]):
    """Attributes as processors find them, under the private names of the SDK's class that redaction code uses."""

    _immutable = False

    @property
    def _dict(self) -> Attributes:
        return self


class Event:
    """Something that happened during a span; shaped like the SDK's class."""

    __slots__ = ("_attributes", "_name", "_timestamp", "dropped_attributes")

    def __init__(
        self, name: str, timestamp: int, attributes: dict[str, Any] | None, dropped_attributes: int
    ) -> None:
        self._name = name
        self._timestamp = timestamp
        self._attributes = Attributes(attributes or ())
        self.dropped_attributes = dropped_attributes

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face("opentelemetry.sdk.trace", "Event", Event)

    @property
    def name(self) -> str:
        """What happened."""
        return self._name

    @property
    def timestamp(self) -> int:
        """When, in nanoseconds since the epoch."""
        return self._timestamp

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes, read-only."""
        return MappingProxyType(self._attributes or {})

    def __repr__(self) -> str:
        return f"Event(name={self._name!r}, timestamp={self._timestamp}, attributes={self._attributes!r})"


def event_fields(event: Any) -> tuple[str, int, Mapping[str, Any], int]:
    """Read an event of ours or of the SDK's, on which a processor may have written."""
    return event.name, event.timestamp, dict(event.attributes or {}), event.dropped_attributes


def make_link(context: SpanContext, attributes: Mapping[str, Any] | None, limits: Limits) -> Link:
    """Make a link whose attributes are copied within limits."""
    kept, dropped = bounded(attributes, limits.link_attributes, limits.detail_length)
    held = BoundedAttributes(attributes=kept, immutable=True)
    held.dropped = dropped
    return Link(context, held)


def valid_link(context: Any, attributes: Any) -> bool:
    """Whether a link says anything that can be sent: a valid context, or attributes or trace state on another."""
    if not isinstance(context, SpanContext) or not (context.is_valid or attributes or context.trace_state):
        return False
    return 0 <= context.trace_id < 1 << 128 and 0 <= context.span_id < 1 << 64


def exception_attributes(
    error: BaseException, extra: Mapping[str, Any] | None, escaped: bool
) -> dict[str, Any]:
    """Describe an exception by the attributes of the convention.

    Source: OpenTelemetry semantic conventions 1.44, docs/exceptions/exceptions-spans.md.
    """
    kind = type(error)
    module = kind.__module__
    name = kind.__qualname__ if module in ("builtins", None) else f"{module}.{kind.__qualname__}"
    try:
        stack = "".join(traceback.format_exception(kind, error, error.__traceback__))
    except Exception:
        stack = name
    described: dict[str, Any] = {
        "exception.type": name,
        "exception.message": clean_message(error),
        "exception.stacktrace": stack,
        "exception.escaped": str(escaped),
    }
    try:
        described.update(extra or {})
    except Exception:
        pass
    return described


def clean_message(error: BaseException) -> str:
    """Give an exception's text; one whose `__str__` raises is told by its type."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__qualname__}>"


def make_status(status: Any, description: str | None) -> tuple[int, str | None] | None:
    """Read the arguments of `set_status`; None where they are no status."""
    if isinstance(status, Status):
        return status.status_code.value, status.description
    if isinstance(status, StatusCode):
        told = status is StatusCode.ERROR and description is not None
        return status.value, as_name(description) if told else None
    return None


def readable(span: Any) -> Any:
    """Copy a span into the SDK's `ReadableSpan`, as streaming exporters ask for with `_readable_span()`."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util import BoundedList

    limits = span._limits
    attributes = BoundedAttributes(attributes=span._attributes, immutable=True)
    attributes.dropped = span.dropped_attributes
    events = BoundedList.from_seq(limits.events, span.events)
    events.dropped = span.dropped_events
    links = BoundedList.from_seq(limits.links, span.links)
    links.dropped = span.dropped_links
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def to_json(span: Any, indent: int | None = 4) -> str:
    """Give a span as the SDK's `to_json` does."""
    return str(readable(span).to_json(indent))


def ask_sampler(
    sampler: Any, context: Any, trace_id: int, name: Any, kind: Any, attributes: Any, links: Any
) -> tuple[int, Any, TraceState | None]:
    """Ask a sampler: (0 drop, 1 record only or 2 record and sample; attributes; trace state).

    Raises:
        Exception: What the sampler raised, or that it gave no `SamplingResult`.
    """
    result = sampler.should_sample(context, trace_id, name, kind, attributes, links)
    decision = result.decision.value
    if decision not in (0, 1, 2):
        raise ValueError(f"{decision!r} is no decision")
    state = result.trace_state
    return decision, result.attributes, state if isinstance(state, TraceState) and state else None


def ask_id(generator: Any, call: str, bits: int) -> int:
    """Ask an identifier generator.

    Raises:
        Exception: What the generator raised, or that it gave no identifier of so many bits.
    """
    made: int = getattr(generator, call)()
    if type(made) is not int or not 0 < made < 1 << bits:
        raise ValueError(f"{made!r} is no identifier of {bits} bits")
    return made


def as_links(links: Any, limits: Limits) -> tuple[list[Link] | None, int]:
    """Copy the links of a new span: the newest within the limit, the rest counted as dropped."""
    if not isinstance(links, Iterable):
        return None, 0
    made = [
        make_link(link.context, link.attributes, limits)
        for link in links
        if isinstance(link, Link) and valid_link(link.context, link.attributes)
    ]
    if not made:
        return None, 0
    if limits.links is not None and len(made) > limits.links:
        return made[len(made) - limits.links :], len(made) - limits.links
    return made, 0
