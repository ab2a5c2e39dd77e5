"""One suite over all integrations: what each of them owes to the program that it is a guest in."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import pickle
import pkgutil
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import pytest
from opentelemetry import trace

import noops_agent
from noops_agent.instrument import Hook, Instrumentation, Patch, registry
from noops_instrumentation import LIBRARIES
from tests.conftest import Never

from . import cases
from .cases import Case
from .conftest import Seen, observe

CASE_FILES = sorted(module.name for module in pkgutil.iter_modules(cases.__path__))


def integration(library: str) -> Instrumentation:
    """Load an integration; skip where its library is not installed."""
    for trigger in LIBRARIES[library]:
        try:
            importlib.import_module(trigger)
        except ImportError:
            continue
        found = registry.find(library)
        assert found is not None
        return found
    pytest.skip(f"no library that {library} instruments is installed: pip install -e '.[test]'")


def target_of(patch: Patch) -> tuple[Any, str, Any]:
    """Find a target: its owner, its name, and what stands there."""
    owner: Any = importlib.import_module(patch.module)
    *path, name = patch.path.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name, inspect.getattr_static(owner, name)


def targets(found: Instrumentation) -> Iterator[tuple[Patch, Any, str, Any]]:
    """Walk the targets that this version of the library has."""
    for patch in found.hooks:
        try:
            yield patch, *target_of(patch)
        except (ImportError, AttributeError):
            if not patch.optional:
                importlib.import_module(patch.module)


# ---- every integration: patching -------------------------------------------------------------------------


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_file_declares_the_library_that_it_is_named_for(library: str) -> None:
    """The index, the file and the name that users switch it off by are one."""
    assert integration(library).library == library


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_everything_is_patched_and_everything_is_undone_twice(library: str) -> None:
    """Patch, undo, patch again: each target is found, and afterwards the very objects from before are back."""
    found = integration(library)
    before = [(owner, name, original) for _, owner, name, original in targets(found)]
    for _ in range(2):
        handle = registry.enable(library)
        try:
            report = handle.report()
            assert report.state in (registry.PATCHED, registry.WAITING), report
            changed = [inspect.getattr_static(owner, name) is not original for owner, name, original in before]
            assert all(changed)
        finally:
            handle.disable()
        for owner, name, original in before:
            assert inspect.getattr_static(owner, name) is original


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_wrapped_callable_keeps_kind_signature_and_name(library: str) -> None:
    """What inspects, documents or pickles the callable finds what it would have found."""
    found = integration(library)
    before = list(targets(found))
    kinds = [described(original) for _, _, _, original in before]
    handle = registry.enable(library)
    try:
        for (patch, owner, name, _), kind in zip(before, kinds, strict=True):
            assert described(inspect.getattr_static(owner, name)) == kind, patch.target
    finally:
        handle.disable()


def described(raw: Any) -> tuple[Any, ...]:
    """Everything about a callable that others may ask for."""
    function = getattr(raw, "__func__", raw)
    try:
        signature: Any = inspect.signature(function)
    except (TypeError, ValueError):
        signature = None
    return (
        isinstance(raw, staticmethod),
        isinstance(raw, classmethod),
        isinstance(function, FunctionType),
        inspect.iscoroutinefunction(function),
        inspect.isgeneratorfunction(function),
        inspect.isasyncgenfunction(function),
        str(signature),
        getattr(function, "__name__", None),
        getattr(function, "__qualname__", None),
        getattr(function, "__module__", None),
        getattr(function, "__doc__", None),
    )


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_wrapped_module_function_is_pickled_by_its_name(library: str) -> None:
    """Multiprocessing and task queues send functions so."""
    found = integration(library)
    functions = [(owner, name) for patch, owner, name, _ in targets(found) if not isinstance(owner, type)]
    handle = registry.enable(library)
    try:
        for owner, name in functions:
            function = getattr(owner, name)
            if getattr(sys.modules.get(function.__module__), function.__qualname__, None) is function:
                assert pickle.loads(pickle.dumps(function)) is function
    finally:
        handle.disable()


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_an_integration_stays_within_its_room(library: str) -> None:
    """A description awaits nothing, catches nothing and logs nothing: that is the contract's."""
    found = integration(library)
    source = inspect.getsource(sys.modules[f"noops_instrumentation.{found.library}"])
    for word in ("await ", "try:", "import logging", "start_span"):
        assert word not in source or (library == "logging" and word == "import logging"), word


