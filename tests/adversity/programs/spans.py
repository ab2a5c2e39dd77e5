"""Spans whose identifiers are printed once they have ended."""

import os

import noops_agent


def record(name="span", **attributes):
    """Record one span, and print its identifier in one write."""
    with noops_agent.span(name, **attributes) as span:
        pass
    tell(span)


def tell(span):
    """Print the identifier of a span that has ended, and the process."""
    context = span.get_span_context()
    if context.is_valid:
        os.write(1, f"{context.span_id:016x} {os.getpid()}\n".encode())
