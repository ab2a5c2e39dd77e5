"""`noops-agent show`: the newest traces recorded on this machine, as trees."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Mapping
from typing import Any

from .._config import load
from .terminal import DIM, open_terminal
from .traces import Found, Query, Span, Trace, attributes_of, find_traces
from .tree import Picture, plural

DEFAULT_LIMIT = 5
STATUS = ("unset", "ok", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "trace_id", nargs="?", default="", type=identifier, help="one trace, by the beginning of its identifier"
    )
    parser.add_argument(
        "--limit", type=count, default=DEFAULT_LIMIT, help="most traces, the newest (default: %(default)s; 0: all)"
    )
    parser.add_argument("--errors", action="store_true", help="only traces in which something failed")
    parser.add_argument("--service", default="", help="only traces that this service took part in")
    parser.add_argument("--all", action="store_true", help="show equal siblings one by one, as for a single trace")
    parser.add_argument("--attributes", action="store_true", help="list all attributes of each span")
    parser.add_argument("--json", action="store_true", help="print JSON, the newest trace last")
    parser.add_argument("--state-dir", help="folder to read (default: the setting state_dir)")


def identifier(text: str) -> str:
    """Read the beginning of a trace identifier."""
    digits = text.strip().lower()
    if len(digits) > 32 or any(digit not in "0123456789abcdef" for digit in digits):
        raise argparse.ArgumentTypeError(f"{text!r} is no trace identifier: up to 32 hexadecimal digits")
    return digits


def count(text: str) -> int:
    """Read a number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return int(text)


def execute(arguments: argparse.Namespace) -> int:
    """Print the traces; exit status 1 where there is none."""
    state = load({"state_dir": arguments.state_dir}).state_dir
    query = Query(arguments.limit, arguments.trace_id, arguments.service, arguments.errors)
    found = find_traces(state, query)
    if arguments.json:
        print(json.dumps([trace_object(trace) for trace in found.traces], indent=2, default=plain))
    elif found.traces:
        draw(found, arguments)
    else:
        print(advice(query, found, state), file=sys.stderr)
    return 0 if found.traces else 1


def draw(found: Found, arguments: argparse.Namespace) -> None:
    """Print the trees, and what more there is."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    terminal = open_terminal()
    colours: dict[str, str] = {}
    fold = not (arguments.all or arguments.trace_id)
    for position, trace in enumerate(found.traces):
        print("\n" * bool(position), end="")
        for line in Picture(trace, terminal, colours, fold, arguments.attributes).draw():
            print(line)
    if found.others and not arguments.trace_id:
        more = "more" if arguments.errors or arguments.service else "older"
        least = "at least " if found.unread_segments or found.given_up else ""
        print(terminal.paint(f"\n{least}{plural(found.others, more + ' trace')} here: --limit 0 shows all", DIM))
    elif found.given_up:
        print(terminal.paint("\nOlder traces are left out: there are too many spans to hold them all.", DIM))


def advice(query: Query, found: Found, state: str) -> str:
    """Say what to do where nothing was found."""
    if query.trace_id:
        return f"No trace in {state} begins with {query.trace_id}."
    if query.service and found.others and query.service not in found.services:
        return f"No service {query.service!r} among those recorded: {', '.join(sorted(found.services))}."
    if found.others:
        return f"None of the {plural(found.others, 'trace')} in {state} is such a one."
    return (
        f"Nothing is recorded in {state} yet.\n\n"
        "  noops-agent run python app.py    records what a program does\n"
        "  noops-agent doctor               tells what is on, and where records go\n\n"
        "What was sent to a collector is seen there, not here."
    )


# ---- the form for machines -------------------------------------------------------------------------------


def trace_object(trace: Trace) -> dict[str, Any]:
    """Give a trace as an object of JSON; times are nanoseconds since the epoch."""
    return {
        "trace_id": trace.trace_id,
        "start_ns": trace.start_ns,
        "end_ns": trace.end_ns,
        "duration_ns": trace.end_ns - trace.start_ns,
        "services": trace.services(),
        "errors": trace.errors,
        "omitted_spans": trace.omitted,
        "spans": [span_object(span, trace.spans) for span in trace.ordered()],
    }


def span_object(span: Span, known: Mapping[str, Span]) -> dict[str, Any]:
    """Give a span as an object of JSON."""
    message = span.message
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "parent_recorded": span.parent_id in known if span.parent_id else None,
        "name": span.name,
        "kind": span.kind,
        "service": span.source.service,
        "pid": span.source.resource.get("process.pid", span.source.pid),
        "scope": span.source.scope,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "duration_ns": span.duration_ns,
        "status": STATUS[message.status.code] if message.status.code < len(STATUS) else "unset",
        "status_message": message.status.message,
        "attributes": span.attributes,
        "events": [
            {"name": event.name, "time_ns": event.time_unix_nano, "attributes": attributes_of(event.attributes)}
            for event in message.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": attributes_of(link.attributes),
            }
            for link in message.links
        ],
        "resource": span.source.resource,
    }


def plain(value: Any) -> str:
    """Give bytes as base64, anything else that JSON has no form for as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
