"""How much a span may hold, in the shape of the SDK's class."""

from __future__ import annotations

from .._config import Settings, load
from .._core.model import sdk_face

GENERAL = ("default", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
"""Origins of a setting over which the general argument wins."""

COUNTS = ("span_attribute_count_limit", "event_attribute_count_limit", "link_attribute_count_limit")


class SpanLimits:
    """Drop-in for `opentelemetry.sdk.trace.SpanLimits`: same arguments, same attributes.

    A limit is its argument, else its own variable, else the general argument (`max_attributes`,
    `max_attribute_length`), else the general variable, else the default. None as a result means no limit.

    Raises:
        ValueError: An argument is neither None, `UNSET` (no limit) nor a whole number from 0 up.
    """

    UNSET = -1

    def __init__(
        self,
        max_attributes: int | None = None,
        max_events: int | None = None,
        max_links: int | None = None,
        max_span_attributes: int | None = None,
        max_event_attributes: int | None = None,
        max_link_attributes: int | None = None,
        max_attribute_length: int | None = None,
        max_span_attribute_length: int | None = None,
    ) -> None:
        settings = load()
        if max_attributes == self.UNSET:  # the SDK takes it as not given, too: there is a limit for each
            max_attributes = None
        length = "span_attribute_value_length_limit"
        general = [getattr(settings, name) for name in COUNTS if settings.origin(name) in GENERAL]
        self.max_attributes = checked(max_attributes, general[0] if general else 128)
        self.max_events = chosen(max_events, None, settings, "span_event_count_limit")
        self.max_links = chosen(max_links, None, settings, "span_link_count_limit")
        self.max_span_attributes = chosen(max_span_attributes, max_attributes, settings, COUNTS[0])
        self.max_event_attributes = chosen(max_event_attributes, max_attributes, settings, COUNTS[1])
        self.max_link_attributes = chosen(max_link_attributes, max_attributes, settings, COUNTS[2])
        self.max_attribute_length = checked(max_attribute_length, getattr(settings, length))
        self.max_span_attribute_length = chosen(max_span_attribute_length, max_attribute_length, settings, length)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face("opentelemetry.sdk.trace", "SpanLimits", SpanLimits)

    def __repr__(self) -> str:
        return f"SpanLimits({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


def chosen(given: int | None, general: int | None, settings: Settings, name: str) -> int | None:
    """Find one limit among its argument, the general argument and its setting."""
    if given is None and settings.origin(name) in GENERAL:
        given = general
    return checked(given, getattr(settings, name))


def checked(given: int | None, default: int | None) -> int | None:
    """Give an argument as a limit, or the default where there is none."""
    if given is None:
        return default
    if given == SpanLimits.UNSET:
        return None
    if type(given) is not int or given < 0:
        raise ValueError(f"a limit is None, SpanLimits.UNSET or a whole number from 0 up, not {given!r}")
    return given
