"""What the calls of drivers of PEP 249 mean, and what is known of their connections.

`Driver` describes the calls of cursors. `Targets` keeps what is known of each connection. Drivers whose classes are
written in C can't be patched; they are the matter of `factories`.

A statement makes a span where it is sent: `execute`, `executemany`, `executescript`, `callproc`, `COPY`. Connecting,
fetching, committing and rolling back make none: the conventions describe operations, and a program's own transactions
are seen in its statements.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md; PEP 249.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.trace import SpanKind

from .._core import decorate
from .._signals.context import suppress
from . import db
from .hook import RETURNED, Hook, Observed
from .model import Args, Attributes, Call, Failure, Kwargs
from .patch import Wrapper

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


def numbered(call: Call, error: BaseException) -> Attributes | None:
    """Give the number of an error of MySQL or MariaDB, which tells more than the SQLSTATE that some drivers add."""
    number = error.args[0] if error.args else None
    return {"db.response.status_code": str(number)} if isinstance(number, int) and number else None


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


SIZED = (list, tuple, set, frozenset, deque)
"""Rows that can be counted: to ask anything else for its length may run a query, or use it up."""


def named(names: Sequence[str], kwargs: Kwargs) -> str:
    """Give the first of *names* that a call uses; an empty string where it uses none."""
    for name in names:
        if name in kwargs:
            return name
    return ""


class Leaf(Hook):
    """A hook of calls that call nothing that is observed: their spans need not be current, which costs much less.

    What a driver has a program do during a call (an SQL function, an adapter, a notice handler) runs under the span
    that was current before.
    """

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper of the original's kind."""
        flags = decorate.flags_of(original)
        generates = flags & (decorate.CO_GENERATOR | decorate.CO_ASYNC_GENERATOR)
        if generates or self.ends != RETURNED or not bound:
            return super().make(live, original, bound)
        observed = Observed(self, live, bound)
        if flags & decorate.CO_COROUTINE:
            return leaf_coroutine(original, observed)
        return leaf(original, observed)


def leaf(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a method of a driver."""
    begin, arguments, finish, failure = observed.begin, observed.arguments, observed.finish, observed.hook.error

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return original(*args, **kwargs)
        if operation.call.inject is not None:
            args, kwargs = arguments(operation, args, kwargs)
        try:
            returned = original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            raise
        finish(operation, returned)
        return returned

    return call


def leaf_coroutine(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a coroutine method of a driver."""
    begin, arguments, finish, failure = observed.begin, observed.arguments, observed.finish, observed.hook.error

    @functools.wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return await original(*args, **kwargs)
        if operation.call.inject is not None:
            args, kwargs = arguments(operation, args, kwargs)
        try:
            returned = await original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            raise
        finish(operation, returned)
        return returned

    return call


EXECUTE = ("execute",)
MANY = ("execute", "executemany")
COMPOUND = ("executemany", "callproc")
ALL = ("execute", "executemany", "callproc")
"""Methods of a cursor in PEP 249."""


class Driver:
    """Describes the calls of one driver's cursors. What can't be read of a call is left out, never guessed."""

    def __init__(
        self,
        shared: Callable[[Any], Shared],
        fallback: Shared,
        *,
        text: Callable[[Any], Any] | None = None,
        failure: Failure = db.failure,
    ) -> None:
        """
        Args:
            shared: Gives the shared attributes of a cursor's connection; it may raise.
            fallback: Those of a connection that can't be read.
            text: Turns statements that are neither `str` nor `bytes` into one; values in them become placeholders.
            failure: Says what is known from an exception.
        """
        self.shared = shared
        self.fallback = fallback
        self.text = text
        self.failure = failure
        self.comments = False
        """Statements carry the `traceparent` in a comment: the option `commenter`."""

    # -- describers

    def execute(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `execute(statement, ...)`."""
        statement = args[0] if args else kwargs.get(named(STATEMENTS, kwargs))
        try:
            shared = self.shared(cursor)
        except Exception:
            shared = self.fallback
        text = statement if statement.__class__ is str else self.readable(statement)
        call = db.query(shared["db.system.name"], text, shared)
        if self.comments:
            self.comment(call, statement, args, kwargs)
        return call

    def executemany(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `executemany(statement, rows)`; rows that are no plain collection aren't counted."""
        statement = args[0] if args else kwargs.get(named(STATEMENTS, kwargs))
        rows: Any = args[1] if len(args) > 1 else kwargs.get(named(ROWS, kwargs))
        shared = self.connected(cursor)
        size = len(rows) if isinstance(rows, SIZED) else None
        return db.batch(shared["db.system.name"], self.readable(statement), shared, size)

    def callproc(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `callproc(name, ...)`."""
        shared = self.connected(cursor)
        name = args[0] if args else kwargs.get("procname")
        return db.procedure(shared["db.system.name"], name, shared) if name else None

    def copy(self, cursor: Any, table: Any) -> Call | None:
        """Describe a `COPY` of a table for which the program writes no statement."""
        if not isinstance(table, str):
            return None
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

    def hooks(self, cursor: str, methods: Sequence[str] = ALL, **more: Any) -> tuple[Hook, ...]:
        """Give the hooks of a cursor class "module:Class", for its methods of PEP 249."""
        return tuple(self.hook(f"{cursor}.{method}", getattr(self, method), **more) for method in methods)

    def hook(self, target: str, describe: Any, *, nests: bool = False, **more: Any) -> Hook:
        """Give the hook of one method: a client's call of the database.

        Args:
            target: "module:Class.method".
            describe: Says what a call means.
            nests: It calls others that are observed, and those must know.
            more: What else a `Hook` takes.
        """
        kind = Hook if nests else Leaf
        return kind(
            target,
            SpanKind.CLIENT,
            describe,
            error=self.failure,
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
