"""Executors: a task belongs to the trace in which it was submitted, and so does a callback to where it was added.

A worker is as before once a task is done. Workers of a process pool get the context with the task, in the form of
environment variables: OpenTelemetry specification 1.60, context/env-carriers.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.carry import CarriedOnce, Shipped, current, to_environment


@lru_cache(maxsize=128)
def _pickles(executor: Hashable) -> bool:
    """Whether tasks go to another interpreter (Python 3.14): they are pickled, which a context can't be."""
    return any(base.__name__ == "InterpreterPoolExecutor" for base in getattr(executor, "__mro__", ()))


def _to_thread(executor: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    context = current()
    if not context or _pickles(type(executor)):
        return None
    return (CarriedOnce(args[0], context), *args[1:]), kwargs


def _to_process(executor: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    carrier = to_environment(current())
    return ((Shipped(args[0], carrier), *args[1:]), kwargs) if carrier else None


def _callback(future: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    context = current()
    function = args[0] if args else kwargs.pop("fn")
    return ((CarriedOnce(function, context),), kwargs) if context else None


INSTRUMENTATION = Instrumentation(
    library="concurrent_futures",
    hooks=(
        Before("concurrent.futures.thread:ThreadPoolExecutor.submit", _to_thread),
        Before("concurrent.futures.process:ProcessPoolExecutor.submit", _to_process),
        Before("concurrent.futures._base:Future.add_done_callback", _callback),
    ),
)
