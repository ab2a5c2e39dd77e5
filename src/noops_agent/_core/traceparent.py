"""The W3C `traceparent` header: read and written.

Source: W3C Trace Context Level 2, section 3.2.
"""

from __future__ import annotations

SAMPLED, RANDOM = 0x01, 0x02
_HEX = frozenset("0123456789abcdef")


def parse_traceparent(value: object) -> tuple[int, int, int] | None:
    """Read a header: (trace id, span id, flags), or None where it is not one.

    Args:
        value: Anything; a version above 00 may have more fields behind the flags, which are passed over.
    """
    if type(value) is not str or len(value) < 55 or value[2] != "-" or value[35] != "-" or value[52] != "-":
        return None
    version, trace_id, span_id, flags = value[:2], value[3:35], value[36:52], value[53:55]
    if not _HEX.issuperset(version + trace_id + span_id + flags) or version == "ff":
        return None
    if len(value) > 55 and (version == "00" or value[55] != "-"):
        return None
    trace, span = int(trace_id, 16), int(span_id, 16)
    return (trace, span, int(flags, 16)) if trace and span else None


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Write a header of version 00; flags that the specification does not know are left out."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags & (SAMPLED | RANDOM):02x}"
