"""What drivers of PEP 249 have in common: what their calls mean, and connections that are written in C.

`Driver` describes the calls of cursors. `Targets` keeps what is known of each connection. `Factory` is for drivers
whose classes can't be patched: connections and cursors are then made of subclasses, so that they pass every check for
the type that a driver makes in C (`backup(target)`, `register_type(obj, connection)`), which no proxy does.

A statement makes a span where it is sent: `execute`, `executemany`, `executescript`, `callproc`, `COPY`. Connecting,
fetching, committing and rolling back make none: the conventions describe operations, and a program's own transactions
are seen in its statements.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md; PEP 249.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.trace import SpanKind

from .._signals.context import suppress
from . import db
from .hook import Hook
from .model import Args, Call, Kwargs
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live

Shared = dict[str, Any]
"""Attributes that all calls of one connection share: what `db.connection` gives."""


# ---- what is known of a connection -----------------------------------------------------------------------


class Targets:
    """The shared attributes of each connection: worked out at the first call, forgotten with the connection."""

    __slots__ = ("_describe", "_known")

    def __init__(self, describe: Callable[[Any], Shared]) -> None:
        """
        Args:
            describe: Reads them from a connection; it makes no network call.
        """
        self._describe = describe
        self._known: dict[int, tuple[Any, Shared]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, connection: Any) -> Shared:
        """Give what is known of a connection.

        Raises:
            Exception: Whatever reading it raises, such as that it is closed.
        """
        known = self._known.get(id(connection))
        if known is not None and known[0]() is connection:
            return known[1]
        return self.learn(connection, self._describe(connection))

    def learn(self, connection: Any, shared: Shared) -> Shared:
        """Keep what is known of a connection for as long as it lives."""
        key, known = id(connection), self._known

        def forget(_: Any) -> None:
            known.pop(key, None)

        known[key] = (ref(connection, forget), shared)
        return shared


def mysql(server: Any) -> str:
    """Tell `db.system.name` by the version that a server of MySQL's protocol gave when it was connected to."""
    return db.MARIADB if "mariadb" in str(server).lower() else db.MYSQL


def sqlite(path: Any) -> Shared:
    """Give the shared attributes of an SQLite database, by its path or URI as the program gave it."""
    name = os.fsdecode(path)
    if name.startswith("file:"):
        name = name[5:].partition("?")[0]  # what follows may hold keys
    return db.connection(db.SQLITE, name)


# ---- what calls mean -------------------------------------------------------------------------------------

STATEMENTS = ("query", "sql", "operation", "command", "statement", "sql_script")
"""What drivers call the parameter that holds a statement."""
ROWS = ("args", "params_seq", "vars_list", "argslist", "seq_params", "parameters")
"""What drivers call that of `executemany` that holds the sets of parameters."""


def named(names: Sequence[str], kwargs: Kwargs) -> str:
    """Give the first of *names* that a call uses; an empty string where it uses none."""
    for name in names:
        if name in kwargs:
            return name
    return ""


