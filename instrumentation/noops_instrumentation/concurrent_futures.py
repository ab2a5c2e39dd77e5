"""Executors: a task belongs to the trace in which it was submitted, and so does a callback to where it was added.

A worker is as before once a task is done. Workers of a process pool get the context with the task, in the form of
environment variables: OpenTelemetry specification 1.60, context/env-carriers.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from noops_agent.instrument import Instrumentation
from noops_agent.instrument.carry import CarriedOnce, Carries, once, shipped


@lru_cache(maxsize=128)
def _pickles(executor: Hashable) -> bool:
    """Whether tasks go to another interpreter (Python 3.14): they are pickled, which a context can't be."""
    return any(base.__name__ == "InterpreterPoolExecutor" for base in getattr(executor, "__mro__", ()))


def _to_thread(executor: Any, function: Any, context: Any) -> Any:
    return function if _pickles(executor.__class__) else CarriedOnce(function, context)


INSTRUMENTATION = Instrumentation(
    library="concurrent_futures",
    hooks=(
        Carries("concurrent.futures.thread:ThreadPoolExecutor.submit", _to_thread),
        Carries("concurrent.futures.process:ProcessPoolExecutor.submit", shipped),
        Carries("concurrent.futures._base:Future.add_done_callback", once, "fn"),
    ),
)
