"""How servers come by their application, of whatever interface: as an argument, or in an attribute."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live


class Argument(Patch):
    """Instruments the application that a server is given as an argument."""

    instrument: Callable[[Live], Callable[[Any], Any]]
    """Makes what instruments an application of an interface; each interface has its own."""

    def __init__(self, target: str, position: int, name: str, *, optional: bool = True) -> None:
        """
        Args:
            target: The function or method that gets the application.
            position: Which argument the application is; the instance of a method doesn't count.
            name: Name of that argument.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.position = position
        self.name = name

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        instrumented = self.instrument(live)
        at, name = self.position + bound, self.name

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) > at:
                args = (*args[:at], instrumented(args[at]), *args[at + 1 :])
            elif name in kwargs:
                kwargs[name] = instrumented(kwargs[name])
            return original(*args, **kwargs)

        return call


class Attribute(Patch):
    """Instruments the application that a server's object holds in an attribute once the target has run."""

    instrument: Callable[[Live], Callable[[Any], Any]]
    """Makes what instruments an application of an interface; each interface has its own."""

    def __init__(
        self, target: str, attribute: str, only: Callable[[Any], bool] | None = None, *, optional: bool = True
    ) -> None:
        """
        Args:
            target: The method that loads the application.
            attribute: Where it puts it.
            only: Whether an object of the class gets applications of this interface at all.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.attribute = attribute
        self.only = only

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        instrumented = self.instrument(live)
        attribute, only = self.attribute, self.only

        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            returned = original(self, *args, **kwargs)
            application = getattr(self, attribute, None)
            if application is not None and (only is None or only(self)):
                setattr(self, attribute, instrumented(application))
            return returned

        return call
