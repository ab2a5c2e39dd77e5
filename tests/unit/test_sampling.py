"""Which traces are recorded: the specification's samplers, rules, the budget."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from noops_agent import _diagnostics
from noops_agent._signals.sampling import (
    KNOWN,
    BudgetSampler,
    RuleSampler,
    base_sampler,
    make_sampler,
    matches,
    read_rules,
    within,
)
from tests.conftest import Bench

ROOT = Context()


def parent(sampled: bool, remote: bool) -> Context:
    """A context with a parent of one of the four kinds."""
    found = SpanContext(1, 2, remote, TraceFlags(int(sampled)), TraceState([("a", "b")]))
    return trace.set_span_in_context(NonRecordingSpan(found), Context())


PARENTS = {
    "root": ROOT,
    "remote sampled": parent(True, True),
    "remote not": parent(False, True),
    "local sampled": parent(True, False),
    "local not": parent(False, False),
}


def settings(**given: Any) -> Any:
    """What of the settings a sampler is made of."""
    defaults = {"sampler": "parentbased_always_on", "sampler_arg": None, "sample_rules": ""}
    return SimpleNamespace(**{**defaults, "sample_budget": None, **given})


def taken(sampler: Any, name: str = "n", context: Any = ROOT, trace_id: int = 5, **attributes: Any) -> bool:
    """Whether a sampler takes a span."""
    return bool(sampler.should_sample(context, trace_id, name, None, attributes).decision.is_sampled())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said."""
    return [record.getMessage() for record in caplog.records]


# ---- the specification's samplers

THEIRS = {
    "always_on": sdk.ALWAYS_ON,
    "always_off": sdk.ALWAYS_OFF,
    "traceidratio": sdk.TraceIdRatioBased(0.25),
    "parentbased_always_on": sdk.DEFAULT_ON,
    "parentbased_always_off": sdk.DEFAULT_OFF,
    "parentbased_traceidratio": sdk.ParentBasedTraceIdRatio(0.25),
}


@pytest.mark.parametrize("case", PARENTS)
@pytest.mark.parametrize("name", KNOWN)
def test_our_samplers_decide_as_the_sdks(name: str, case: str) -> None:
    """Asked by `should_sample` they give the same decision, attributes and trace state for any trace id."""
    ours, theirs = make_sampler(settings(sampler=name, sampler_arg="0.25")), THEIRS[name]
    assert ours.get_description() == theirs.get_description()
    chance = random.Random(7)
    edges = [0, 1, 2**62 - 1, 2**62, 2**64 - 1, 2**64, 2**128 - 1]
    for trace_id in [*edges, *(chance.getrandbits(128) for _ in range(200))]:
        got = ours.should_sample(PARENTS[case], trace_id, "n", None, {"k": 1}, (), None)
        wanted = theirs.should_sample(PARENTS[case], trace_id, "n", None, {"k": 1}, (), None)
        assert got.decision is wanted.decision
        assert dict(got.attributes) == dict(wanted.attributes)
        assert got.trace_state == wanted.trace_state


@pytest.mark.parametrize("case", PARENTS)
@pytest.mark.parametrize("name", KNOWN)
def test_the_core_decides_static_samplers_as_they_would(bench: Bench, name: str, case: str) -> None:
    """Both cores read the five ratios without asking, and come to what `should_sample` says."""
    sampler = make_sampler(settings(sampler=name, sampler_arg="0.5"))
    assert sampler.static is not None
    bench.tracing.sampler = sampler
    for _ in range(50):
        found = bench.tracer.start_span("n", context=PARENTS[case]).get_span_context()
        assert found.trace_flags.sampled == taken(sampler, context=PARENTS[case], trace_id=found.trace_id)


@pytest.mark.parametrize("ratio", [0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.999999, 1.0])
def test_a_ratio_takes_that_part_of_the_trace_ids(ratio: float) -> None:
    """The bound is the SDK's, to the last trace id."""
    bound = sdk.TraceIdRatioBased(ratio).bound
    for trace_id in (0, bound - 1, bound, bound + 1, 2**64 - 1):
        if trace_id >= 0:
            assert within(ratio, trace_id) == (trace_id & (2**64 - 1) < bound)


