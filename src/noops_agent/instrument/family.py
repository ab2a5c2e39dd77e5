"""A hook on a method of a whole family of classes: a base class, and all that are derived from it, now or later."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .hook import Hook

if TYPE_CHECKING:
    from .live import Live


class Family(Hook):
    """A `Hook` whose target is a method that subclasses define anew, the program's own among them.

    Use it with a layer: a method that calls its parent's is then one call.
    """

    def apply(self, live: Live) -> Callable[[], None]:
        """Wrap the method wherever a class of the family defines it; gives what takes all wrappers away.

        Raises:
            AttributeError: There is no such base class.
        """
        owner: Any = sys.modules[self.module]
        *path, name = self.path.split(".")
        for part in path:
            owner = getattr(owner, part)
        classes: WeakSet[type] = WeakSet()  # those that a program makes and drops are not kept by us
        wrappers: WeakSet[Any] = WeakSet()

        def adopt(kind: type) -> None:
            original = vars(kind).get(name)
            if isinstance(original, FunctionType) and original not in wrappers:
                made = self.make(live, original, True)
                wrappers.add(made)
                classes.add(kind)
                setattr(kind, name, made)

        for kind in (owner, *descendants(owner)):
            adopt(kind)
        forget = on_derived(owner, lambda kind: adopt(kind) if live.on else None)

        def undo() -> None:
            forget()
            for kind in list(classes):
                made: Any = vars(kind).get(name)
                if made in wrappers:
                    setattr(kind, name, made.__wrapped__)

        return undo


def descendants(kind: Any) -> Iterator[type]:
    """Give all classes derived from one."""
    for child in type.__subclasses__(kind):
        yield child
        yield from descendants(child)


def on_derived(owner: Any, arrived: Callable[[type], object]) -> Callable[[], None]:
    """Call *arrived* with each class that is derived from *owner* from now on; gives what ends this."""
    own = vars(owner).get("__init_subclass__")
    before: Any = owner.__init_subclass__

    def derived(cls: Any, /, **given: Any) -> None:
        if own is not None:
            own.__func__(cls, **given)
        else:
            super(owner, cls).__init_subclass__(**given)
        arrived(cls)

    functools.update_wrapper(derived, before, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    made: Any = classmethod(derived)
    owner.__init_subclass__ = made

    def forget() -> None:
        if vars(owner).get("__init_subclass__") is made:
            if own is not None:
                owner.__init_subclass__ = own
            else:
                del owner.__init_subclass__

    return forget
