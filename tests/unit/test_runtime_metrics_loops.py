"""Ready-made metrics of event loops: how late they are, and their tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from noops_agent._signals.runtime import loops as loops_module
from noops_agent._signals.runtime.loops import MOST_LOOPS, is_ordinary
from noops_agent._signals.runtime.measuring import SCOPE, Measuring

from .metering import PROVIDERS, Metering

LAG, TASKS = "cpython.asyncio.loop.lag", "cpython.asyncio.task.count"
RUN_FOREVER = asyncio.base_events.BaseEventLoop.run_forever


def new_uvloop() -> Any:
    """Make a loop of uvloop."""
    return pytest.importorskip("uvloop", reason="pip install uvloop").new_event_loop()


KINDS: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop, "uvloop": new_uvloop}


@pytest.fixture(params=PROVIDERS)
def metering(request: pytest.FixtureRequest) -> Iterator[Metering]:
    """Each provider in turn."""
    made = Metering(request.param)
    yield made
    made.close()


@pytest.fixture
def measuring(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measuring]:
    """The ready-made metrics, on, with short steps."""
    monkeypatch.setattr(loops_module, "INTERVAL_S", 0.01)
    made = Measuring(metering.provider.get_meter(SCOPE))
    made.start()
    yield made
    made.stop()
    assert asyncio.base_events.BaseEventLoop.run_forever is RUN_FOREVER


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest, measuring: Measuring) -> Iterator[Any]:
    """A loop of each kind in turn."""
    made = KINDS[request.param]()
    yield made
    made.close()


def lateness(metering: Metering) -> tuple[int, float]:
    """Number and sum of the measurements so far."""
    found: tuple[int, float] = metering.values().get(LAG, {}).get((0,), (0, 0.0))
    return found


async def measured(metering: Metering, count: int) -> float:
    """Let the loop run until there are some measurements; their sum."""
    while lateness(metering)[0] < count:
        await asyncio.sleep(0.005)
    return lateness(metering)[1]


def waiting(loop: Any) -> int:
    """How many timers wait in a loop of asyncio, those that were taken back left out."""
    return sum(not timer.cancelled() for timer in getattr(loop, "_scheduled", ()))


# ---- what is measured ------------------------------------------------------------------------------------


def test_a_blocked_loop_is_late(loop: Any, metering: Metering) -> None:
    """By about as long as it was blocked."""

    async def main() -> float:
        await measured(metering, 2)
        before = lateness(metering)
        time.sleep(0.2)
        return await measured(metering, before[0] + 1) - before[1]

    assert loop.run_until_complete(main()) > 0.1


def test_tasks_that_are_not_done_are_counted_by_loop(loop: Any, metering: Metering) -> None:
    """Each loop has the lowest number that is free."""
    inner: list[Any] = []

    def other() -> None:
        async def main() -> None:
            inner.append(metering.values()[TASKS])

        asyncio.run(main())

    async def main() -> Any:
        tasks = [asyncio.ensure_future(asyncio.sleep(60)) for _ in range(3)]
        thread = threading.Thread(target=other)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        alone = metering.values()[TASKS]
        for task in tasks:
            task.cancel()
        return alone

    alone = loop.run_until_complete(main())
    assert inner == [{(0,): 4, (1,): 1}]
    assert alone == {(0,): 4}
    assert TASKS not in metering.values() or not metering.values()[TASKS].get((0,))


def test_lateness_has_boundaries_of_its_own(loop: Any, metering: Metering) -> None:
    """The usual ones begin at 5, which is seconds here."""
    loop.run_until_complete(measured(metering, 1))
    (point, *_) = metering.collect()[LAG].data.data_points
    assert point.explicit_bounds[0] == 0.001


def test_a_loop_that_runs_already_is_found(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init` may be called by a coroutine. The loop is let go of all the same."""
    monkeypatch.setattr(loops_module, "INTERVAL_S", 0.01)
    measuring = Measuring(metering.provider.get_meter(SCOPE))

    async def main() -> float:
        measuring.start()
        assert metering.values()[TASKS] == {(0,): 1}
        return await measured(metering, 2)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    assert (0,) not in metering.values().get(TASKS, {})
    assert measuring.loops.running == {}
    loop.close()
    measuring.stop()