class Driver:
    """Describes the calls of one driver's cursors. What can't be read of a call is left out, never guessed."""

    def __init__(
        self,
        shared: Callable[[Any], Shared],
        fallback: Shared,
        *,
        text: Callable[[Any], Any] | None = None,
    ) -> None:
        """
        Args:
            shared: Gives the shared attributes of a cursor's connection; it may raise.
            fallback: Those of a connection that can't be read.
            text: Turns statements that are neither `str` nor `bytes` into one; values in them become placeholders.
        """
        self.shared = shared
        self.fallback = fallback
        self.text = text
        self.comments = False
        """Statements carry the `traceparent` in a comment: the option `commenter`."""

    # -- describers

    def execute(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `execute(statement, ...)`."""
        statement = args[0] if args else kwargs.get(named(STATEMENTS, kwargs))
        shared = self.connected(cursor)
        call = db.query(shared["db.system.name"], self.readable(statement), shared)
        if self.comments:
            self.comment(call, statement, args, kwargs)
        return call

    def executemany(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `executemany(statement, rows)`; rows without a length aren't counted: that would use them up."""
        statement = args[0] if args else kwargs.get(named(STATEMENTS, kwargs))
        rows: Any = args[1] if len(args) > 1 else kwargs.get(named(ROWS, kwargs))
        shared = self.connected(cursor)
        size = len(rows) if hasattr(rows, "__len__") else None
        return db.batch(shared["db.system.name"], self.readable(statement), shared, size)

    def callproc(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `callproc(name, ...)`."""
        shared = self.connected(cursor)
        name = args[0] if args else kwargs.get("procname")
        return db.procedure(shared["db.system.name"], name, shared) if name else None

    def copy(self, cursor: Any, table: str) -> Call:
        """Describe a `COPY` of a table for which the program writes no statement."""
        attributes = {
            **self.connected(cursor),
            "db.operation.name": "COPY",
            "db.collection.name": table,
            "db.query.summary": f"COPY {table}",
        }
        return Call(attributes["db.query.summary"], attributes)

    # -- what they use

    def connected(self, cursor: Any) -> Shared:
        """Give the shared attributes of a cursor's connection."""
        try:
            return self.shared(cursor)
        except Exception:  # closed, or of a kind that has no such attributes: the driver will say so itself
            return self.fallback

    def readable(self, statement: Any) -> Any:
        """Give the text of a statement."""
        if self.text is None or isinstance(statement, (str, bytes)):
            return statement
        try:
            return self.text(statement)
        except Exception:
            return None

    def comment(self, call: Call, statement: Any, args: Args, kwargs: Kwargs) -> None:
        """Append the span's context to a statement once the span has started.

        Source: sqlcommenter, "Specification"; values are URL-encoded, which a traceparent doesn't need.
        """
        if not isinstance(statement, str):
            return

        def write(key: str, value: str) -> None:
            if key != "traceparent":
                return
            commented = f"{statement} /*traceparent='{value}'*/"
            if args:
                call.args = (commented, *args[1:])
            else:
                call.kwargs = {**kwargs, named(STATEMENTS, kwargs): commented}

        call.inject = write

    # -- what an integration says with it

    def hooks(self, cursor: str, *methods: str, optional: bool = False) -> tuple[Hook, ...]:
        """Give the hooks of a cursor class "module:Class"; without *methods*, all that PEP 249 knows."""
        return tuple(
            self.hook(f"{cursor}.{method}", getattr(self, method), optional=optional)
            for method in methods or ("execute", "executemany", "callproc")
        )

    def hook(self, target: str, describe: Any, **more: Any) -> Hook:
        """Give the hook of one method: a client's call of the database."""
        return Hook(
            target,
            SpanKind.CLIENT,
            describe,
            error=db.failure,
            duration=db.OPERATION_DURATION,
            layer=db.LAYER,
            **more,
        )

    def setup(self, live: Live) -> Callable[[], None]:
        """Take over the options of the library; for the `setup` of its integration."""
        self.comments = bool(live.instrumentation.options.get("commenter"))

        def undo() -> None:
            self.comments = False

        return undo


def composed(statement: Any) -> str | None:
    """Write a composed statement of psycopg or psycopg2: its identifiers in full, its values as placeholders.

    The drivers' own `as_string` would write the values too, and take a connection and much longer for it.
    """
    if hasattr(statement, "as_string") or hasattr(statement, "interpolations"):
        return _written(statement)
    return None


def _written(part: Any) -> str:
    kind = type(part).__name__
    content: Any = getattr(part, "_obj", None) or getattr(part, "_wrapped", "")
    if kind == "Composed":
        return "".join(map(_written, content))
    if kind == "SQL":
        return str(content)
    if kind == "Identifier":
        return ".".join(map(_quoted, (content,) if isinstance(content, str) else content))
    if hasattr(part, "interpolations"):
        return "".join(map(_interpolated, part))
    return "%s"


def _interpolated(item: Any) -> str:
    """Write a piece of a template string (PEP 750), as psycopg 3.3 understands it."""
    if isinstance(item, str):
        return item
    if item.format_spec == "i" and isinstance(item.value, str):
        return _quoted(item.value)
    return _written(item.value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def quieted(coroutine: Any) -> Any:
    """Run a coroutine that a plain function has made with all instrumentation suppressed."""
    with suppress():
        return await coroutine


# ---- classes written in C --------------------------------------------------------------------------------

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
        found = self._cursors.get(kind) if isinstance(kind, type) else None
        if found is not None:
            return found
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
    begin, open_cursor = base.__init__, base.cursor

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
                kind = opening.given(args, kwargs)
                if kind is ABSENT:
                    kind = native.cursors(self)
                args, kwargs = opening.replaced(family.cursor(kind), args, kwargs)
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
