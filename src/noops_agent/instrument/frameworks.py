"""What frameworks do besides calling: they build functions, copy them by name, and keep books in a database.

Patches for libraries that run the application's code, such as job queues and schedulers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .operation import layers
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .hook import Hook
    from .live import Live
    from .model import Args, Kwargs

Watch = Callable[[Any, "Args", "Kwargs"], "Hook | None"]
"""(instance, args, kwargs) -> the hook that describes the calls of what was given; None: leave it alone."""


class Given(Patch):
    """Watches the callable that a call returns, such as a function that was built to run a task."""

    def __init__(self, target: str, watch: Watch, *, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.watch = watch

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper of the call that gives the callable."""

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            try:
                hook = self.watch(args[0], args[1:], kwargs) if bound else self.watch(None, args, kwargs)
                return returned if hook is None else hook.make(live, returned, False)
            except Exception as error:
                live.failed(self.target, error)
                return returned

        return call


class Everywhere(Patch):
    """A patch of a function that other modules have imported by its name: they get the same wrapper.

    The same, because a function is pickled by the name of its home, and has to be what is found there.
    """

    def __init__(self, patch: Patch, *others: str) -> None:
        super().__init__(patch.target, optional=patch.optional)
        self.patch = patch
        self.others = others

    def apply(self, live: Live) -> Callable[[], None]:
        """Put the wrapper in place; modules that come later import it from the function's home."""
        home = sys.modules[self.module]
        original = getattr(home, self.path)
        undo = self.patch.apply(live)
        made = getattr(home, self.path)
        self._replace(original, made)

        def undo_everywhere() -> None:
            undo()
            self._replace(made, getattr(home, self.path))

        return undo_everywhere

    def _replace(self, old: Any, new: Any) -> None:
        for name in self.others:
            module = sys.modules.get(name)
            if module is not None and vars(module).get(self.path) is old:
                setattr(module, self.path, new)


class Muted(Patch):
    """Runs a call in which other layers are left alone: what a framework does in a database for its own books.

    Unlike `Quiet` this lets everything else speak, and the processing of a message begun inside speaks in full.
    """

    def __init__(self, target: str, *muted: str, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.muted = muted or ("db",)

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        muted = layers(*self.muted)
        flags = decorate.flags_of(original)
        if flags & (decorate.CO_GENERATOR | decorate.CO_ASYNC_GENERATOR):
            raise AttributeError(f"{self.target} is a generator")
        if flags & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                if not live.on:
                    return await original(*args, **kwargs)
                with muted():
                    return await original(*args, **kwargs)

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not live.on:
                return original(*args, **kwargs)
            with muted():
                return original(*args, **kwargs)

        return call
