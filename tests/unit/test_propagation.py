"""Headers in and out: W3C Trace Context and Baggage, installed propagators, and the global one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import opentelemetry.propagate as propagate
import pytest
from opentelemetry import baggage, trace
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from noops_agent import _diagnostics
from noops_agent._core import traceparent as reference
from noops_agent._signals import propagation
from noops_agent._signals.propagation import (
    MAX_BAGGAGE,
    MAX_BAGGAGE_MEMBERS,
    MAX_STATE,
    BaggagePropagator,
    TraceContextPropagator,
    format_baggage,
    install,
    make_propagator,
    parse_baggage,
    parse_tracestate,
)
from tests.conftest import Bench

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def extracted(*traceparents: Any, state: Any = None) -> SpanContext:
    """The span context that these headers give."""
    carrier: dict[str, Any] = {"traceparent": list(traceparents)}
    if state is not None:
        carrier["tracestate"] = state
    return trace.get_current_span(TraceContextPropagator().extract(carrier)).get_span_context()


def injected(context: Context, propagator: TextMapPropagator | None = None) -> dict[str, str]:
    """The headers that a context gives."""
    carrier: dict[str, str] = {}
    (propagator or make_propagator(["tracecontext", "baggage"])).inject(carrier, context)
    return carrier


def remote(flags: int = 1, state: TraceState | None = None) -> Context:
    """A context with a span of another implementation."""
    span_context = SpanContext(int(TRACE, 16), int(SPAN, 16), True, TraceFlags(flags), state)
    return trace.set_span_in_context(NonRecordingSpan(span_context), Context())


# ---- traceparent

VALID = {
    "sampled": (GOOD, 1),
    "not sampled": (f"00-{TRACE}-{SPAN}-00", 0),
    "random": (f"00-{TRACE}-{SPAN}-03", 3),
    "unknown flags": (f"00-{TRACE}-{SPAN}-ff", 255),
    "a later version": (f"cc-{TRACE}-{SPAN}-01", 1),
    "a later version with more fields": (f"01-{TRACE}-{SPAN}-01-what-comes-later", 1),
    "a later version with an empty field": (f"01-{TRACE}-{SPAN}-01-", 1),
}
INVALID = {
    "empty": "",
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version in capitals": f"0A-{TRACE}-{SPAN}-01",
    "version not hexadecimal": f".0-{TRACE}-{SPAN}-01",
    "version too long": f"000-{TRACE}-{SPAN}-01",
    "version too short": f"0-{TRACE}-{SPAN}-01",
    "version 00 with more behind": f"{GOOD}.",
    "version 00 with a field more": f"{GOOD}-more",
    "version 00 with a dash more": f"{GOOD}-",
    "a later version without a dash": f"cc-{TRACE}-{SPAN}-01.more",
    "trace id zero": f"00-{'0' * 32}-{SPAN}-01",
    "trace id in capitals": f"00-{TRACE.upper()}-{SPAN}-01",
    "trace id not hexadecimal": f"00-{TRACE[:-1]}.-{SPAN}-01",
    "trace id with a sign": f"00-+{TRACE[1:]}-{SPAN}-01",
    "trace id with an underscore": f"00-{TRACE[:8]}_{TRACE[9:]}-{SPAN}-01",
    "trace id too long": f"00-{TRACE}1-{SPAN}-01",
    "trace id too short": f"00-{TRACE[1:]}-{SPAN}-01",
    "span id zero": f"00-{TRACE}-{'0' * 16}-01",
    "span id in capitals": f"00-{TRACE}-{SPAN.upper()}-01",
    "span id not hexadecimal": f"00-{TRACE}-.{SPAN[1:]}-01",
    "span id too long": f"00-{TRACE}-{SPAN}1-01",
    "span id too short": f"00-{TRACE}-{SPAN[1:]}-01",
    "flags not hexadecimal": f"00-{TRACE}-{SPAN}-0.",
    "flags in capitals": f"00-{TRACE}-{SPAN}-0A",
    "flags too long": f"00-{TRACE}-{SPAN}-001",
    "flags too short": f"00-{TRACE}-{SPAN}-1",
    "other dashes": GOOD.replace("-", "_"),
    "digits of another script": f"00-{'١' * 32}-{SPAN}-01",
}


@pytest.fixture(params=["native", "python", "traceparent"])
def parser(request: pytest.FixtureRequest) -> ModuleType:
    """Each implementation of the two functions."""
    from noops_agent._core import native, python

    chosen = {"native": native, "python": python, "traceparent": reference}[request.param]
    if chosen is None:
        pytest.skip("the native core is not built")
    return chosen


@pytest.mark.parametrize("case", VALID)
def test_a_valid_traceparent_is_read(parser: ModuleType, case: str) -> None:
    """Versions to come are read as far as they are known."""
    header, flags = VALID[case]
    assert parser.parse_traceparent(header) == (int(TRACE, 16), int(SPAN, 16), flags)


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_traceparent_is_refused(parser: ModuleType, case: str) -> None:
    """A trace is begun anew rather than joined to a guess."""
    assert parser.parse_traceparent(INVALID[case]) is None


@pytest.mark.parametrize("value", [None, 5, GOOD.encode(), [GOOD], object(), "\ud800" * 55, "0" * 100_000])
def test_what_is_no_text_is_no_traceparent(parser: ModuleType, value: Any) -> None:
    """Values of any type are refused without an exception."""
    assert parser.parse_traceparent(value) is None


def test_only_known_flags_are_written(parser: ModuleType) -> None:
    """Sampled and random are passed on, the other six bits are reserved."""
    written = [parser.format_traceparent(int(TRACE, 16), int(SPAN, 16), flags) for flags in (0, 1, 3, 0xFF)]
    assert [header[-2:] for header in written] == ["00", "01", "03", "03"]
    assert parser.format_traceparent(1, 2, 1) == f"00-{1:032x}-{2:016x}-01"


def test_white_space_around_a_traceparent_is_no_part_of_it() -> None:
    """Header values come with optional white space."""
    for header in (f" {GOOD}", f"{GOOD}\t", f"\t {GOOD} \t"):
        assert extracted(header).trace_id == int(TRACE, 16)
    assert not extracted(f"{GOOD}\n").is_valid


def test_a_remote_parent_comes_with_flags_and_state() -> None:
    """What is extracted is a remote span context."""
    found = extracted(f"00-{TRACE}-{SPAN}-ff", state="a=1,b=2")
    assert found.is_remote
    assert found.is_valid
    flags = found.trace_flags
    assert (flags, flags.sampled, flags.random_trace_id) == (3, True, True)
    assert dict(found.trace_state) == {"a": "1", "b": "2"}


def test_two_traceparents_are_none() -> None:
    """Nobody can say which of them is right."""
    assert not extracted(GOOD, GOOD.replace("c-", "d-", 1)).is_valid
    assert _diagnostics.counters()["propagation.traceparent_invalid"] == 1


def test_an_invalid_header_leaves_the_context_as_it_was() -> None:
    """What was current before stays."""
    before = remote()
    assert TraceContextPropagator().extract({"traceparent": "nonsense"}, before) is before
    assert TraceContextPropagator().extract({}, before) is before


HOSTILE = [b"\xff", None, 7, [None], [[GOOD]], [b"x", 3], {}, object(), "é" * 60, "x" * 10**6]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage"])
def test_hostile_values_never_raise(header: str, value: Any) -> None:
    """Whatever a framework puts in its headers, extraction gives a context."""
    carrier = {"traceparent": GOOD, header: value}
    assert isinstance(make_propagator(["tracecontext", "baggage"]).extract(carrier), Context)


def test_a_carrier_or_getter_that_fails_is_counted() -> None:
    """A carrier of the wrong kind costs the headers, not the request."""
    assert make_propagator(["tracecontext", "baggage"]).extract(object()) == {}
    assert _diagnostics.counters()["propagation.carrier_failed"] == 2


def test_header_values_may_be_bytes() -> None:
    """Message queues carry headers as bytes."""
    assert extracted(GOOD.encode(), state=[b"a=1"]).trace_state["a"] == "1"


# ---- tracestate

MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
CHARACTERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
KEPT = {
    "one": ("foo=1", {"foo": "1"}),
    "several": ("foo=1,bar=2", {"foo": "1", "bar": "2"}),
    "spaces and tabs": ("\tfoo=1 \t , \t bar=2,  baz=3 ", {"foo": "1", "bar": "2", "baz": "3"}),
    "empty members": (",foo=1,, \t,bar=2,", {"foo": "1", "bar": "2"}),
    "nothing": ("", {}),
    "white space only": (" ,\t,", {}),
    "a key with each character": ("abcdefghijklmnopqrstuvwxyz0123456789_-*/@=1", None),
    "a key that begins with a digit": ("0foo=1", {"0foo": "1"}),
    "a tenant": ("tenant@system=1", {"tenant@system": "1"}),
    "at signs behind the first character": ("f@=1,a@@b=2,c@d@e=3", {"f@": "1", "a@@b": "2", "c@d@e": "3"}),
    "a key of 256": (f"{'z' * 256}=1,foo=1", {"z" * 256: "1", "foo": "1"}),
    "a long tenant": (f"{'t' * 250}@v=1", {"t" * 250 + "@v": "1"}),
    "a value with each character": (f"foo={CHARACTERS}", {"foo": CHARACTERS}),
    "a value of 256": (f"foo={'v' * 256}", {"foo": "v" * 256}),
    "a space before the value": ("foo= 1", {"foo": " 1"}),
    "a key twice": ("foo=1,bar=2,foo=3", {"foo": "1", "bar": "2"}),
    "32 members": (",".join(MEMBERS[:32]), None),
}
DROPPED = {
    "33 members": ",".join(MEMBERS),
    "a space in the key": "foo =1,bar=2",
    "capitals": "bar=2,FOO=1",
    "a dot in the key": "foo.bar=1",
    "an at sign first": "@foo=1,bar=2",
    "an underscore first": "_foo=1",
    "a key of 257": f"foo=1,{'z' * 257}=1",
    "no key": "=1",
    "no value": "foo=,bar=3",
    "no equals sign": "foo",
    "two equals signs": "foo=bar=baz",
    "a value of 257": f"foo={'v' * 257}",
    "a tab in the value": "foo=a\tb",
    "a control character": "foo=a\x00b",
    "a delete character": "foo=a\x7f",
    "not ASCII": "foo=é",
    "far too long": "a=1," * 20_000,
}


@pytest.mark.parametrize("case", KEPT)
def test_a_valid_tracestate_is_kept_in_order(case: str) -> None:
    """Level 2 allows more keys than the API's own class does."""
    header, expected = KEPT[case]
    found = parse_tracestate([header])
    assert isinstance(found, TraceState)
    if expected is None:
        assert found.to_header() == header
    else:
        assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize("case", DROPPED)
