"""Traces drawn as trees: one line for a span, or for siblings that are the same again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .terminal import BOLD, DIM, PLAIN, RED, YELLOW, Terminal, cells, clean, cut, duration, to_ascii
from .traces import Span, Trace

FOLD_AT = 3
"""So many equal siblings are shown as one line."""

DEEPEST = 24
"""Levels that are indented at most; deeper ones would leave no room for the text."""

SERVICE_COLOURS = ("36", "35", "34", "32", "33", "96", "95", "94", "92")
EMPTY = " "
EIGHTHS = "▏▎▍▌▋▊▉█"
BLOCKS = EMPTY + "▕▏▎▍▐▌▋▊▉█"
"""What a column of a bar is filled with, the fuller the later."""

DURATION_ROOM = 8
LONGEST_TEXT = 2000
LONGEST_COLUMNS = 24


class Node:
    """A span in its tree, with its children as groups of equal ones.

    Args:
        span: The span; None for a parent that is not here.
        span_id: Its identifier.
    """

    def __init__(self, span: Span | None, span_id: str) -> None:
        self.span = span
        self.span_id = span_id
        self.children: list[Node] = []
        self.groups: list[list[Node]] = []
        self.likeness = 0

    @property
    def start_ns(self) -> int:
        """When it began; a parent that is not here, when the first of its children did."""
        return self.span.start_ns if self.span else min(child.start_ns for child in self.children)


class Line(NamedTuple):
    """One line of a tree: where it stands, and the spans that it stands for."""

    lead: str
    stem: str
    nodes: list[Node]

    @property
    def spans(self) -> list[Span]:
        """The spans; none for a parent that is not here."""
        return [node.span for node in self.nodes if node.span]


# ---- from spans to lines ---------------------------------------------------------------------------------


def plant(trace: Trace) -> list[Node]:
    """Make trees of the spans of a trace; those whose parent is not here hang on a node without a span."""
    ordered = trace.ordered()
    nodes = {span.span_id: Node(span, span.span_id) for span in ordered}
    roots: list[Node] = []
    missing: dict[str, Node] = {}
    for span in ordered:
        node = nodes[span.span_id]
        if span.parent_id in nodes:
            nodes[span.parent_id].children.append(node)
        elif span.parent_id:
            if span.parent_id not in missing:
                missing[span.parent_id] = Node(None, span.parent_id)
                roots.append(missing[span.parent_id])
            missing[span.parent_id].children.append(node)
        else:
            roots.append(node)
    return roots + cut_cycles(roots, nodes)


def cut_cycles(roots: Sequence[Node], nodes: dict[str, Node]) -> list[Node]:
    """Make roots of spans that are their own ancestors: hostile or broken identifiers."""
    reached = {node.span_id for node in walk(roots)}
    more: list[Node] = []
    for node in nodes.values():
        if node.span_id not in reached:
            more.append(node)
            for member in walk([node]):
                reached.add(member.span_id)
                member.children = [child for child in member.children if child.span_id not in reached]
    return more


def walk(roots: Sequence[Node]) -> Iterator[Node]:
    """Give all nodes, parents before their children."""
    pending = list(reversed(roots))
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(node.children))


def group(roots: Sequence[Node]) -> None:
    """Group the children of each node by likeness: equal calls with equal children, however many of these."""
    known: dict[object, int] = {}
    for node in reversed(list(walk(roots))):
        groups: dict[int, list[Node]] = {}
        for child in node.children:
            groups.setdefault(child.likeness, []).append(child)
        node.groups = list(groups.values())
        # Sets, as the order of calls that run side by side is chance.
        shape = (likeness(node.span) if node.span else node.span_id, frozenset(groups))
        node.groups.sort(key=lambda members: members[0].likeness)
        node.likeness = known.setdefault(shape, len(known))


def likeness(span: Span) -> tuple[object, ...]:
    """What two spans have in common that are the same call again."""
    return span.source.service, span.name, span.kind, span.failed, failure(span), statement_of(span)


def lay_out(roots: Sequence[Node], fold: bool, deepest: int = DEEPEST) -> Iterator[Line]:
    """Give the lines of trees from top to bottom; so many levels are indented at most."""
    pending = [Line("", "", entry) for entry in reversed(entries([[root] for root in roots], False))]
    while pending:
        line = pending.pop()
        yield line
        columns = zip(*(node.groups for node in line.nodes), strict=True)
        below = entries([[node for members in column for node in members] for column in columns], fold)
        deep = len(line.stem) >= 2 * deepest
        for position, nodes in reversed(list(enumerate(below))):
            last = position == len(below) - 1
            lead = line.stem if deep else line.stem + ("└ " if last else "├ ")
            stem = line.stem if deep else line.stem + ("  " if last else "│ ")
            pending.append(Line(lead, stem, nodes))


def entries(groups: Sequence[list[Node]], fold: bool) -> list[list[Node]]:
    """Decide what gets a line of its own, in the order of time."""
    out: list[list[Node]] = []
    for nodes in groups:
        ordered = sorted(nodes, key=lambda node: node.start_ns)
        out.extend([ordered] if fold and len(ordered) >= FOLD_AT else [[node] for node in ordered])
    return sorted(out, key=lambda nodes: nodes[0].start_ns)


# ---- what is said of a span ------------------------------------------------------------------------------


def first(span: Span, *names: str) -> Any:
    """Give the first of these attributes that a span has; an empty text where it has none."""
    return next((span.attributes[name] for name in names if name in span.attributes), "")


def statement_of(span: Span) -> str:
    """Give the statement of a database call, without the list of columns that it selects."""
    text = clean(str(first(span, "db.query.text", "db.statement"))[:LONGEST_TEXT])
    columns, separator, rest = text.partition(" FROM ")
    if separator and columns[:7].upper() == "SELECT " and len(columns) > LONGEST_COLUMNS:
        return f"SELECT … FROM {rest}"
    return text


def headline(span: Span) -> tuple[str, str]:
    """Give what comes first of a span, and what it is: its name and kind, or a database and the statement."""
    statement = statement_of(span)
    name = clean(span.name) or "(no name)"
    if statement and statement[:4].upper() == name[:4].upper():
        return statement, clean(str(first(span, "db.system.name", "db.system")))
    return name, "" if span.kind == "internal" else span.kind


def details(span: Span) -> str:
    """Say what matters most of the attributes, in the present and in the former names of the conventions."""
    parts = [
        first(span, "http.response.status_code", "http.status_code", "rpc.grpc.status_code"),
        address(span),
        first(span, "messaging.destination.name", "rpc.service"),
    ]
    statement = statement_of(span)
    if statement:
        parts.append("" if headline(span)[0] == statement else statement)
    else:
        parts.append(str(first(span, "db.namespace", "db.name")).rpartition("/")[2])
    words = [clean(str(part)[:LONGEST_TEXT]) for part in parts]
    return " ".join(word for word in words if word and word not in span.name.split())


def address(span: Span) -> str:
    """Say where an HTTP request went: with the host for a client, the path alone for a server."""
    target = str(first(span, "url.full", "http.url"))
    host, slash, path = target.partition("://")[2].partition("/")
    if span.kind == "client":
        return host + slash + path
    return slash + path or str(first(span, "url.path", "http.target", "http.route"))


def failure(span: Span) -> str:
    """Say what went wrong, on one line; empty where nothing is known of it."""
    if span.exception:
        kind, message = span.exception
        return clean(f"{kind}: {message}"[:LONGEST_TEXT]) if message else clean(kind)
    if not span.failed:
        return ""
    return clean((span.message.status.message or str(first(span, "error.type")))[:LONGEST_TEXT])


def is_told_below(line: Line) -> bool:
    """Whether a child tells the same failure: an exception on its way up is told where it began."""
    told = failure(line.spans[0])
    return any(child.span and failure(child.span) == told for child in line.nodes[0].children)


# ---- drawing ---------------------------------------------------------------------------------------------


class Columns(NamedTuple):
    """How the width of the terminal is shared."""

    service: int
    text: int
    bar: int


class Picture:
    """Draws one trace.

    Args:
        trace: What to draw.
        terminal: What it is drawn on.
        colours: The colour of each service, the same for all traces.
        fold: Whether equal siblings share a line.
        attributes: Whether all attributes are listed.
    """

    def __init__(
        self, trace: Trace, terminal: Terminal, colours: dict[str, str], fold: bool = True, attributes: bool = False
    ) -> None:
        self._trace = trace
        self._terminal = terminal
        self._colours = colours
        self._attributes = attributes
        roots = plant(trace)
        group(roots)
        self._columns = self._share()
        self._lines = list(lay_out(roots, fold, min(self._columns.text // 4, DEEPEST)))

    def _share(self) -> Columns:
        width = self._terminal.width
        names = [clean(span.source.service) for span in self._trace.spans.values()]
        service = min(max(map(cells, names), default=0), width // 5)
        bar = 0 if width < 72 else min(width // 5, 32)
        return Columns(service, width - service - 2 - DURATION_ROOM - 1 - (bar + 2 if bar else 0), bar)

    def draw(self) -> Iterator[str]:
        """Give the lines of the picture."""
        for line in (*self._head(), *self._body()):
            yield line if self._terminal.unicode else to_ascii(line)

    def _paint(self, text: str, style: str) -> str:
        return self._terminal.paint(text, style)

    def _head(self) -> Iterator[str]:
        """Tell the sum of the trace: as many facts on a line as it takes."""
        trace = self._trace
        services = len(trace.services())
        facts = [
            (trace.trace_id, BOLD),
            (moment(trace.start_ns), PLAIN),
            (duration(trace.end_ns - trace.start_ns), BOLD),
            (plural(len(trace.spans) + trace.omitted, "span"), PLAIN),
            (plural(services, "service") if services > 1 else "", PLAIN),
            (plural(trace.errors, "error") if trace.errors else "", RED),
            (f"{plural(trace.omitted, 'span')} left out" if trace.omitted else "", YELLOW),
        ]
        line, used, gap = self._paint("●", RED if trace.errors else DIM), 1, " "
        for text, style in facts:
            if text and used + len(gap) + len(text) > self._terminal.width:
                yield line
                line, used, gap = " ", 1, " "
            if text:
                line += self._paint(gap, DIM) + self._paint(text, style)
                used += len(gap) + len(text)
                gap = " · "
        yield line

    def _body(self) -> Iterator[str]:
        before = ""
        for line in self._lines:
            spans = line.spans
            if not spans:
                gap = f"parent {line.nodes[0].span_id} is not recorded here"
                yield self._margin("") + self._paint(cut(line.lead + gap, self._columns.text), DIM)
                continue
            service = clean(spans[0].source.service)
            yield self._row(line, spans, service if service != before else "").rstrip()
            before = service
            yield from self._notes(line, spans)

    def _margin(self, service: str) -> str:
        room = self._columns.service
        name = cut(service, room)
        colour = self._colours.setdefault(service, SERVICE_COLOURS[len(self._colours) % len(SERVICE_COLOURS)])
        return self._paint(name, colour) + " " * (room - cells(name) + 2)

    def _row(self, line: Line, spans: Sequence[Span], service: str) -> str:
        took = duration(sum(span.duration_ns for span in spans))
        style = self._colours.setdefault(
            clean(spans[0].source.service), SERVICE_COLOURS[len(self._colours) % len(SERVICE_COLOURS)]
        )
        row = f"{self._margin(service)}{self._text(line, spans)} {took:>{DURATION_ROOM}}"
        if self._columns.bar:
            row += "  " + self._paint(self._bar(spans), RED if spans[0].failed else style)
        return row

    def _text(self, line: Line, spans: Sequence[Span]) -> str:
        """Give the tree, the name and the details, cut and filled to their column."""
        one = spans[0]
        name, what = headline(one)
        told = details(one)
        if any(details(span) != told for span in spans[1:]):
            told += " …"
        pieces = [
            (line.lead, DIM),
            ("✗ " if one.failed else "", RED),
            (f"{len(spans)} × " if len(spans) > 1 else "", BOLD),
            (name, RED if one.failed else BOLD if not line.lead else PLAIN),
            (f"  {what}" if what else "", DIM),
            (f"  {told}" if told else "", status_style(one)),
        ]
        out, room = "", self._columns.text
        for text, style in pieces:
            short = cut(text, room)
            out += self._paint(short, style)
            room -= cells(short)
            if short != text:
                break
        return out + " " * room

    def _bar(self, spans: Sequence[Span]) -> str:
        origin, total = self._trace.start_ns, max(self._trace.end_ns - self._trace.start_ns, 1)
        return bar([((s.start_ns - origin) / total, (s.end_ns - origin) / total) for s in spans], self._columns.bar)

    def _notes(self, line: Line, spans: Sequence[Span]) -> Iterator[str]:
        """Give the lines below that of a span: what failed, the attributes."""
        one = spans[0]
        below = "│ " if any(node.children for node in line.nodes) else "  "
        lead = self._margin("") + self._paint(line.stem + below, DIM)
        room = self._terminal.width - self._columns.service - 2 - cells(line.stem + below)
        told = failure(one)
        if told and not is_told_below(line) and told not in details(one):
            yield lead + self._paint(cut(told, room), RED if one.failed else YELLOW)
        if self._attributes:
            for name, value in sorted(one.attributes.items()):
                yield lead + self._paint(cut(f"{clean(name)} = {clean(str(value)[:LONGEST_TEXT])}", room), DIM)


def status_style(span: Span) -> str:
    """Choose the style of a span's details: the status of HTTP shows."""
    status = first(span, "http.response.status_code", "http.status_code")
    if not isinstance(status, int) or status < 400:
        return DIM
    return RED if status >= 500 else YELLOW


