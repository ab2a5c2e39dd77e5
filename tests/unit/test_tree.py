"""Trees of spans: planted, folded, laid out and drawn."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noops_agent._commands.terminal import Terminal, cells, clean, cut, duration, to_ascii
from noops_agent._commands.traces import Source, Span, Trace
from noops_agent._commands.tree import FOLD_AT, Line, Picture, bar, details, group, headline, lay_out, moment, plant

from ..system.store import make_span

SHOP = Source({"service.name": "shop"}, "test", 1)


def trace_of(*messages: Any) -> Trace:
    """Join spans to a trace."""
    trace = Trace("01" * 16)
    for message in messages:
        trace.add(Span(message, SHOP))
    return trace


def lines_of(trace: Trace, fold: bool = True) -> list[Line]:
    """Lay a trace out."""
    roots = plant(trace)
    group(roots)
    return list(lay_out(roots, fold))


def outline(*messages: Any, fold: bool = True) -> list[str]:
    """The tree of these spans: lead, count, name."""
    out = []
    for line in lines_of(trace_of(*messages), fold):
        times = f"{len(line.spans)} × " if len(line.spans) > 1 else ""
        out.append(line.lead + times + (line.spans[0].name if line.spans else "(missing)"))
    return out


def test_children_stand_below_their_parent_in_the_order_of_time() -> None:
    """However they were recorded: children end, and are recorded, before their parents."""
    assert outline(
        make_span("c", parent=1, start_ms=3),
        make_span("b1", parent=2, start_ms=2),
        make_span("b", number=2, parent=1, start_ms=1),
        make_span("a", number=1),
    ) == ["a", "├ b", "│ └ b1", "└ c"]


def test_equal_siblings_share_a_line_from_three_on() -> None:
    """Two are not worth it."""
    two = [make_span("GET", parent=1, start_ms=n) for n in range(FOLD_AT - 1)]
    assert outline(make_span("a", number=1), *two) == ["a", "├ GET", "└ GET"]
    third = make_span("GET", parent=1, start_ms=9)
    assert outline(make_span("a", number=1), *two, third) == ["a", "└ 3 × GET"]
    assert len(outline(make_span("a", number=1), *two, third, fold=False)) == 4


def test_siblings_with_equal_children_are_folded_with_them() -> None:
    """A call to another service and its server span, again and again; how many children each has doesn't matter."""
    spans = [make_span("a", number=1)]
    for n in range(4):
        spans.append(make_span("GET", number=10 + n, parent=1, start_ms=n))
        spans.append(make_span("serve", number=20 + n, parent=10 + n, start_ms=n))
        spans += [make_span("SELECT", parent=20 + n, start_ms=n) for _ in range(n + 1)]
    assert outline(*spans) == ["a", "└ 4 × GET", "  └ 4 × serve", "    └ 10 × SELECT"]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "POST"},
        {"kind": "client"},
        {"error": "no"},
        {"db__query__text": "DELETE"},
        {"exception": ("KeyError", "x")},
    ],
)
def test_what_differs_stands_alone(other: dict[str, Any]) -> None:
    """The failure among many is what somebody looks for."""
    same = [make_span("GET", parent=1, start_ms=n) for n in range(4)]
    odd = make_span(**{"name": "GET", "parent": 1, "start_ms": 9, **other})
    assert len(outline(make_span("a", number=1), *same, odd)) == 3


def test_siblings_that_alternate_are_folded_too() -> None:
    """One query for each product, and one for its reviews: the classic of slow pages."""
    spans = [make_span("ab"[n % 2], parent=1, start_ms=n) for n in range(20)]
    assert outline(make_span("root", number=1), *spans) == ["root", "├ 10 × a", "└ 10 × b"]


def test_a_missing_parent_has_a_line() -> None:
    """It holds its children together."""
    assert outline(make_span("a", parent=7, start_ms=1), make_span("b", parent=7), make_span("c")) == [
        "(missing)",
        "├ b",
        "└ a",
        "c",
    ]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12), st.sampled_from("ab")), max_size=40), st.booleans())
def test_every_span_stands_in_exactly_one_line(shape: list[tuple[int, int, str]], fold: bool) -> None:
    """Whatever the identifiers say: repeated, missing, or ancestors of themselves."""
    messages = [make_span(name, number=number, parent=parent) for number, parent, name in shape]
    trace = trace_of(*messages)
    shown = [span.span_id for line in lines_of(trace, fold) for span in line.spans]
    assert sorted(shown) == sorted(trace.spans)
    assert list(Picture(trace, Terminal(80, True, True), {}, fold).draw())


def test_a_tree_of_any_depth_is_drawn() -> None:
    """Recursion without end is common in what one wants to look at."""
    deep = [make_span("f", number=n, parent=n - 1) for n in range(1, 3000)]
    drawn = list(Picture(trace_of(*deep), Terminal(100, False, True), {}, True).draw())
    assert len(drawn) == 3000
    assert max(map(cells, drawn)) <= 100