def test_an_invalid_tracestate_is_dropped_whole_and_the_parent_stays(case: str) -> None:
    """One bad member makes the rest unreliable; the trace goes on."""
    assert parse_tracestate([DROPPED[case]]) is None
    found = extracted(GOOD, state=DROPPED[case])
    assert found.is_valid
    assert len(found.trace_state) == 0
    assert _diagnostics.counters()["propagation.tracestate_invalid"] == 1


def test_several_tracestate_headers_are_one_list() -> None:
    """They are combined in their order; an empty one among them does no harm."""
    found = parse_tracestate(["foo=1,bar=2", "", "rojo=1", "foo=9,baz=3"])
    assert found is not None
    assert found.to_header() == "foo=1,bar=2,rojo=1,baz=3"


def test_a_tracestate_alone_is_not_looked_at() -> None:
    """Without a parent there is nothing that it could belong to."""
    assert TraceContextPropagator().extract({"tracestate": "a=1"}) == {}
    assert extracted("nonsense", state="a=1").trace_state == {}


def test_a_long_tracestate_loses_large_members_first_then_the_oldest() -> None:
    """What is passed on stays below what servers accept as a line, in whole members."""
    small = [f"s{number}={'x' * 100}" for number in range(16)]
    large = [f"l{number}={'y' * 250}" for number in range(16)]
    found = parse_tracestate([",".join(member for pair in zip(large, small, strict=True) for member in pair)])
    assert found is not None
    assert len(found.to_header()) <= MAX_STATE
    kept = list(found)
    assert [key for key in kept if key[0] == "s"] == [f"s{number}" for number in range(16)]
    assert [key for key in kept if key[0] == "l"] == [f"l{number}" for number in range(len(kept) - 16)]
    all_large = parse_tracestate([",".join(f"l{number}={'y' * 250}" for number in range(32))])
    assert all_large is not None
    assert list(all_large) == [f"l{number}" for number in range(len(all_large))]
    assert MAX_STATE - 255 < len(all_large.to_header()) <= MAX_STATE


