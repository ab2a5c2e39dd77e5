"""Samplers: which traces are recorded.

A sampler whose decision depends only on the parent and the trace id says so in `static`, five ratios: for a
root, and for children of a remote parent that was sampled, or was not, and of a local one likewise.
The core decides those by itself; any other sampler, the SDK's too, is asked by `should_sample`.

Source: OpenTelemetry specification 1.60, trace/sdk.md, "Sampling".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from opentelemetry.trace import get_current_span

from .._core.model import sdk_face
from .._diagnostics import count, say

SDK = "opentelemetry.sdk.trace.sampling"
Ratios = tuple[float, float, float, float, float]


class Decision(Enum):
    """What is done with a new span."""

    DROP = 0
    RECORD_ONLY = 1
    RECORD_AND_SAMPLE = 2

    def is_recording(self) -> bool:
        """Whether the span records anything."""
        return self is not Decision.DROP

    def is_sampled(self) -> bool:
        """Whether the span is exported."""
        return self is Decision.RECORD_AND_SAMPLE


class SamplingResult:
    """A decision, with what the sampler wants the span to begin with; shaped like the SDK's class."""

    __slots__ = ("attributes", "decision", "trace_state")

    def __init__(self, decision: Any, attributes: Mapping[str, Any] | None, trace_state: Any) -> None:
        self.decision = decision
        self.attributes: Mapping[str, Any] = attributes or {}
        self.trace_state = trace_state

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "SamplingResult", SamplingResult)


def result(taken: bool, attributes: Any, parent: Any) -> SamplingResult:
    """Make the result; the trace state of the parent goes on.

    The decision is a member of the SDK's enumeration where that is loaded: its samplers compare by identity.
    """
    kinds: Any = getattr(sys.modules.get(SDK), "Decision", Decision)
    trace_state = parent.trace_state if parent.is_valid else None
    if taken:
        return SamplingResult(kinds.RECORD_AND_SAMPLE, attributes, trace_state)
    return SamplingResult(kinds.DROP, None, trace_state)


class Sampler:
    """What all of ours share: a name, and that they are samplers to the SDK."""

    static: Ratios | None = None

    def __init__(self, name: str) -> None:
        self._name = name

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "Sampler", Sampler)

    def get_description(self) -> str:
        """Name the sampler."""
        return self._name

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Any] | None = None,
        trace_state: Any = None,
    ) -> Any:
        """Decide on one span, as the SDK's samplers do."""
        raise NotImplementedError


class StaticSampler(Sampler):
    """Decides by the parent and the trace id alone.

    Args:
        name: What `get_description` gives.
        static: The five ratios from 0 to 1.
    """

    def __init__(self, name: str, static: Ratios) -> None:
        super().__init__(name)
        self.static: Ratios = static

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Any] | None = None,
        trace_state: Any = None,
    ) -> Any:
        """Decide on one span."""
        parent = get_current_span(parent_context).get_span_context()
        return result(within(self.static[case_of(parent)], trace_id), attributes, parent)


def case_of(parent: Any) -> int:
    """Which of the five cases a parent's span context is."""
    if not parent.is_valid:
        return 0
    return (1 if parent.is_remote else 3) + (0 if parent.trace_flags.sampled else 1)


def within(ratio: float, trace_id: int) -> bool:
    """Whether a ratio takes a trace id: its low 64 bits are below that part of their range, as in the SDK."""
    return trace_id & (2**64 - 1) < round(ratio * 2**64)


def always(ratio: float, name: str) -> StaticSampler:
    """Decide on each span by a ratio, whatever its parent."""
    return StaticSampler(name, (ratio, ratio, ratio, ratio, ratio))


def parent_based(ratio: float, name: str) -> StaticSampler:
    """Follow the parent; decide on roots by a ratio."""
    on, off = "AlwaysOnSampler", "AlwaysOffSampler"
    described = (
        f"ParentBased{{root:{name},remoteParentSampled:{on},remoteParentNotSampled:{off},"
        f"localParentSampled:{on},localParentNotSampled:{off}}}"
    )
    return StaticSampler(described, (ratio, 1.0, 0.0, 1.0, 0.0))


