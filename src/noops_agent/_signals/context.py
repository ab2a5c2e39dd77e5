"""The current context: a runtime that can't fail to detach, and suppression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import opentelemetry.context as context_api
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class RuntimeContext(ContextVarsRuntimeContext):
    """The API's runtime context on the API's own variable, with a `detach` that never fails.

    A generator that is closed in another context than the one it was started in detaches what is not attached
    there. That is no error: there is nothing to restore.
    """

    def __init__(self, current: ContextVarsRuntimeContext) -> None:
        self._current_context = current._current_context

    def detach(self, token: Any) -> None:
        """Restore what was current before *token* was made, where that was in this context."""
        try:
            self._current_context.reset(token)
        except (ValueError, RuntimeError):
            pass


def install() -> Callable[[], None]:
    """Make opentelemetry-api use `RuntimeContext`; gives what undoes it.

    An application that chose another runtime context by `OTEL_PYTHON_CONTEXT` keeps it.
    """
    before = context_api._RUNTIME_CONTEXT
    if type(before) is not ContextVarsRuntimeContext:
        return lambda: None
    ours = context_api._RUNTIME_CONTEXT = RuntimeContext(before)

    def restore() -> None:
        if context_api._RUNTIME_CONTEXT is ours:
            context_api._RUNTIME_CONTEXT = before

    return restore


class suppress:
    """Context manager in which nothing is recorded on account of this agent: no span, no instrumentation."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        context = context_api.set_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, True)
        context = context_api.set_value(context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, context)
        self._tokens.append(context_api.attach(context))

    def __exit__(self, *error: object) -> None:
        try:
            context_api._RUNTIME_CONTEXT.detach(self._tokens.pop())
        except (IndexError, ValueError, RuntimeError):
            pass


def suppressed(context: Context | None = None) -> bool:
    """Whether the running code is inside `suppress()` or another library's equal."""
    return bool(context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, context))