def test_512_characters_of_tracestate_are_always_passed_on() -> None:
    """The specification asks for that much."""
    header = f"a={'x' * 256},b={'y' * 251}"
    assert len(header) == 512
    found = parse_tracestate([header])
    assert found is not None
    assert found.to_header() == header


# ---- inject


def test_a_foreign_span_is_injected_by_its_context() -> None:
    """Any span of the API will do."""
    headers = injected(remote(0xFF, TraceState([("a", "1"), ("b", "2")])))
    assert headers == {"traceparent": f"00-{TRACE}-{SPAN}-03", "tracestate": "a=1,b=2"}


def test_without_a_span_or_baggage_nothing_is_injected() -> None:
    """No header is sent that says nothing."""
    assert injected(Context()) == {}
    assert injected(trace.set_span_in_context(trace.INVALID_SPAN, Context())) == {}


def test_our_spans_are_injected_as_any_other(bench: Bench) -> None:
    """The header that a span of either core builds is the one that its context gives."""
    with bench.tracer.start_as_current_span("work", context=remote(3, TraceState([("a", "1")]))) as span:
        context = trace.set_span_in_context(span, Context())
        found = span.get_span_context()
        assert injected(context) == {
            "traceparent": f"00-{TRACE}-{found.span_id:016x}-03",
            "tracestate": "a=1",
        }
        assert injected(context) == injected(trace.set_span_in_context(NonRecordingSpan(found), Context()))


