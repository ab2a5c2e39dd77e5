"""Logging: each record tells the trace and span that it was made in, see `noops_agent.instrument.correlation`.

With `log_correlation` (`OTEL_PYTHON_LOG_CORRELATION`) the root logger gets a handler whose format shows them. It gives
way to the application's own `basicConfig`, which would find a handler there, and do nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs, Live
from noops_agent.instrument.correlation import Correlates

FORMAT = (
    "%(asctime)s %(levelname)s [%(name)s] [%(filename)s:%(lineno)d] [trace_id=%(otelTraceID)s span_id=%(otelSpanID)s "
    "resource.service.name=%(otelServiceName)s trace_sampled=%(otelTraceSampled)s] - %(message)s"
)
"""What a root logger shows that has no format of its own; tools that read logs know it from other agents."""


class CorrelatedHandler(logging.StreamHandler):  # type: ignore[type-arg,unused-ignore]
    """The handler of a root logger that had none."""


def _ours() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if type(handler) is CorrelatedHandler]


def _give_way() -> None:
    for handler in _ours():
        logging.getLogger().removeHandler(handler)


def _show(live: Live) -> Callable[[], object]:
    options = live.instrumentation.options
    root = logging.getLogger()
    if options.get("log_correlation") and not root.handlers:
        handler = CorrelatedHandler()
        handler.setFormatter(logging.Formatter(options.get("log_format", FORMAT)))
        root.addHandler(handler)
    return _give_way


def _configure(_: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    options = INSTRUMENTATION.options
    if not options.get("log_correlation"):
        return None
    _give_way()
    if "style" not in kwargs:
        kwargs.setdefault("format", options.get("log_format", FORMAT))
    return args, kwargs


INSTRUMENTATION = Instrumentation(
    library="logging",
    hooks=(
        Correlates("logging:Logger.handle"),
        Before("logging:basicConfig", _configure),
    ),
    setup=_show,
    options=("log_correlation", "log_format"),
)