def test_to_the_sdk_our_samplers_are_samplers() -> None:
    """Its own samplers can be built on ours, and read their results."""
    ours = make_sampler(settings(sampler="always_off"))
    for sampler in (ours, RuleSampler([("a", 1.0)], ours), BudgetSampler(ours, 1)):
        assert isinstance(sampler, sdk.Sampler)
    assert isinstance(ours.should_sample(None, 1, "n"), sdk.SamplingResult)
    recorded = sdk.AlwaysRecordSampler(ours).should_sample(None, 1, "n")
    assert recorded.decision is sdk.Decision.RECORD_ONLY
    assert sdk.ParentBased(KNOWN["always_on"](1.0)).should_sample(None, 1, "n").decision.is_sampled()


def test_without_the_sdk_nothing_of_it_is_imported() -> None:
    """Results are complete all the same."""
    script = (
        "import sys\nfrom noops_agent._signals import sampling\n"
        "sampler = sampling.KNOWN['always_on'](1.0)\n"
        "found = sampler.should_sample(None, 1, 'n', None, {'a': 1})\n"
        "assert found.decision.is_sampled() and found.decision.is_recording() and found.decision.value == 2\n"
        "assert found.attributes == {'a': 1} and found.trace_state is None\n"
        "assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules)\n"
        "assert isinstance(sampler, sampling.Sampler) and 'importlib.metadata' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argument", ["", None, "1", "1.0"])
