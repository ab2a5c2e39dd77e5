"""Putting a wrapper in the place of a callable of another library, and taking it away again."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .live import Live

Wrapper = Callable[..., Any]

_covered: dict[int, tuple[Any, Callable[[], None]]] = {}
"""Wrappers that were to be taken away while another one was over them, by identity -> what takes them away."""


class Patch:
    """A change to one target. Subclasses say what takes its place.

    Args:
        target: "module:Qualified.name" of a function, a method, or a static or class method.
        optional: The target is missing in some supported versions, which is no fault.
    """

    def __init__(self, target: str, *, optional: bool = False) -> None:
        self.target = target
        self.optional = optional
        self.module, _, self.path = target.partition(":")

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make what takes the place of a callable.

        Args:
            live: The enabled library.
            original: What is wrapped; without its descriptor.
            bound: Whether it is called with an instance or a class as the first argument.
        """
        raise NotImplementedError

    def apply(self, live: Live) -> Callable[[], None]:
        """Put the wrapper in place, in a module that has been imported; gives what takes it away.

        Raises:
            AttributeError: The target is not there.
        """
        owner: Any = sys.modules[self.module]
        *path, name = self.path.split(".")
        for part in path:
            owner = getattr(owner, part)
        original = inspect.getattr_static(owner, name)
        own = name in vars(owner)
        made = self.wrap(live, original, isinstance(owner, type))
        setattr(owner, name, made)

        def undo() -> None:
            if vars(owner).get(name) is not made:
                _covered[id(made)] = made, undo  # somebody has wrapped it since; until then it passes calls on
                return
            if not own:
                delattr(owner, name)
                return
            setattr(owner, name, original)
            below = _covered.pop(id(original), None)
            if below is not None:  # another library's, which was disabled before
                below[1]()

        return undo

    def wrap(self, live: Live, original: Any, method: bool) -> Any:
        """Wrap a callable so that it stays of the kind that it is.

        A plain function stays one: it binds, is inspected and pickled like any other, and costs a third of a proxy to
        call. What is no plain function gets wrapt's proxy, which keeps its type and identity.
        """
        if isinstance(original, staticmethod):
            return staticmethod(self.wrap(live, original.__func__, False))
        if isinstance(original, classmethod):
            return classmethod(self.wrap(live, original.__func__, True))
        if isinstance(original, FunctionType):
            return self.make(live, original, method)
        if not callable(original) and not hasattr(original, "__get__"):
            raise AttributeError(f"{self.target} is not callable")
        return proxied(self.make(live, original, method), original, method)


def proxied(made: Wrapper, original: Any, method: bool) -> Any:
    """Make a proxy of a builtin, or of an object that can be called."""
    import wrapt  # costs as much as our whole start, and few targets need it

    def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        # A bound method has an instance too, which is none of the arguments that it is called with.
        return made(instance, *args, **kwargs) if method and instance is not None else made(*args, **kwargs)

    return wrapt.FunctionWrapper(original, call)