KNOWN: dict[str, Callable[[float], StaticSampler]] = {
    "always_on": lambda _: always(1.0, "AlwaysOnSampler"),
    "always_off": lambda _: always(0.0, "AlwaysOffSampler"),
    "traceidratio": lambda ratio: always(ratio, f"TraceIdRatioBased{{{ratio}}}"),
    "parentbased_always_on": lambda _: parent_based(1.0, "AlwaysOnSampler"),
    "parentbased_always_off": lambda _: parent_based(0.0, "AlwaysOffSampler"),
    "parentbased_traceidratio": lambda ratio: parent_based(ratio, f"TraceIdRatioBased{{{ratio}}}"),
}


class RootSampler(Sampler):
    """Has its own say on the roots of traces, over another sampler; a span with a local parent follows that.

    Args:
        name: What `get_description` gives.
        inner: Ours or the SDK's; asked for spans with a remote parent, and for roots as `decide` sees fit.
    """

    def __init__(self, name: str, inner: Any) -> None:
        super().__init__(name)
        self._inner = inner

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Any] | None = None,
        trace_state: Any = None,
    ) -> Any:
        """Decide on one span."""
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.is_remote:
            return result(parent.trace_flags.sampled, attributes, parent)

        def ask() -> Any:
            return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links)

        if parent.is_valid:
            return ask()
        taken = self.decide(trace_id, name, attributes, ask)
        return result(taken, attributes, parent) if isinstance(taken, bool) else taken

    def decide(self, trace_id: int, name: str, attributes: Any, ask: Callable[[], Any]) -> Any:
        """Decide on a root: whether it is taken, or the result that *ask* gets from the inner sampler."""
        raise NotImplementedError


# ---- rules -----------------------------------------------------------------------------------------------

PATHS = ("url.path", "http.route", "http.target")
METHODS = ("http.request.method", "http.method")


class RuleSampler(RootSampler):
    """Decides on roots by the first rule that matches, else by another sampler.

    Args:
        rules: (pattern, ratio) pairs. A pattern matches the span's name, or "METHOD PATH", or the path, with
            `*` for any run of characters.
        inner: Asked where no rule matches.
    """

    MAX_CACHED = 1024
    MAX_CACHED_LENGTH = 512

    def __init__(self, rules: Sequence[tuple[str, float]], inner: Any) -> None:
        written = ",".join(f"{pattern}={ratio}" for pattern, ratio in rules)
        super().__init__(f"Rules{{{written},else:{inner.get_description()}}}", inner)
        self._rules = tuple(rules)
        self._verdicts: dict[tuple[Any, ...], float | None] = {}

    def decide(self, trace_id: int, name: str, attributes: Any, ask: Callable[[], Any]) -> Any:
        """Decide on a root by its rule."""
        try:
            ratio = self._ratio(name, attributes or {})
        except Exception:
            count("sampling.rules_failed")
            ratio = None
        return ask() if ratio is None else within(ratio, trace_id)

    def _ratio(self, name: str, attributes: Mapping[str, Any]) -> float | None:
        key = (name, *[attributes.get(each) for each in METHODS + PATHS])
        try:
            return self._verdicts[key]
        except KeyError:
            pass
        said = said_of(name, attributes)
        found = (ratio for pattern, ratio in self._rules if any(matches(pattern, text) for text in said))
        ratio = next(found, None)
        if len(self._verdicts) >= self.MAX_CACHED:
            self._verdicts.clear()
        if sum(len(str(each)) for each in key) <= self.MAX_CACHED_LENGTH:
            self._verdicts[key] = ratio
        return ratio


