"""Drivers whose connections and cursors are written in C, and so can't be patched.

Connections and cursors are made of subclasses instead: they pass every check for the type that a driver makes in C
(`backup(target)`, `register_type(obj, connection)`), which no proxy does. They go by the name of the class that they
stand for, and hold nothing more than what is known of a connection.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .dbapi import Shared
from .hook import Hook
from .model import Args, Kwargs
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live

MOST_CLASSES = 100
"""Classes of a program's own that are kept subclassed: one that makes them without end must not fill the memory."""


ABSENT: Any = object()


class Parameter:
    """Where a call takes a factory."""

    __slots__ = ("name", "optional", "position")

    def __init__(self, name: str, position: int, *, optional: bool = False) -> None:
        """
        Args:
            name: Its keyword.
            position: Its index among the positional arguments; the instance is none of them.
            optional: None means the same as none given.
        """
        self.name = name
        self.position = position
        self.optional = optional

    def given(self, args: Args, kwargs: Kwargs) -> Any:
        """Give the factory of a call; `ABSENT` where it takes the default."""
        factory = args[self.position] if len(args) > self.position else kwargs.get(self.name, ABSENT)
        return ABSENT if factory is None and self.optional else factory

    def replaced(self, factory: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Give the arguments of a call with another factory."""
        if len(args) > self.position:
            return (*args[: self.position], factory, *args[self.position + 1 :]), kwargs
        return args, {**kwargs, self.name: factory}


class Native:
    """The classes of a driver in C, and how its connections and cursors are asked to be of another class."""

    def __init__(
        self,
        connection: type[Any],
        cursor: type[Any],
        *,
        connecting: Parameter,
        opening: Parameter,
        cursors: Callable[[Any], Any],
        shared: Callable[[Any, Args, Kwargs], Shared],
        fallback: Shared,
        hooks: Sequence[Hook],
        shortcuts: Sequence[str] = (),
    ) -> None:
        """
        Args:
            connection: The class of connections.
            cursor: The class of cursors.
            connecting: Where `connect` takes the class of the connection.
            opening: Where the connection's `cursor` takes the class of the cursor.
            cursors: Gives the class that a connection makes cursors of by default.
            shared: Gives the shared attributes of a new connection, from it and its constructor's arguments.
            fallback: Those of a connection that can't be read.
            hooks: Those of the cursor's methods.
            shortcuts: Methods of the connection that make a cursor, past its own `cursor`, and call the same of it.
        """
        self.connection = connection
        self.cursor = cursor
        self.connecting = connecting
        self.opening = opening
        self.cursors = cursors
        self.shared = shared
        self.fallback = fallback
        self.hooks = {hook.path.rpartition(".")[2]: hook for hook in hooks}
        self.shortcuts = tuple(shortcuts)
        self._family: Family | None = None

    def family(self, live: Live) -> Family:
        """Give the subclasses of an enabled library."""
        family = self._family
        if family is None or family.live is not live:
            family = self._family = Family(self, live)
        return family


class Family:
    """The subclasses that one enabled library makes of a driver's classes, and of a program's own ones."""

    def __init__(self, native: Native, live: Live) -> None:
        self.native = native
        self.live = live
        self._connections: dict[type, type] = {}
        self._cursors: dict[type, type] = {}
        self.observed_connection = connection_class(native, self)
        self.wrappers: dict[int, Any] = {}
        """Wrapper of each `connect`, by what it wraps: two names of one function stay one function."""

    def connection(self, kind: Any) -> Any:
        """Give the class that observes what *kind* does; *kind* itself where there can be none."""
        if kind is self.native.connection:
            return self.observed_connection
        bases = (kind, self.observed_connection)
        return self._subclass(kind, self._connections, self.native.connection, bases, {})

    def cursor(self, kind: Any) -> Any:
        """Give the class of cursors that observes what *kind* does; *kind* itself where there can be none."""
        try:
            return self._cursors[kind]
        except (KeyError, TypeError):  # a new one, or one that can't be hashed
            pass
        namespace: dict[str, Any] = {}
        if isinstance(kind, type) and issubclass(kind, self.native.cursor):
            # Outermost, so that methods of a subclass that name their base instead of `super()` are seen as well.
            for name, hook in self.native.hooks.items():
                namespace[name] = hook.make(self.live, getattr(kind, name), True)
        return self._subclass(kind, self._cursors, self.native.cursor, (kind,), namespace)

    def _subclass(
        self,
        kind: Any,
        known: dict[type, type],
        base: type,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
    ) -> Any:
        if not isinstance(kind, type) or not issubclass(kind, base):
            return kind  # a function that makes it: what it makes can't be known
        made = known.get(kind)
        if made is None:
            try:
                made = subclass(kind, bases, namespace)
            except TypeError:  # its layout, or its own rules, allow no subclass
                made = kind
            if len(known) >= MOST_CLASSES:
                known.clear()
            known[kind] = known[made] = made
        return made


def subclass(kind: type, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    """Make a class that goes by the name of *kind*."""
    named = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind)(kind.__name__, bases, {**named, **namespace})


def connection_class(native: Native, family: Family) -> type:
    """Make the subclass of the driver's connection whose cursors are observed.

    A program's own class comes before it in the order of methods, so a `cursor` of its own reaches ours by `super()`.
    """
    base, live, opening = native.connection, family.live, native.opening
    begin, open_cursor, observed = base.__init__, base.cursor, family.cursor
    before = (None,) * opening.position

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        try:
            self._noops_shared = native.shared(self, args, kwargs)
        except Exception:
            self._noops_shared = native.fallback

    @functools.wraps(open_cursor)
    def cursor(self: Any, *args: Any, **kwargs: Any) -> Any:
        if live.on:
            try:
                if not args and not kwargs:
                    args = (*before, observed(native.cursors(self)))
                else:
                    kind = opening.given(args, kwargs)
                    kind = observed(native.cursors(self) if kind is ABSENT else kind)
                    args, kwargs = opening.replaced(kind, args, kwargs)
            except Exception as error:
                live.failed("cursor", error)
        return open_cursor(self, *args, **kwargs)

    namespace = {"__slots__": ("_noops_shared",), "__init__": __init__, "cursor": cursor}
    for name in native.shortcuts:
        namespace[name] = shortcut(native, family, getattr(base, name))
    return subclass(base, (base,), namespace)


def shortcut(native: Native, family: Family, original: Wrapper) -> Wrapper:
    """Make the method of a connection that has a new cursor do the work: it opens one that is observed."""
    live, name, open_cursor = family.live, original.__name__, native.connection.cursor
    kind = family.cursor(native.cursor)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs or not args or not live.on:
            return original(self, *args, **kwargs)
        return getattr(open_cursor(self, kind), name)(*args)

    return call


def shared_of(cursor: Any) -> Shared:
    """Give the shared attributes of an observed connection, from one of its cursors."""
    shared: Shared = cursor.connection._noops_shared
    return shared


_unobserved: ContextVar[bool] = ContextVar("noops_unobserved", default=False)


def unobserved(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function connect without being observed: for a driver upon a driver, which describes the calls itself."""

    @functools.wraps(connect)
    def plain(*args: Any, **kwargs: Any) -> Any:
        token = _unobserved.set(True)
        try:
            return connect(*args, **kwargs)
        finally:
            _unobserved.reset(token)

    return plain


class Factory(Patch):
    """Has the connections that a function of a driver makes be of a class that is observed."""

    def __init__(self, target: str, native: Native, *, optional: bool = False) -> None:
        """
        Args:
            target: The function that connects, "module:name". A name that a program bound before the patch stays as
                it was.
            native: The driver's classes.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.native = native

    def wrap(self, live: Live, original: Any, method: bool) -> Any:
        """Wrap it once, by however many names it goes."""
        wrappers = self.native.family(live).wrappers
        made = wrappers.get(id(original))
        if made is None:
            made = wrappers[id(original)] = super().wrap(live, original, method)
        return made

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        native, family = self.native, self.native.family(live)

        @functools.wraps(original)
        def connect(*args: Any, **kwargs: Any) -> Any:
            if live.on and not _unobserved.get():
                try:
                    kind = native.connecting.given(args, kwargs)
                    kind = family.connection(native.connection if kind is ABSENT else kind)
                    args, kwargs = native.connecting.replaced(kind, args, kwargs)
                except Exception as error:
                    live.failed(self.target, error)
            return original(*args, **kwargs)

        return connect