# ---- every library with a case: calls --------------------------------------------------------------------


@contextmanager
def opened(library: str) -> Iterator[list[Case]]:
    """Open the cases of a library; skip where it is not installed."""
    integration(library)
    with importlib.import_module(f"{cases.__name__}.{library}").cases() as found:
        yield found


@contextmanager
def watched(library: str, **options: Any) -> Iterator[tuple[Seen, list[Case]]]:
    """Enable a library, then open its cases: connections of some drivers are observed from their beginning only."""
    integration(library)
    with observe(library, **options) as seen, opened(library) as found:
        seen.clear()
        yield seen, found


def spans_of(seen: Seen, case: Case) -> list[Any]:
    """The spans that a library made, without those of others."""
    scope = f"noops_instrumentation.{case.library}"
    return [span for span in seen.spans if span.instrumentation_scope.name == scope]


def durations(seen: Seen) -> int:
    """How many durations were measured."""
    return sum(point.count for name, points in seen.metrics().items() if "duration" in name for point in points)


def run(case: Case) -> None:
    """Make a case's call, in whatever flavour it has."""
    if case.call is not None:
        case.call()
    else:
        assert case.acall is not None
        asyncio.run(case.acall())  # type: ignore[arg-type]


each_library = pytest.mark.parametrize("library", CASE_FILES)


@each_library
def test_a_call_makes_its_spans_under_the_span_that_is_current(library: str) -> None:
    """And afterwards that one is current again."""
    with watched(library) as (seen, found):
        for case in found:
            seen.clear()
            with seen.tracer.start_as_current_span("parent") as parent:
                run(case)
                assert trace.get_current_span() is parent
            made = spans_of(seen, case)
            assert len(made) == case.spans, (case.name, [span.name for span in seen.spans])
            assert {span.context.trace_id for span in made} == {parent.get_span_context().trace_id}
            outer = {parent.get_span_context().span_id, *(span.context.span_id for span in seen.spans)}
            assert all(span.parent.span_id in outer for span in made)


@each_library
def test_sync_equals_async(library: str) -> None:
    """Both flavours of a call are told alike."""
    with watched(library) as (seen, found):
        for case in found:
            if case.call is None or case.acall is None:
                continue
            told = []
            for flavour in (case._replace(acall=None), case._replace(call=None)):
                seen.clear()
                run(flavour)
                told.append([(span.name, span.kind, sorted(span.attributes)) for span in spans_of(seen, case)])
            assert told[0] == told[1], case.name


@each_library
def test_suppressed_calls_make_nothing(library: str) -> None:
    """Neither a span nor a measurement."""
    with watched(library) as (seen, found):
        before = durations(seen)
        for case in found:
            with noops_agent.suppress():
                run(case)
            assert spans_of(seen, case) == []
        assert durations(seen) == before


@each_library
def test_excluded_calls_make_nothing(library: str) -> None:
    """`excluded_urls` leaves out requests whose URL matches."""
    with opened(library) as found:
        patterns = [case.excluded for case in found]
    for at, pattern in enumerate(patterns):
        if not pattern:
            continue
        with watched(library, excluded_urls=pattern) as (seen, found):
            before = durations(seen)
            run(found[at])
            assert spans_of(seen, found[at]) == []
            assert durations(seen) == before


@each_library
def test_calls_that_are_not_sampled_are_measured_all_the_same(library: str) -> None:
    """Metrics come from all calls."""
    counts = []
    for sampler in (None, Never()):
        with watched(library, sampler=sampler) as (seen, found):
            before = durations(seen)
            for case in found:
                run(case)
            counts.append(durations(seen) - before)
            assert bool(seen.spans) == (sampler is None)
    assert counts[0] == counts[1]


