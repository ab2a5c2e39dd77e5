"""The current context on its way into threads, worker pools and child processes.

Only the OpenTelemetry context travels: other context variables are in a new thread what they are without us.

Into a process it goes in the form of environment variables (`TRACEPARENT`, `TRACESTATE`, `BAGGAGE`), whatever the way.
Source: OpenTelemetry specification 1.60, context/env-carriers.md.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import get_current as get_current
from opentelemetry.context.context import Context
from opentelemetry.trace.propagation import _SPAN_KEY

from .._core import decorate
from .._signals.propagation import textmap
from .live import Live
from .patch import Patch, Wrapper

_EMPTY = Context()
_STASH = "_noops_context"
"""Key in the `__dict__` of a thread or process while it is being started; it is gone once that runs."""


class Carried:
    """A function that runs in the context that it was made in, wherever it is called.

    It may be called by several threads at a time, and keeps the context as long as it lives.
    """

    __slots__ = ("_context", "_function")

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self._function = function
        self._context = context

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and restore what was current before."""
        token = context_api.attach(self._context)
        try:
            return self._function(*args, **kwargs)
        finally:
            context_api.detach(token)


class CarriedOnce(Carried):
    """The same for a function that is called once: a future that is kept keeps its callbacks, but no context."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and let go of the context."""
        context, self._context = self._context, _EMPTY
        token = context_api.attach(context)
        del context
        try:
            return self._function(*args, **kwargs)
        finally:
            context_api.detach(token)


class Shipped:
    """A function, pickled together with the context for it.

    A worker process is given this in place of the function. It reads the context once, and runs the function in it.
    """

    __slots__ = ("_carrier", "_context", "_function")

    def __init__(self, function: Callable[..., Any], carrier: Mapping[str, str]) -> None:
        self._function = function
        self._carrier = carrier
        self._context: Context | None = None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and restore what was current before."""
        if self._context is None:
            self._context = from_environment(self._carrier)
        token = context_api.attach(self._context)
        try:
            return self._function(*args, **kwargs)
        finally:
            context_api.detach(token)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shipped, (self._function, self._carrier)


Carry = Callable[[Any, Callable[..., Any], Context], Callable[..., Any]]
"""(instance, function, context) -> what is passed in place of the function; the function itself to leave it."""


class Carries(Patch):
    """A method whose first argument is a function that is called later, or elsewhere: it takes the context with it."""

    def __init__(self, target: str, carry: Carry, keyword: str = "") -> None:
        """
        Args:
            target: "module:Qualified.name" of a method.
            carry: Says what is passed in place of the function.
            keyword: Name of the argument, where it may be given by name.
        """
        super().__init__(target)
        self.carry = carry
        self.keyword = keyword

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        carry, keyword = self.carry, self.keyword

        @functools.wraps(original)
        def call(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            context = get_current()
            if context and live.on:
                try:
                    if args:
                        args = (carry(instance, args[0], context), *args[1:])
                    elif keyword in kwargs:
                        kwargs = {**kwargs, keyword: carry(instance, kwargs[keyword], context)}
                except Exception as error:
                    live.failed(self.target, error)
            return original(instance, *args, **kwargs)

        return call


def once(instance: Any, function: Callable[..., Any], context: Context) -> Callable[..., Any]:
    """Carry a function that is called once, in this process."""
    return CarriedOnce(function, context)


def shipped(instance: Any, function: Callable[..., Any], context: Context) -> Callable[..., Any]:
    """Carry a function to another process."""
    carrier = to_environment(context)
    return Shipped(function, carrier) if carrier else function


# ---- environment variables as a carrier ------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def variable(key: str) -> str:
    """Give the variable for a propagation header: capitals, `_` for what a name can't hold or begin with."""
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key).upper()
    return f"_{name}" if not name or name[0].isdigit() else name