def said_of(name: str, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the texts that a rule may match: the span's name, "METHOD PATH" and the path."""
    method = next((attributes[each] for each in METHODS if each in attributes), "")
    paths = [str(attributes[each]).partition("?")[0] for each in PATHS if each in attributes]
    return (str(name), *(f"{method} {path}" for path in paths), *paths)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern, in which `*` is any run of characters, is the whole of a text."""
    head, *parts = pattern.split("*")
    if not parts:
        return pattern == text
    tail = parts.pop()
    if not text.startswith(head) or not text.endswith(tail) or len(text) < len(head) + len(tail):
        return False
    at, end = len(head), len(text) - len(tail)
    for part in parts:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


# ---- budget ----------------------------------------------------------------------------------------------


class BudgetSampler(RootSampler):
    """Takes at most so many of the traces that another sampler would begin, as a bucket of tokens.

    What is kept is the time at which the bucket would have been empty, one float, so threads need no lock:
    two that ask within the same nanoseconds may share a token.

    Args:
        inner: Decides first.
        per_second: New traces a second; a second's worth may come at once.
        clock_s: Seconds, monotonic.
    """

    def __init__(self, inner: Any, per_second: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(f"Budget{{{per_second}/s,of:{inner.get_description()}}}", inner)
        self._clock_s = clock_s
        self._rate = per_second
        self._token_s = 1 / per_second if per_second > 0 else 0.0
        self._full_s = max(1.0, self._token_s)
        self._empty_s = float("-inf")

    def decide(self, trace_id: int, name: str, attributes: Any, ask: Callable[[], Any]) -> Any:
        """Decide on a root: as the inner sampler, while there are tokens."""
        decided = ask()
        return decided if decided.decision.value != 2 or self._take() else False

    def _take(self) -> bool:
        now_s = self._clock_s()
        empty_s = max(self._empty_s, now_s - self._full_s)
        # less a millionth, for the rounding of sums
        if self._rate <= 0 or now_s - empty_s < self._token_s * (1 - 1e-6):
            return False
        self._empty_s = empty_s + self._token_s
        return True


# ---- what the settings ask for ---------------------------------------------------------------------------


def make_sampler(settings: Any) -> Any:
    """Make the sampler that the settings ask for."""
    sampler = base_sampler(settings.sampler.strip(), settings.sampler_arg)
    rules = read_rules(settings.sample_rules)
    if rules:
        sampler = RuleSampler(rules, sampler)
    if settings.sample_budget is not None:
        sampler = BudgetSampler(sampler, settings.sample_budget)
    return sampler


def base_sampler(name: str, argument: str | None) -> Any:
    """Make the sampler of a name in the specification, or of an installed package."""
    known = KNOWN.get(name.lower())
    if known is not None:
        return known(read_ratio(argument) if "ratio" in name.lower() else 1.0)
    hint = ""
    try:
        from importlib.metadata import entry_points

        for entry in entry_points(group="opentelemetry_traces_sampler", name=name):
            made = entry.load()(argument)
            if callable(getattr(made, "should_sample", None)):
                return made
            hint = f" (its package gave {type(made).__name__}, which is no sampler)"
    except Exception as error:
        hint = f" ({error!r})"
    if not hint and ("jaeger_remote" in name.lower() or name.lower() == "xray"):
        hint = ": no installed package offers it"
    say("sampler.unknown", key=name, name=name, hint=hint)
    return KNOWN["parentbased_always_on"](1.0)


def read_ratio(argument: str | None) -> float:
    """Read a ratio; 1 where it is missing or none."""
    if not argument:
        return 1.0
    try:
        ratio = float(argument)
        if 0 <= ratio <= 1:
            return ratio
    except ValueError:
        pass
    say("sampler.argument", key=argument, value=argument)
    return 1.0


def read_rules(text: str | None) -> list[tuple[str, float]]:
    """Read `pattern=ratio` rules separated by commas; what is none is said and passed over."""
    rules = []
    for rule in (text or "").split(","):
        pattern, separator, ratio = rule.rpartition("=")
        try:
            value = float(ratio)
            if not separator or not pattern.strip() or not 0 <= value <= 1:
                raise ValueError
        except ValueError:
            if rule.strip():
                say("rule.bad", key=rule, rule=rule.strip())
        else:
            rules.append((pattern.strip(), value))
    return rules