def test_a_ratio_that_is_not_given_is_one(argument: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """That is the specification's default, and no mistake."""
    assert make_sampler(settings(sampler="traceidratio", sampler_arg=argument)).static == (1.0,) * 5
    assert messages(caplog) == []


@pytest.mark.parametrize("argument", ["much", "2", "-0.1", "nan", "inf"])
def test_a_bad_ratio_is_said_and_is_one(argument: str, caplog: pytest.LogCaptureFixture) -> None:
    """Traces are rather kept than lost by a typing mistake."""
    sampler = make_sampler(settings(sampler="parentbased_traceidratio", sampler_arg=argument))
    assert sampler.static == (1.0, 1.0, 0.0, 1.0, 0.0)
    assert [repr(argument) in message for message in messages(caplog)] == [True]


@pytest.mark.parametrize("name", ["jaeger_remote", "parentbased_jaeger_remote", "xray", "sometimes"])
def test_an_unknown_sampler_is_said_and_not_used(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Names whose package is not installed too."""
    assert make_sampler(settings(sampler=name)).static == (1.0, 1.0, 0.0, 1.0, 0.0)
    assert [repr(name) in message for message in messages(caplog)] == [True]


def test_samplers_of_installed_packages_are_called_with_the_argument(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are found by entry point, under their name as it is written."""
    made: list[Any] = []

    def factory(argument: Any) -> Any:
        made.append(argument)
        if argument == "wrong":
            return 7
        if argument == "broken":
            raise RuntimeError("no server")
        return sdk.ALWAYS_OFF

    def entry_points(group: str, name: str) -> list[Any]:
        assert (group, name) == ("opentelemetry_traces_sampler", "Theirs")
        return [SimpleNamespace(load=lambda: factory)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert base_sampler("Theirs", "a=1") is sdk.ALWAYS_OFF
    assert base_sampler("Theirs", None) is sdk.ALWAYS_OFF
    assert base_sampler("Theirs", "wrong").static is not None
    assert "int" in messages(caplog)[-1]
    _diagnostics.reset()
    assert base_sampler("Theirs", "broken").static is not None
    assert "no server" in messages(caplog)[-1]
    assert made == ["a=1", None, "wrong", "broken"]


# ---- rules


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("/pay", "/pay", True),
        ("/pay", "/pay/1", False),
        ("/pay/*", "/pay/", True),
        ("/pay/*", "/pay", False),
        ("*", "", True),
        ("**", "anything", True),
        ("*/health", "GET /a/health", True),
        ("*/health", "/healthy", False),
        ("GET /*/items/*", "GET /a/items/7", True),
        ("GET /*/items/*", "POST /a/items/7", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "acb", False),
        ("aa*aa", "aaa", False),
        ("*ab*ab*", "ab", False),
        ("*ab*b", "ab", False),
        ("*a*", "bbabb", True),
        ("[a]?", "[a]?", True),
        ("[a]?", "ab", False),
    ],
)
def test_a_pattern_matches_the_whole_text(pattern: str, text: str, expected: bool) -> None:
    """A star is any run of characters; every other character is itself."""
    assert matches(pattern, text) is expected


def test_a_pattern_takes_no_time_to_fail() -> None:
    """Each part is looked for once: no text of a caller makes it explode."""
    assert not matches("*a" * 50 + "*b", "a" * 100_000)


RULES = "GET /pay/*=1,*/health=0,job-*=0,/exact=1,*=0.5"


def test_the_first_rule_that_matches_decides() -> None:
    """By the span's name, by METHOD and path, or by the path."""
    sampler = make_sampler(settings(sample_rules=RULES))
    high, low = 2**64 - 1, 1  # not taken and taken by a ratio of one half
    get = {"http.request.method": "GET", "url.path": "/pay/7"}
    assert taken(sampler, "GET", trace_id=high, **get)
    assert taken(sampler, "GET /pay/{id}", trace_id=high)
    assert not taken(sampler, "POST", trace_id=high, **{**get, "http.request.method": "POST"})
    assert not taken(sampler, "GET", trace_id=low, **{**get, "url.path": "/health"})
    old_names = {"http.method": "GET", "http.target": "/a/health?full=1"}
    assert not taken(sampler, "GET", trace_id=low, **old_names)
    assert not taken(sampler, "job-7", trace_id=low)
    assert taken(sampler, "GET", trace_id=high, **{"url.path": "/exact"})
    assert taken(sampler, "GET", trace_id=high, **{"http.route": "/exact", "url.path": "/other"})
    assert taken(sampler, "other", trace_id=low)
    assert not taken(sampler, "other", trace_id=high)


def test_without_a_matching_rule_the_configured_sampler_decides() -> None:
    """Rules are exceptions to it."""
    sampler = make_sampler(settings(sampler="always_off", sample_rules="pay=1"))
    assert sampler.static is None
    assert taken(sampler, "pay")
    assert not taken(sampler, "other")


@pytest.mark.parametrize("base", ["always_on", "always_off", "parentbased_always_on"])
def test_children_follow_the_root_that_a_rule_decided_on(base: str) -> None:
    """A trace is taken whole or not at all, whatever the names of its spans."""
    sampler = make_sampler(settings(sampler=base, sample_rules="a=1,b=0", sample_budget=1000.0))
    for name in "abc":
        assert taken(sampler, name, PARENTS["local sampled"])
        assert not taken(sampler, name, PARENTS["local not"])


def test_a_remote_parent_is_the_configured_samplers_matter() -> None:
    """Rules are for traces that begin here."""
    sampler = make_sampler(settings(sample_rules="a=1,b=0"))
    assert taken(sampler, "b", PARENTS["remote sampled"])
    assert not taken(sampler, "a", PARENTS["remote not"])


def test_bad_rules_are_said_and_the_others_hold(caplog: pytest.LogCaptureFixture) -> None:
    """One message for each; spaces and an empty rule are no mistake."""
    rules = read_rules(" a = 1 ,nonsense,=1,b=2,c=x,d=nan, ,e=0,k=v=0.5,")
    assert rules == [("a", 1.0), ("e", 0.0), ("k=v", 0.5)]
    assert len(messages(caplog)) == 5
    assert all("NOOPS_SAMPLE_RULES" in message for message in messages(caplog))
    assert read_rules(None) == []
    assert make_sampler(settings(sample_rules="nonsense")).static is not None


def test_strange_names_and_attributes_never_raise() -> None:
    """A sampler runs in the application's call."""
    sampler = make_sampler(settings(sampler="always_on", sample_rules="x=0"))

    class Strange:
        def __str__(self) -> str:
            raise RuntimeError

    strange = Strange()
    for attributes in ({"url.path": [1]}, {"url.path": strange}, {"http.method": {}}, [1], 7, strange):
        assert sampler.should_sample(ROOT, 1, "name", None, attributes).decision.is_sampled()
    assert sampler.should_sample(ROOT, 1, None, None, None).decision.is_sampled()


def test_remembered_verdicts_are_bounded() -> None:
    """Neither many nor long paths fill the memory."""
    sampler = RuleSampler([("/7*", 1.0)], KNOWN["always_off"](0.0))
    for number in range(3 * RuleSampler.MAX_CACHED):
        assert taken(sampler, "GET", **{"url.path": f"/{number}"}) == str(number).startswith("7")
    assert 0 < len(sampler._verdicts) <= RuleSampler.MAX_CACHED
    sampler._verdicts.clear()
    assert taken(sampler, "GET", **{"url.path": "/7" + "x" * 10_000})
    assert sampler._verdicts == {}


# ---- budget


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def admitted(sampler: Any, clock: Clock, seconds: float, per_second: float) -> int:
    """How many of evenly spaced roots are taken."""
    count = 0
    for _ in range(round(seconds * per_second)):
        count += taken(sampler)
        clock.now_s += 1 / per_second
    return count


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (100.0, 100), (2.5, 2), (1.0, 1), (0.1, 1)])
def test_a_budget_lets_a_second_s_worth_in_at_once(rate: float, burst: int) -> None:
    """And not one more while the clock stands."""
    clock = Clock()
    sampler = BudgetSampler(KNOWN["always_on"](1.0), rate, clock)
    assert sum(taken(sampler) for _ in range(1000)) == burst
    clock.now_s += 1 / rate
    assert [taken(sampler), taken(sampler)].count(True) == 1
    clock.now_s += 3600
    assert sum(taken(sampler) for _ in range(1000)) == burst