def bar(stretches: Sequence[tuple[float, float]], width: int) -> str:
    """Draw stretches of time, each from 0 to 1, in eighths of a column; the shortest is one eighth."""
    drawn = [EMPTY] * width
    for start, end in stretches:
        begin = min(max(start, 0.0), 1.0) * width
        stop = max(min(end, 1.0) * width, begin + 0.125)
        for at in range(min(int(begin), width - 1), min(math.ceil(stop), width)):
            part = block(max(begin - at, 0.0), min(stop - at, 1.0))
            drawn[at] = max(drawn[at], part, key=BLOCKS.index)
    return "".join(drawn)


def block(begin: float, stop: float) -> str:
    """Fill one column from *begin* to *stop*, as well as there are characters for it."""
    size = stop - begin
    if size >= 0.875:
        return "█"
    if stop >= 1.0 or begin >= 0.5:
        return "▐" if size >= 0.375 else "▕"
    return EIGHTHS[max(math.floor(size * 8) - 1, 0)]


def moment(ns: int) -> str:
    """Say when something happened, in local time; the date only where it is not today."""
    at = time.localtime(ns / 1e9)
    clock = time.strftime("%H:%M:%S", at) + f".{ns // 10**6 % 1000:03}"
    return clock if at[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", at) + clock


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Count things in words."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"