def test_what_is_injected_is_extracted_again() -> None:
    """The other side sees the same trace."""
    context = baggage.set_baggage("who", "me & you", remote(3, parse_tracestate(["foo@=1,0a=2"])))
    again = make_propagator(["tracecontext", "baggage"]).extract(injected(context))
    found, sent = (trace.get_current_span(each).get_span_context() for each in (again, context))
    assert found == sent
    assert list(found.trace_state.items()) == [("foo@", "1"), ("0a", "2")]
    assert baggage.get_all(again) == {"who": "me & you"}


def test_a_setter_that_fails_is_counted() -> None:
    """A request goes out without headers rather than not at all."""
    make_propagator(["tracecontext"]).inject(None, remote())
    assert _diagnostics.counters()["propagation.inject_failed"] == 1


# ---- baggage


def test_baggage_is_read_by_the_rules() -> None:
    """White space, properties, equals signs, percent-encoding."""
    header = "a=1, b \t=\t2 ;meta;more=x , c=%C3%A9%20%2C ,d==x=y,e="
    assert parse_baggage([header]) == {"a": "1", "b": "2", "c": "é ,", "d": "=x=y", "e": ""}


def test_several_baggage_headers_are_one() -> None:
    """A later value of a key wins."""
    assert parse_baggage(["a=1,b=2", "", "b=3"]) == {"a": "1", "b": "3"}


def test_a_plus_sign_is_itself() -> None:
    """Baggage is percent-encoded text, not a form."""
    assert parse_baggage(["a=1+1"]) == {"a": "1+1"}
    assert format_baggage({"a": "1+1"}) == "a=1%2B1"