@pytest.mark.parametrize("rate", [0.5, 7.0, 50.0])
def test_a_budget_holds_over_time(rate: float) -> None:
    """What is taken is the rate times the time, and one second's worth more at most."""
    clock = Clock()
    sampler = BudgetSampler(KNOWN["always_on"](1.0), rate, clock)
    count = admitted(sampler, clock, 100, 200)
    assert rate * 100 <= count <= rate * 100 + max(rate, 1) + 1


def test_traffic_below_the_budget_is_taken_whole() -> None:
    """A budget is a bound, not a ratio."""
    clock = Clock()
    sampler = BudgetSampler(KNOWN["always_on"](1.0), 10, clock)
    assert admitted(sampler, clock, 60, 9) == 60 * 9


def test_a_budget_of_nothing_takes_nothing() -> None:
    """Zero is zero."""
    assert not any(taken(BudgetSampler(KNOWN["always_on"](1.0), 0.0, Clock())) for _ in range(10))


def test_a_budget_is_spent_on_roots_that_would_be_taken() -> None:
    """Children, continued traces and roots that the sampler declines cost nothing."""
    sampler = BudgetSampler(make_sampler(settings(sample_rules="no=0")), 1, Clock())
    for _ in range(10):
        assert taken(sampler, context=PARENTS["remote sampled"])
        assert taken(sampler, context=PARENTS["local sampled"])
        assert not taken(sampler, "no")
    assert [taken(sampler) for _ in range(3)] == [True, False, False]


def test_a_clock_that_steps_back_takes_no_more_than_it_should() -> None:
    """And the budget goes on when the time does."""
    clock = Clock()
    sampler = BudgetSampler(KNOWN["always_on"](1.0), 1, clock)
    assert taken(sampler)
    clock.now_s -= 500
    assert not taken(sampler)
    clock.now_s += 501
    assert taken(sampler)


def test_a_budget_composes_over_a_sampler_of_the_sdk() -> None:
    """Its result stands where there is room, attributes and all."""

    class Theirs(sdk.Sampler):
        def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any) -> Any:
            decision = sdk.Decision.RECORD_ONLY if name == "local" else sdk.Decision.RECORD_AND_SAMPLE
            return sdk.SamplingResult(decision, {"why": "theirs"})

        def get_description(self) -> str:
            return "Theirs"

    sampler = BudgetSampler(Theirs(), 1, Clock())
    assert sampler.get_description() == "Budget{1/s,of:Theirs}"
    assert sampler.should_sample(ROOT, 1, "local").decision is sdk.Decision.RECORD_ONLY
    first, second = sampler.should_sample(ROOT, 1, "x"), sampler.should_sample(ROOT, 1, "x", None, {"a": 1})
    assert (first.decision, dict(first.attributes)) == (sdk.Decision.RECORD_AND_SAMPLE, {"why": "theirs"})
    assert (second.decision, dict(second.attributes)) == (sdk.Decision.DROP, {})


def test_threads_share_one_budget() -> None:
    """Eight threads together get hardly more than one would."""
    sampler = BudgetSampler(KNOWN["always_on"](1.0), 100, Clock())
    counts: list[int] = []
    ready = threading.Barrier(8)

    def work() -> None:
        ready.wait()
        counts.append(sum(taken(sampler) for _ in range(500)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 <= sum(counts) <= 150


def test_both_cores_ask_a_sampler_that_is_not_static(bench: Bench) -> None:
    """Rules and budget decide on real spans."""
    bench.tracing.sampler = make_sampler(settings(sample_rules="no*=0", sample_budget=1000.0))
    for name in ("yes", "no-1"):
        with bench.tracer.start_as_current_span(name), bench.tracer.start_as_current_span(f"{name} child"):
            pass
    assert [span.name for span in bench.spans()] == ["yes child", "yes"]