def test_loops_that_run_when_the_first_provider_comes_are_measured(metering: Metering, measuring: Measuring) -> None:
    """Until then they are only known."""
    measuring.loops.timing = False

    async def main() -> float:
        await asyncio.sleep(0.03)
        assert lateness(metering)[0] == 0
        measuring.loops.time()
        return await measured(metering, 2)

    assert asyncio.run(main()) >= 0


# ---- what the host sees ----------------------------------------------------------------------------------


def test_a_loop_that_is_over_holds_nothing_of_ours(loop: Any, metering: Metering, measuring: Measuring) -> None:
    """No timer, and nobody holds the loop."""
    loop.run_until_complete(asyncio.sleep(0.03))
    assert waiting(loop) == 0
    assert measuring.loops.running == {}


def test_the_results_of_a_loop_are_its_own(loop: Any) -> None:
    """Values, exceptions, and the error of a loop that is run twice."""

    async def fail() -> None:
        raise KeyError("x")

    async def again() -> None:
        with pytest.raises(RuntimeError, match="running"):
            loop.run_forever()

    async def value() -> int:
        return 7

    assert loop.run_until_complete(value()) == 7
    with pytest.raises(KeyError):
        loop.run_until_complete(fail())
    loop.run_until_complete(again())
    assert loop.run_until_complete(value()) == 7


def test_the_method_looks_as_before(measuring: Measuring) -> None:
    """Name, signature and documentation."""
    method = asyncio.base_events.BaseEventLoop.run_forever
    assert method is not RUN_FOREVER
    assert (method.__name__, method.__qualname__, method.__doc__) == (
        RUN_FOREVER.__name__,
        RUN_FOREVER.__qualname__,
        RUN_FOREVER.__doc__,
    )


class SteppedLoop(asyncio.SelectorEventLoop):
    """A test's loop, with a time of its own that never passes by itself."""

    now = 0.0

    def time(self) -> float:
        return self.now


def test_loops_with_a_time_of_their_own_get_no_timer(metering: Metering, measuring: Measuring) -> None:
    """A test that steps through the timers of its loop must find its own alone."""
    patched = asyncio.new_event_loop()
    patched.time = lambda: 0.0  # type: ignore[method-assign]
    for loop in (SteppedLoop(), patched):

        async def main(loop: Any = loop) -> int:
            return waiting(loop)

        assert loop.run_until_complete(main()) == 0
        loop.close()


def test_a_loop_in_debug_mode_gets_no_timer(metering: Metering, measuring: Measuring) -> None:
    """There every callback is looked at."""

    async def main() -> int:
        return waiting(asyncio.get_running_loop())

    assert asyncio.run(main(), debug=True) == 0
    assert asyncio.run(main()) == 1


def test_the_timer_holds_no_context(metering: Metering, measuring: Measuring) -> None:
    """Else whatever was current when a loop was started would live as long as the loop."""
    import contextvars

    class Large:
        pass

    current: contextvars.ContextVar[Any] = contextvars.ContextVar("current")
    large = Large()
    seen = weakref.ref(large)
    loop = asyncio.new_event_loop()

    def start(large: Any) -> None:
        current.set(large)
        loop.call_soon(loop.stop, context=contextvars.Context())
        loop.run_forever()

    async def timers() -> list[Any]:
        return [timer._context for timer in loop._scheduled]  # type: ignore[attr-defined]

    contextvars.copy_context().run(start, large)
    (context,) = loop.run_until_complete(timers())
    assert list(context) == []
    del large
    gc.collect()
    assert seen() is None
    loop.close()


