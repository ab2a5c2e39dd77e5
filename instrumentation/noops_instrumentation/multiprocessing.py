"""Processes and pools: a child belongs to the trace in which it was started, a pool's task to where it was given.

The context goes as environment variables do (OpenTelemetry specification 1.60, context/env-carriers.md), but with the
process object or the task: the environment is shared by all threads of the parent. A forked child does not go on in
its parent's span, which it can't end. Workers of pools, and managers, begin without a trace: they outlive what they
are started in.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.carry import Arrives, Carried, CarriedOnce, Carries, Departs, get_current, shipped

LASTING = frozenset(("concurrent.futures.process", "multiprocessing.managers", "multiprocessing.pool"))


def _lasts(process: Any) -> bool:
    module = getattr(getattr(process, "_target", None), "__module__", None) or type(process).__module__
    return module in LASTING


def _task(pool: Any, function: Any, context: Any) -> Any:
    if type(pool).__name__ == "ThreadPool":
        return Carried(function, context)
    return shipped(pool, function, context)


def _callbacks(result: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    context = get_current()
    if not context:
        return None
    pool, *functions = args
    carried = [function and CarriedOnce(function, context) for function in functions]
    for name, function in kwargs.items():
        if callable(function) and name != "pool":
            kwargs[name] = CarriedOnce(function, context)
    return (pool, *carried), kwargs


INSTRUMENTATION = Instrumentation(
    library="multiprocessing",
    hooks=(
        Departs("multiprocessing.process:BaseProcess.start", _lasts),
        Arrives("multiprocessing.process:BaseProcess._bootstrap"),
        Carries("multiprocessing.pool:Pool.apply_async", _task, "func"),
        Carries("multiprocessing.pool:Pool._map_async", _task, "func"),
        Carries("multiprocessing.pool:Pool.imap", _task, "func"),
        Carries("multiprocessing.pool:Pool.imap_unordered", _task, "func"),
        Before("multiprocessing.pool:ApplyResult.__init__", _callbacks),
    ),
)
