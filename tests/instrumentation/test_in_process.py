"""What carries the context makes no span of its own, and keeps nothing."""

from __future__ import annotations

import gc
import logging
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from .conftest import Observe

Prepare = Callable[[], Callable[[], object]]
LIBRARIES = ("threading", "concurrent_futures", "multiprocessing", "logging", "asyncio", "subprocess")


def threads() -> Callable[[], object]:
    def call() -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    return call


def executor() -> Callable[[], object]:
    pool = ThreadPoolExecutor(1)

    def call() -> None:
        future = pool.submit(int)
        future.add_done_callback(lambda done: None)
        future.result()

    return call


def pool() -> Callable[[], object]:
    made = ThreadPool(1)
    return lambda: made.apply(int)


def lines() -> Callable[[], object]:
    logger = logging.Logger("alone")  # the test runner keeps the records of those that it knows of
    logger.addHandler(logging.NullHandler())
    return lambda: logger.error("hello")


@pytest.mark.parametrize("prepare", [threads, executor, pool, lines], ids=lambda prepare: prepare.__name__)
def test_nothing_is_recorded_and_nothing_is_retained(observed: Observe, prepare: Prepare) -> None:
    """Memory is flat, each call in a span of its own; the only spans are those that the test made."""
    many = 500
    with observed(*LIBRARIES) as seen:
        call = prepare()

        def repeat() -> int:
            for _ in range(many):
                with seen.tracer.start_as_current_span("outer"):
                    call()
            made = len(seen.spans)
            seen.clear()
            gc.collect()
            return made

        repeat()
        tracemalloc.start()
        try:
            repeat()
            before = tracemalloc.get_traced_memory()[0]
            assert repeat() == many
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 20_000, grown