@pytest.mark.parametrize("member", ["a", "=1", "a b=1", "a=b c", 'a="1"', "a=\\", "a=é", "é=1", "a=\x00"])
def test_members_that_are_none_are_passed_over(member: str) -> None:
    """The others stay."""
    assert parse_baggage([f"x=1,{member},y=2"]) == {"x": "1", "y": "2"}
    assert _diagnostics.counters()["propagation.baggage_invalid"] == 1


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    """As the specification wants it."""
    assert parse_baggage(["a=%FF%C3x,b=%zz%4"]) == {"a": "\ufffd\ufffdx", "b": "%zz%4"}


def test_baggage_of_the_largest_size_goes_through_whole() -> None:
    """8192 bytes in one member, and 64 members, are what the specification asks for."""
    largest = {"a": "x" * (MAX_BAGGAGE - 2)}
    assert parse_baggage([format_baggage(largest)]) == largest
    many = {f"key{number}": "value" for number in range(64)}
    assert parse_baggage([format_baggage(many)]) == many
    full = {f"{number:03}": "0123456789a" * 4 for number in range(170)}
    assert len(format_baggage(full)) == 170 * 49 - 1 - 3 * 49
    assert _diagnostics.counters() == {"propagation.baggage_dropped": 3}


def test_baggage_past_the_limits_is_cut_at_whole_members() -> None:
    """Both in and out."""
    header = ",".join(f"k{number}={'x' * 100}" for number in range(100))
    found = parse_baggage([header])
    assert set(found.values()) == {"x" * 100}
    assert list(found) == [f"k{number}" for number in range(len(found))]
    assert len(format_baggage(found)) <= MAX_BAGGAGE
    assert format_baggage({"a": "x" * (MAX_BAGGAGE - 1)}) == ""
    assert len(parse_baggage([",".join(f"k{number}=" for number in range(1000))])) == MAX_BAGGAGE_MEMBERS
    written = format_baggage({f"k{number}": "" for number in range(1000)})
    assert written.count(",") == MAX_BAGGAGE_MEMBERS - 1


def test_a_cut_behind_a_whole_member_keeps_it() -> None:
    """The limit is on bytes, and a member that ends there fits."""
    first = f"a={'x' * (MAX_BAGGAGE - 2)}"
    assert parse_baggage([f"{first},b=1"]) == {"a": "x" * (MAX_BAGGAGE - 2)}


def test_keys_and_values_of_any_text_come_through() -> None:
    """Names that are no token are percent-encoded, as the API's own propagator does."""
    entries = {"a key": "a, b; c=\\\"é+%20", "naïve": "\n\t", "100%": "100%"}
    header = format_baggage(entries)
    assert header.isascii()
    assert parse_baggage([header]) == entries


def test_baggage_of_the_context_is_kept_and_overlaid() -> None:
    """What comes in is added to what was there."""
    before = baggage.set_baggage("b", 2, baggage.set_baggage("a", 1, Context()))
    after = BaggagePropagator().extract({"baggage": "b=3,c=4"}, before)
    assert baggage.get_all(after) == {"a": 1, "b": "3", "c": "4"}
    assert baggage.get_all(before) == {"a": 1, "b": 2}


# ---- which ones


def test_propagators_of_installed_packages_are_found_by_name() -> None:
    """b3 and jaeger come as entry points."""
    headers = injected(remote(), make_propagator(["b3", "b3multi", "jaeger", "tracecontext"]))
    assert headers["b3"] == f"{TRACE}-{SPAN}-1"
    assert headers["x-b3-traceid"] == TRACE
    assert headers["uber-trace-id"].startswith(f"{TRACE}:{SPAN}:")
    assert headers["traceparent"] == GOOD
    for name in ("b3", "jaeger", "xray"):
        again = make_propagator([name]).extract(injected(remote(), make_propagator([name])))
        assert trace.get_current_span(again).get_span_context().trace_id == int(TRACE, 16)


def test_none_means_no_propagation() -> None:
    """Even among others, as in the API."""
    nothing = make_propagator(["tracecontext", "none"])
    assert injected(remote(), nothing) == {}
    assert nothing.extract({"traceparent": GOOD}) == {}
    assert nothing.fields == set()