def test_an_exception_is_told_where_it_began() -> None:
    """Its way up shows by the marks alone."""
    failed = {"exception": ("ValueError", "no")}
    trace = trace_of(
        make_span("a", number=1, **failed),
        make_span("b", number=2, parent=1, **failed),
        make_span("c", number=3, parent=2, **failed),
    )
    rows = [row.split() for row in Picture(trace, Terminal(120, False, True), {}).draw()][1:]
    assert [row[:4] for row in rows] == [
        ["shop", "✗", "a", "10.0"],
        ["└", "✗", "b", "10.0"],
        ["└", "✗", "c", "10.0"],
        ["ValueError:", "no"],
    ]


@pytest.mark.parametrize(
    ("span", "head", "more"),
    [
        (
            make_span("GET /a", kind="server", http__response__status_code=200, url__path="/a"),
            ("GET /a", "server"),
            "200",
        ),
        (
            make_span(
                "GET /p/{id}", kind="server", http__status_code=404, http__target="/p/3?x=1", http__route="/p/{id}"
            ),
            ("GET /p/{id}", "server"),
            "404 /p/3?x=1",
        ),
        (make_span("GET", kind="client", http__url="http://shop:80/p"), ("GET", "client"), "shop:80/p"),
        (
            make_span("SELECT db", kind="client", db__system="sqlite", db__statement="SELECT  1\n FROM t"),
            ("SELECT 1 FROM t", "sqlite"),
            "",
        ),
        (
            make_span("query", kind="client", db__query__text="SELECT a.b, a.c, a.d, a.e, a.f FROM t WHERE x = ?"),
            ("query", "client"),
            "SELECT … FROM t WHERE x = ?",
        ),
        (make_span("send", kind="producer", messaging__destination__name="jobs"), ("send", "producer"), "jobs"),
        (make_span("send jobs", kind="producer", messaging__destination__name="jobs"), ("send jobs", "producer"), ""),
        (make_span("connect", kind="client", db__name="/var/lib/shop.db"), ("connect", "client"), "shop.db"),
        (make_span(""), ("(no name)", ""), ""),
    ],
)
def test_the_attributes_that_matter_are_said(span: Any, head: tuple[str, str], more: str) -> None:
    """By the present names of the conventions and by the former ones, without what the name says already."""
    held = Span(span, SHOP)
    assert (headline(held), details(held)) == (head, more)


@pytest.mark.parametrize(
    ("stretches", "drawn"),
    [
        ([(0.0, 1.0)], "████████"),
        ([(0.0, 0.5)], "████    "),
        ([(0.5, 1.0)], "    ████"),
        ([(0.0, 0.0)], "▏       "),
        ([(1.0, 1.0)], "       ▕"),
        ([(0.25, 0.25)], "  ▏     "),
        ([(0.0, 0.0625)], "▌       "),
        ([(0.0625, 0.25)], "▐█      "),
        ([(0.0, 0.1), (0.5, 0.75)], "▊   ██  "),
        ([(-3.0, 9.0)], "████████"),
        ([], "        "),
    ],
)
def test_bars_stand_where_their_time_is(stretches: list[tuple[float, float]], drawn: str) -> None:
    """The shortest call is seen, too."""
    assert bar(stretches, 8) == drawn.replace("▊", bar([(0.0, 0.1)], 8)[0])


@given(
    st.lists(st.tuples(st.floats(-2, 2, allow_nan=False), st.floats(-2, 2, allow_nan=False)), max_size=5),
    st.integers(1, 40),
)
def test_a_bar_has_its_width(stretches: list[tuple[float, float]], width: int) -> None:
    """Whatever a clock that was set back made of the times."""
    assert len(bar(stretches, width)) == width


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (12345, "12.3 µs"),
        (999_999, "1.00 ms"),
        (123_456_789, "123 ms"),
        (9_996_000_000, "10.0 s"),
        (59_900_000_000, "59.9 s"),
        (61e9, "1 m 01 s"),
        (7_322e9, "2 h 02 m"),
        (-5, "0 ns"),
    ],
)
def test_durations_have_about_three_digits(ns: float, text: str) -> None:
    """And a unit that fits."""
    assert duration(ns) == text


@given(st.text(), st.integers(0, 30))
def test_a_text_is_cut_to_its_room(text: str, room: int) -> None:
    """In columns, of which some characters take two and some none."""
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert cells(cut(cleaned, room)) <= room
    assert cut(cleaned, 10**6) == cleaned


def test_everything_that_we_draw_has_a_plain_form() -> None:
    """For terminals that have no more than ASCII."""
    drawn = bar([(n / 64, n / 64 + size / 64) for n in range(0, 64, 8) for size in (0.1, 1, 3, 8)], 64)
    assert to_ascii(drawn + "├└─│✗✓●·×…µ").isascii()


def test_a_moment_of_another_day_has_its_date() -> None:
    """Clock times alone would mislead."""
    assert moment(0).startswith(("1970-", "1969-"))
    assert len(moment(0)) == len("1970-01-01 00:00:00.000")