def test_more_loops_than_are_measured_run_all_the_same(metering: Metering, measuring: Measuring) -> None:
    """A program may have a loop in each of its threads."""
    numbers = list(range(MOST_LOOPS + 3))
    together = threading.Barrier(len(numbers))
    results: list[int] = []

    async def main(number: int) -> None:
        together.wait(60)
        if number == 0:
            assert len(measuring.loops.running) == MOST_LOOPS
        together.wait(60)
        results.append(number)

    threads = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == numbers
    assert measuring.loops.running == {}


def test_loops_that_are_run_again_and_again_gather_nothing(metering: Metering, measuring: Measuring) -> None:
    """Synchronous code often drives a loop call by call."""
    loop = asyncio.new_event_loop()

    async def nothing() -> None:
        pass

    for _ in range(500):
        loop.run_until_complete(nothing())
    assert waiting(loop) == 0
    assert len(loop._scheduled) <= 200  # type: ignore[attr-defined]
    loop.close()


def test_a_failing_histogram_is_not_the_loops_trouble(measuring: Measuring) -> None:
    """The timer ends, and the loop hears nothing."""

    class Broken:
        def record(self, *args: Any) -> None:
            raise ValueError("broken")

    measuring.loops._histogram = Broken()
    heard: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, about: heard.append(about))
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert heard == []


# ---- off -------------------------------------------------------------------------------------------------


def test_a_wrapper_that_came_after_ours_stays(metering: Metering) -> None:
    """It is not ours to take away; ours beneath it does nothing any more, and is not put there twice."""
    measuring = Measuring(metering.provider.get_meter(SCOPE))
    measuring.start()
    kind = asyncio.base_events.BaseEventLoop
    ours = kind.run_forever

    def theirs(self: Any) -> Any:
        return ours(self)

    kind.run_forever = theirs  # type: ignore[method-assign]
    try:
        measuring.stop()
        assert kind.run_forever is theirs
        asyncio.run(asyncio.sleep(0))
        assert measuring.loops.running == {}
        measuring.start()
        assert kind.run_forever is theirs

        async def main() -> int:
            return len(measuring.loops.running)

        assert asyncio.run(main()) == 1
    finally:
        kind.run_forever = ours  # type: ignore[method-assign]
        measuring.stop()
    assert kind.run_forever is RUN_FOREVER


def test_loops_that_run_when_it_is_off_are_measured_no_more(metering: Metering, measuring: Measuring) -> None:
    """Their timer ends when it is next due."""

    async def main() -> int:
        await measured(metering, 1)
        measuring.stop()
        await asyncio.sleep(0.05)
        return waiting(asyncio.get_running_loop())

    assert asyncio.run(main()) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_by_a_coroutine_has_no_loops(metering: Metering, measuring: Measuring) -> None:
    """The loops run in the parent."""

    async def main() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0 if measuring.loops.running == {} else 3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert asyncio.run(main()) == 0


def test_asyncio_is_not_loaded_by_us() -> None:
    """It is patched when the program loads it."""
    program = """
import sys
import noops_agent
assert "asyncio" not in sys.modules
noops_agent.init()
import opentelemetry.metrics
assert "asyncio" not in sys.modules and "concurrent.futures" not in sys.modules
import asyncio
assert asyncio.BaseEventLoop.run_forever.__module__ == "asyncio.base_events"
assert hasattr(asyncio.BaseEventLoop.run_forever, "__wrapped__")
noops_agent.shutdown()
assert not hasattr(asyncio.BaseEventLoop.run_forever, "__wrapped__")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_which_loops_are_ordinary() -> None:
    """Those of the standard library and of uvloop; what merely looks like one is not."""
    loop = asyncio.new_event_loop()
    assert is_ordinary(loop)
    loop.close()

    class Fake:
        def get_debug(self) -> bool:
            return False

        def time(self) -> float:
            return 0.0

    assert not is_ordinary(Fake())