def test_a_name_is_used_once() -> None:
    """Duplicates and capitals in the variable change nothing."""
    chosen = make_propagator(["tracecontext", "TraceContext ", "baggage", "baggage"])
    assert len(chosen._propagators) == 2
    assert chosen.fields == {"traceparent", "tracestate", "baggage"}


def test_an_unknown_name_is_said_with_the_package_to_install(caplog: pytest.LogCaptureFixture) -> None:
    """The others work on."""
    chosen = make_propagator(["ottrace", "nonsense", "tracecontext"])
    assert injected(remote(), chosen) == {"traceparent": GOOD}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "opentelemetry-propagator-ot-trace" in said[0]
    assert "'nonsense'" in said[1]


def test_a_propagator_that_raises_stays_here() -> None:
    """The ones behind it are still asked."""

    class Broken(TraceContextPropagator):
        def extract(self, *args: Any, **kwargs: Any) -> Context:
            raise RuntimeError

        inject = extract  # type: ignore[assignment]

    chosen = propagation.Composite([Broken(), TraceContextPropagator()])
    assert trace.get_current_span(chosen.extract({"traceparent": GOOD})).get_span_context().is_valid
    assert injected(remote(), chosen) == {"traceparent": GOOD}
    counted = _diagnostics.counters()
    assert counted["propagation.extract_failed"] == counted["propagation.inject_failed"] == 1


# ---- the global one


@pytest.fixture
def _restored() -> Iterator[None]:
    before = propagate.get_global_textmap()
    finders = list(sys.meta_path)
    yield
    propagate.set_global_textmap(before)
    sys.meta_path[:] = finders


@pytest.mark.usefixtures("_restored")
def test_an_imported_module_gets_ours_at_once_and_theirs_back() -> None:
    """The application that imported it first sees no difference."""
    before = propagate.get_global_textmap()
    restore = install(("tracecontext",))
    assert isinstance(propagate.get_global_textmap(), propagation.Composite)
    restore()
    assert propagate.get_global_textmap() is before


@pytest.mark.usefixtures("_restored")
def test_a_propagator_set_by_the_application_later_stays() -> None:
    """Undoing takes back what is ours alone."""
    restore = install(("tracecontext",))
    theirs = BaggagePropagator()
    propagate.set_global_textmap(theirs)
    restore()
    assert propagate.get_global_textmap() is theirs


LATER = """
import sys
from noops_agent._signals import propagation
restore = propagation.install(("tracecontext", "baggage"))
heavy = {"opentelemetry.propagate", "importlib.metadata", "wrapt", "asyncio", "ssl", "socket"}
assert not heavy & (set(sys.modules) - BEFORE), heavy & set(sys.modules)
import importlib.util
assert importlib.util.find_spec("opentelemetry.propagate") is not None
from opentelemetry import propagate, trace
assert type(propagate.get_global_textmap()) is propagation.Composite
context = propagate.extract({"traceparent": "00-%s-%s-01"})
carrier = {}
propagate.inject(carrier, context)
assert carrier["traceparent"].endswith("-01"), carrier
assert not any(type(finder).__name__ == 'Watch' for finder in sys.meta_path)
assert propagate.__spec__.name == "opentelemetry.propagate" and propagate.__file__
restore()
assert type(propagate.get_global_textmap()) is not propagation.Composite
"""


@pytest.mark.parametrize("variable", [None, "tracecontext,baggage"])
def test_a_module_imported_later_gets_ours_then(variable: str | None) -> None:
    """Until then neither it nor anything that looks for entry points is imported."""
    environment = {**os.environ, **({"OTEL_PROPAGATORS": variable} if variable else {})}
    script = f"import sys; BEFORE = set(sys.modules)\n{LATER % (TRACE, SPAN)}"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_undone_before_the_import_nothing_is_left() -> None:
    """The module comes up as it would without us."""
    script = (
        "import sys\nfrom noops_agent._signals import propagation\n"
        "restore = propagation.install(('none',))\nrestore()\n"
        "assert not any(type(finder).__name__ == 'Watch' for finder in sys.meta_path)\n"
        "from opentelemetry import propagate\n"
        "assert type(propagate.get_global_textmap()) is not propagation.Composite\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
