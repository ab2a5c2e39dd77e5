"""Instrumentation of other libraries: what an integration says of one, and switching them on and off.

    from noops_agent.instrument import CLIENT, Call, Hook, Instrumentation

    def _get(client, args, kwargs):
        return Call(f"GET {args[0]}", {"app.key": args[0]})

    INSTRUMENTATION = Instrumentation(
        "mycache", distribution="mycache", hooks=(Hook("mycache:Client.get", CLIENT, _get),)
    )

A package offers its own by the entry point group `noops_agent.instrumentation`: the name is the module whose import
brings it in, the value the place of the `INSTRUMENTATION`.
"""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from .._core import suppressed
from .carriers import carried, extract, link_to
from .hook import CONSUMED, RETURNED, After, Before, Hook, Quiet
from .live import Live
from .model import (
    LEFT_ALONE,
    NOT_AN_ERROR,
    Args,
    Attributes,
    Call,
    Duration,
    Instrumentation,
    Kwargs,
    Measure,
    Options,
)
from .operation import Operation
from .patch import Patch
from .registry import Handle, enable

INTERNAL = SpanKind.INTERNAL
SERVER = SpanKind.SERVER
CLIENT = SpanKind.CLIENT
PRODUCER = SpanKind.PRODUCER
CONSUMER = SpanKind.CONSUMER

__all__ = [
    "CLIENT",
    "CONSUMED",
    "CONSUMER",
    "INTERNAL",
    "LEFT_ALONE",
    "NOT_AN_ERROR",
    "PRODUCER",
    "RETURNED",
    "SERVER",
    "After",
    "Args",
    "Attributes",
    "Before",
    "Call",
    "Duration",
    "Handle",
    "Hook",
    "Instrumentation",
    "Kwargs",
    "Live",
    "Measure",
    "Operation",
    "Options",
    "Patch",
    "Quiet",
    "carried",
    "enable",
    "extract",
    "link_to",
    "suppressed",
]