@each_library
def test_a_failure_of_ours_stays_inside_and_ends(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A describer that raises costs the span and not the call; the third time it is left out for good."""

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("ours")

    for hook in integration(library).hooks:
        if isinstance(hook, Hook):
            monkeypatch.setattr(hook, "describe", broken)
    with watched(library) as (_, found):
        for case in found:
            for _ in range(4):
                run(case)


@each_library
def test_an_error_of_the_library_reaches_the_caller_and_its_span(library: str) -> None:
    """The same error as without us, and a span that names it."""
    plain = []
    with opened(library) as found:
        for case in found:
            if case.fails is not None:
                with pytest.raises(Exception) as caught:
                    case.fails()
                plain.append((type(caught.value), str(caught.value)[:20]))
    with watched(library) as (seen, found):
        for case in found:
            if case.fails is None:
                continue
            seen.clear()
            kind, text = plain.pop(0)
            with pytest.raises(kind) as caught:
                case.fails()
            assert (type(caught.value), str(caught.value)[:20]) == (kind, text)
            failed = [span for span in spans_of(seen, case) if "error.type" in span.attributes]
            assert failed, case.name
            assert failed[-1].status.status_code is trace.StatusCode.ERROR


@each_library
def test_tasks_that_run_at_once_do_not_mix(library: str) -> None:
    """Each call is under the span of its own task."""
    with watched(library) as (seen, found):
        for case in found:
            if case.acall is not None:
                seen.clear()
                traces = asyncio.run(at_once(seen, case.acall))
                made = [span.context.trace_id for span in spans_of(seen, case)]
                assert sorted(made) == sorted(traces * case.spans)


async def at_once(seen: Seen, call: Callable[[], Awaitable[Any]]) -> list[int]:
    """Make a call in five tasks at once, each under a span of its own; give their traces."""

    async def one(number: int) -> int:
        with seen.tracer.start_as_current_span(f"task {number}") as span:
            await asyncio.sleep(0)
            await call()
            assert trace.get_current_span() is span
            return int(span.get_span_context().trace_id)

    return await asyncio.gather(*map(one, range(5)))


@each_library
def test_nothing_is_retained(library: str) -> None:
    """Memory is flat over 10 000 calls, or over as many as half a second has room for.

    Where it grows, by caches of the library's own or by what the other end of a test keeps, it grows as without us.
    """
    with watched(library, sampler=Never()) as (_, found):
        growths = [growth(case) for case in found]
    if max(growths) > FLAT_BYTES:
        with opened(library) as found:
            bare = [growth(case) for case in found]
        assert all(mine < theirs * 1.2 + FLAT_BYTES for mine, theirs in zip(growths, bare, strict=True)), growths


FLAT_BYTES = 64.0
"""Growth by call below which nothing is kept of a call; a span, an operation or a call that is kept has far more."""
NOISE_BYTES = 70_000
"""What interpreter, caches and the other end come and go with."""
LEAST_CALLS = 50
"""What is kept of so many calls is more than that."""


def growth(case: Case) -> float:
    """Give how many bytes of memory each call leaves behind.

    What is kept of calls is kept of all of them: of several tries, the one in which the least else went on counts.
    """
    least = float("inf")
    for _ in range(4):
        repeat(case, LEAST_CALLS, 0.3)
        gc.collect()
        tracemalloc.start()
        try:
            made = repeat(case, case.many, 0.5)
            gc.collect()
            least = min(least, max(0, tracemalloc.get_traced_memory()[0] - NOISE_BYTES) / made)
        finally:
            tracemalloc.stop()
        if least <= FLAT_BYTES:
            break
    return least


def repeat(case: Case, many: int, longest_s: float) -> int:
    """Make a call many times, within a time; give how often."""
    until = time.monotonic() + longest_s
    if case.call is None:
        return asyncio.run(arepeat(case, many, until))
    for made in range(many):
        case.call()
        if made >= LEAST_CALLS and time.monotonic() > until:
            return made + 1
    return many


async def arepeat(case: Case, many: int, until: float) -> int:
    """Do the same in one event loop."""
    assert case.acall is not None
    for made in range(many):
        await case.acall()
        if made >= LEAST_CALLS and time.monotonic() > until:
            return made + 1
    return many
