"""Processes and pools: a child belongs to the trace in which it was started, a pool's task to where it was given.

The context goes as environment variables do (OpenTelemetry specification 1.60, context/env-carriers.md), but with the
process object or the task: the environment is shared by all threads of the parent. A forked child does not go on in
its parent's span, which it can't end. Workers of pools, and managers, begin without a trace: they outlive what they
are started in.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.carry import Arrives, Carried, CarriedOnce, Departs, Shipped, current, to_environment

LASTING = frozenset(("concurrent.futures.process", "multiprocessing.managers", "multiprocessing.pool"))


def _lasts(process: Any) -> bool:
    module = getattr(getattr(process, "_target", None), "__module__", None) or type(process).__module__
    return module in LASTING


def _task(pool: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    context = current()
    if not context:
        return None
    carry = _to_thread if type(pool).__name__ == "ThreadPool" else _to_process
    if args:
        return (carry(args[0], context), *args[1:]), kwargs
    kwargs["func"] = carry(kwargs["func"], context)
    return args, kwargs


def _to_thread(function: Any, context: Any) -> Any:
    return Carried(function, context)


def _to_process(function: Any, context: Any) -> Any:
    carrier = to_environment(context)
    return Shipped(function, carrier) if carrier else function


def _callbacks(result: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    context = current()
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
        Before("multiprocessing.pool:Pool.apply_async", _task),
        Before("multiprocessing.pool:Pool._map_async", _task),
        Before("multiprocessing.pool:Pool.imap", _task),
        Before("multiprocessing.pool:Pool.imap_unordered", _task),
        Before("multiprocessing.pool:ApplyResult.__init__", _callbacks),
    ),
)
