"""asyncio keeps the trace by itself, or with the executors' help: proof for each way from task to task and thread."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace

from .conftest import Observe


def current_id() -> int:
    """The id of the span that is current; 0 where there is none."""
    return int(trace.get_current_span().get_span_context().span_id)


async def current_id_later() -> int:
    await asyncio.sleep(0)
    return current_id()


async def by_to_thread() -> int:
    return await asyncio.to_thread(current_id)


async def by_executor() -> int:
    return await asyncio.get_running_loop().run_in_executor(None, current_id)


async def by_own_executor() -> int:
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, current_id)


async def by_task() -> int:
    return await asyncio.create_task(current_id_later())


async def by_gather() -> int:
    (found,) = await asyncio.gather(current_id_later())
    return found


async def by_task_group() -> int:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no task groups")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(current_id_later())
    return task.result()


async def by_call_soon_threadsafe() -> int:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(lambda: future.set_result(current_id())))
    thread.start()
    return await future


async def by_run_coroutine_threadsafe() -> int:
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(current_id_later(), loop).result())


WAYS = [
    by_to_thread,
    by_executor,
    by_own_executor,
    by_task,
    by_gather,
    by_task_group,
    by_call_soon_threadsafe,
    by_run_coroutine_threadsafe,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_context_of_the_caller_is_there(observed: Observe, way: Callable[[], Awaitable[int]]) -> None:
    """No span is made for a task; the caller's is current in it, and is so afterwards in the caller."""

    async def main() -> tuple[int, int, int]:
        with seen.tracer.start_as_current_span("outer") as outer:
            found = await way()
            return found, current_id(), outer.get_span_context().span_id

    with observed("asyncio", "concurrent_futures", "threading") as seen:
        found, after, own = asyncio.run(main())
    assert found == after == own
    assert [span.name for span in seen.spans] == ["outer"]


def test_a_worker_of_the_loop_is_clean_for_the_next_task(observed: Observe) -> None:
    """The default executor is made in whatever request needs it first."""

    async def main() -> tuple[int, int]:
        with seen.tracer.start_as_current_span("outer"):
            first = await by_executor()
        return first, await by_executor()

    with observed("asyncio", "concurrent_futures", "threading") as seen:
        first, second = asyncio.run(main())
    assert first != 0
    assert second == 0


def test_tasks_that_run_at_once_do_not_mix(observed: Observe) -> None:
    """Each gets its own span back from the shared executor."""

    async def one(number: int) -> bool:
        with seen.tracer.start_as_current_span(f"{number}") as span:
            return await by_executor() == span.get_span_context().span_id

    async def main() -> list[bool]:
        return await asyncio.gather(*map(one, range(20)))

    with observed("asyncio", "concurrent_futures", "threading") as seen:
        assert all(asyncio.run(main()))


def test_cancelling_what_waits_for_a_thread_is_as_ever(observed: Observe) -> None:
    """The awaiting task ends at once; the thread goes on."""
    gate = threading.Event()

    async def main() -> Any:
        with seen.tracer.start_as_current_span("outer"):
            task = asyncio.create_task(asyncio.to_thread(gate.wait))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        gate.set()

    with observed("asyncio", "concurrent_futures", "threading") as seen:
        asyncio.run(main())