class _Environment:
    """Reads and writes a mapping of environment variables; values are not looked at."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(variable(key))
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)

    def set(self, carrier: Any, key: str, value: str) -> None:
        carrier[variable(key)] = value


_ENVIRONMENT: Any = _Environment()


def to_environment(context: Context) -> dict[str, str]:
    """Give the variables that bring a context to a child process; none for an empty one."""
    carrier: dict[str, str] = {}
    if context:
        textmap().inject(carrier, context, _ENVIRONMENT)
    return carrier


def from_environment(carrier: Mapping[str, str]) -> Context:
    """Read the context that variables bring; a root where they bring none."""
    return textmap().extract(carrier, _EMPTY, _ENVIRONMENT)


def join(environ: Mapping[str, str]) -> Callable[[], None]:
    """Make the context that a parent process put into the environment the current one; gives what undoes it."""
    context = from_environment(environ)
    if not context or get_current():
        return lambda: None
    token = context_api.attach(context)

    def leave() -> None:
        try:
            context_api._RUNTIME_CONTEXT.detach(token)
        except (ValueError, RuntimeError):
            pass  # undone in another thread than the one that was joined

    return leave


# ---- threads ---------------------------------------------------------------------------------------------


def prepare_thread(thread: Any) -> None:
    """Give a thread that is about to start the current context to run in."""
    context = get_current()
    if not context:
        return
    own = thread.__dict__
    given = own.get("_context", own)
    if given is own:  # before Python 3.14
        own[_STASH] = context
    elif given is None and not getattr(sys.flags, "thread_inherit_context", 0):
        fresh = contextvars.Context()
        fresh.run(context_api.attach, context)
        own["_context"] = fresh


class Arrives(Patch):
    """The first function that a thread or process runs: it enters the context that it was started with."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""

        @functools.wraps(original)
        def arrive(self: Any, *args: Any, **kwargs: Any) -> Any:
            stashed = self.__dict__.pop(_STASH, None)
            if stashed is None or not live.on:
                return original(self, *args, **kwargs)
            token = _enter(stashed)
            try:
                return original(self, *args, **kwargs)
            finally:
                if token is not None:
                    context_api.detach(token)

        return arrive


def _enter(stashed: Any) -> Any:
    """Attach a stashed context, or the one that a carrier brings; None where that fails."""
    try:
        return context_api.attach(stashed if isinstance(stashed, Context) else from_environment(stashed))
    except Exception:
        return None


# ---- processes -------------------------------------------------------------------------------------------


class Departs(Patch):
    """The function that starts a process object: the child begins in the caller's context, or in none.

    A forked child would go on in the very span of its parent, an object that it can neither end nor record. It gets
    a remote parent in place of it, as a spawned one does; a worker of a pool gets none, since it serves everybody.
    """

    def __init__(self, target: str, outlives: Callable[[Any], bool]) -> None:
        """
        Args:
            target: The method that starts a process object.
            outlives: Whether a process is to outlive what it is started in.
        """
        super().__init__(target)
        self.outlives = outlives

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""

        @functools.wraps(original)
        def depart(process: Any, *args: Any, **kwargs: Any) -> Any:
            if not live.on or not get_current():
                return original(process, *args, **kwargs)
            self._stash(live, process)
            token = context_api.attach(_EMPTY)
            try:
                return original(process, *args, **kwargs)
            finally:
                context_api.detach(token)
                process.__dict__.pop(_STASH, None)

        return depart

    def _stash(self, live: Live, process: Any) -> None:
        try:
            if not self.outlives(process):
                process.__dict__[_STASH] = to_environment(get_current())
        except Exception as error:
            live.failed(self.target, error)


# ---- what is started in a trace, and outlives it ---------------------------------------------------------


class Outlives(Patch):
    """A call that serves until the process ends: nothing of what it does belongs to the span that it is made in.

    Args:
        target: "module:Qualified.name".
        farewell: Called before, with the context that is left.
    """

    def __init__(self, target: str, farewell: Callable[[Context], object], *, optional: bool = True) -> None:
        super().__init__(target, optional=optional)
        self.farewell = farewell

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper; what it awaits runs in a context of its own, as in a task."""

        def leave() -> Any:
            context = get_current()
            if not live.on or not context:
                return None
            try:
                self.farewell(context)
            except Exception as error:
                live.failed(self.target, error)
            return context_api.attach(_EMPTY)

        if decorate.flags_of(original) & decorate.CO_COROUTINE:

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                token = leave()
                try:
                    return await original(*args, **kwargs)
                finally:
                    if token is not None:
                        context_api.detach(token)

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            token = leave()
            try:
                return original(*args, **kwargs)
            finally:
                if token is not None:
                    context_api.detach(token)

        return call


def end_of(scope: str) -> Callable[[Context], None]:
    """Make a farewell that ends the span that is left, where it is one of an instrumentation scope.

    In another thread than the main one the rest of the program goes on, and so does the span.
    """

    def end(context: Context) -> None:
        span: Any = context.get(_SPAN_KEY)
        made_by = getattr(getattr(span, "instrumentation_scope", None), "name", None)
        if made_by == scope and in_main_thread():
            span.end()

    return end


def in_main_thread() -> bool:
    """Whether this is the program's first thread; where nobody has imported `threading` there is no other."""
    threading = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()
