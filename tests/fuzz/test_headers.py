"""What the readers of headers never do, whatever comes in: raise, or take what the grammar does not allow."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.trace import TraceState

from noops_agent import _core
from noops_agent._core import traceparent as reference
from noops_agent._signals.propagation import (
    MAX_BAGGAGE,
    MAX_BAGGAGE_MEMBERS,
    MAX_STATE,
    TraceContextPropagator,
    format_baggage,
    make_propagator,
    parse_baggage,
    parse_tracestate,
)
from noops_agent._signals.sampling import make_sampler, matches, read_rules

# The grammars of the specifications, once more and in another way than the code has them.
TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?",
    re.DOTALL,
)
MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
VALUE = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
BAGGAGE = re.compile(rf"[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=[ \t]*{VALUE}[ \t]*(;.*)?")


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=size, max_size=size)


versions = st.sampled_from(["00", "00", "00", "01", "cc", "fe", "ff", "0A"])
traceparents = st.builds(
    "{}-{}-{}-{}{}".format,
    versions,
    hexadecimal(32) | st.just("0" * 32),
    hexadecimal(16) | st.just("0" * 16),
    hexadecimal(2),
    st.sampled_from(["", "", "", "-", "-more", ".", " ", "-\n", "0"]),
)


@st.composite
def damaged(draw: Any, source: st.SearchStrategy[str]) -> str:
    """A text in which some characters were replaced, taken out or put in."""
    text = draw(source)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
    return text


texts = st.text(st.characters(codec=None), max_size=80)
members = st.lists(
    st.builds("{}={}".format, st.text("az09_-*/@A .", max_size=4), st.text("ab19 =\t,é", max_size=4)), max_size=40
).map(",".join)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary() | traceparents | members,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("parser", [_core, reference], ids=["core", "reference"])
@given(damaged(traceparents) | traceparents | texts)
def test_a_traceparent_is_read_exactly_when_the_grammar_allows_it(parser: Any, header: str) -> None:
    """And then all of its fields are right."""
    match = TRACEPARENT.fullmatch(header)
    if match is None or (match["version"] == "00" and match["rest"]):
        assert parser.parse_traceparent(header) is None
    else:
        expected = tuple(int(match[name], 16) for name in ("trace", "span", "flags"))
        assert parser.parse_traceparent(header) == expected
        written = parser.format_traceparent(*expected)
        assert written == f"00-{match['trace']}-{match['span']}-{int(match['flags'], 16) & 3:02x}"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_what_is_written_is_read_again(trace_id: int, span_id: int, flags: int) -> None:
    """Identifiers come through whole, and the flags that are known."""
    header = _core.format_traceparent(trace_id, span_id, flags)
    assert header == reference.format_traceparent(trace_id, span_id, flags)
    assert _core.parse_traceparent(header) == (trace_id, span_id, flags & 3)


@given(st.lists(damaged(members) | members | texts, max_size=4))
def test_a_tracestate_is_read_exactly_when_the_grammar_allows_it(headers: list[str]) -> None:
    """Whole or not at all; the first of several members with one key is kept."""
    listed = [part.strip(" \t") for part in ",".join(headers).split(",") if part.strip(" \t")]
    found = parse_tracestate(headers)
    if len(listed) > 32 or not all(map(MEMBER.fullmatch, listed)):
        assert found is None
        return
    assert isinstance(found, TraceState)
    expected: dict[str, str] = {}
    for member in listed:
        key, value = member.split("=")
        expected.setdefault(key, value)
    assert list(found.items()) == list(expected.items())


@given(st.lists(st.tuples(st.integers(1, 256), st.integers(1, 256)), max_size=32))
def test_a_tracestate_of_any_size_is_cut_at_whole_members(sizes: list[tuple[int, int]]) -> None:
    """What is left is in order, below the limit, and nothing is left out that had room."""
    sent = [f"{number:02}{'k' * key}"[:256] + "=" + "v" * value for number, (key, value) in enumerate(sizes)]
    found = parse_tracestate([",".join(sent)])
    assert found is not None
    header = found.to_header()
    kept = header.split(",") if header else []
    assert len(header) <= MAX_STATE
    assert kept == [member for member in sent if member in kept]
    small = [member for member in sent if len(member) <= 128]
    if len(",".join(small)) <= MAX_STATE:
        assert [member for member in kept if len(member) <= 128] == small
    if len(",".join(sent)) <= MAX_STATE:
        assert kept == sent


pairs = st.lists(
    st.builds("{}={}".format, st.text("ab%+ \t=;é", max_size=4), st.text('ab%+C3é \t=";\\', max_size=6)), max_size=10
).map(",".join)


@given(st.lists(damaged(pairs) | pairs | texts, max_size=3))
def test_baggage_is_read_member_by_member(headers: list[str]) -> None:
    """Each one that the grammar allows, and no other."""
    valid = [part for part in ",".join(headers).split(",") if BAGGAGE.fullmatch(part.strip(" \t"))]
    found = parse_baggage(headers)
    assert len(found) <= len(valid)
    assert bool(found) == bool(valid)
    assert all(isinstance(text, str) for item in found.items() for text in item)


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=30))
def test_baggage_of_any_text_comes_through(entries: dict[str, str]) -> None:
    """Written as ASCII within the limit, and read again as it was."""
    header = format_baggage(entries)
    assert header.isascii()
    assert "\n" not in header
    if len(header) < MAX_BAGGAGE - 4096:
        assert parse_baggage([header]) == entries


@given(st.data())
def test_baggage_of_any_objects_is_written_within_the_limits(data: st.DataObject) -> None:
    """Applications put all kinds of values in, and too many."""
    count = data.draw(st.integers(0, 400))
    value = data.draw(anything)
    header = format_baggage({f"k{number}": value for number in range(count)})
    assert len(header) <= MAX_BAGGAGE
    assert header.count(",") < MAX_BAGGAGE_MEMBERS


@given(anything, anything, anything)
def test_headers_of_any_type_never_raise(traceparent: Any, tracestate: Any, members: Any) -> None:
    """What comes out is a context, and what is in it can be sent on."""
    propagator = make_propagator(["tracecontext", "baggage"])
    carrier = {"traceparent": traceparent, "tracestate": tracestate, "baggage": members}
    context = propagator.extract(carrier)
    assert isinstance(context, Context)
    sent: dict[str, str] = {}
    propagator.inject(sent, context)
    assert all(type(value) is str and value.isascii() for value in sent.values())
    found, again = (trace.get_current_span(each).get_span_context() for each in (context, propagator.extract(sent)))
    assert found == again


@given(traceparents, anything)
def test_a_tracestate_never_spoils_the_parent(header: str, tracestate: Any) -> None:
    """Whatever it is."""
    with_state = TraceContextPropagator().extract({"traceparent": header, "tracestate": tracestate})
    without = TraceContextPropagator().extract({"traceparent": header})
    first, second = (trace.get_current_span(each).get_span_context() for each in (with_state, without))
    assert first[:4] == second[:4]


@given(anything)
def test_carriers_of_any_type_never_raise(carrier: Any) -> None:
    """Nothing to read, nothing to write, no exception."""
    propagator = make_propagator(["tracecontext", "baggage"])
    assert isinstance(propagator.extract(carrier), Context)
    propagator.inject(carrier, propagator.extract({"traceparent": f"00-{1:032x}-{1:016x}-01"}))


@given(st.text("ab*/", max_size=12), st.text("ab/", max_size=16))
def test_a_pattern_matches_as_its_regular_expression_would(pattern: str, text: str) -> None:
    """With each star as `.*`."""
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL)
    assert matches(pattern, text) is (expected is not None)


@given(damaged(st.just("GET /pay/*=1,*/health=0,*=0.1")) | texts, texts, anything)
def test_rules_of_any_text_make_a_sampler_that_decides(rules: str, name: str, attributes: Any) -> None:
    """Rules come from an operator, names and attributes from anybody."""
    assert all(0 <= ratio <= 1 for _, ratio in read_rules(rules))
    settings = SimpleNamespace(sampler="always_on", sampler_arg=None, sample_rules=rules, sample_budget=1e9)
    decided = make_sampler(settings).should_sample(Context(), 1, name, None, attributes)
    assert decided.decision.value in (0, 2)
