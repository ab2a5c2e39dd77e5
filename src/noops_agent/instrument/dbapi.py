"""What the calls of drivers of PEP 249 mean, and what is known of their connections.

`Driver` describes the calls of cursors. `Targets` keeps what is known of each connection. Drivers whose classes are
written in C can't be patched; they are the matter of `factories`.

A statement makes a span where it is sent: `execute`, `executemany`, `executescript`, `callproc`, `COPY`. Connecting,
fetching, committing and rolling back make none: the conventions describe operations, and a program's own transactions
are seen in its statements.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md; PEP 249.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.trace import SpanKind

from .._signals.context import suppress
from . import db
from .hook import Hook
from .leaf import Leaf
from .model import Args, Attributes, Call, Failure, Kwargs

if TYPE_CHECKING:
    from .live import Live

MOST_TARGETS = 64
MOST_TEXTS = 200
MOST_TEXT = 1000
"""What is kept ready: databases, statements of each, and the characters of one."""


class Shared(dict[str, Any]):
    """The attributes that all calls of one connection share, and those of the statements that went there.

    Connections to the same database have it in common.
    """

    __slots__ = ("system", "texts")

    def __init__(self, attributes: Iterable[tuple[str, Any]]) -> None:
        super().__init__(attributes)
        self.system: str = self["db.system.name"]
        self.texts: dict[Any, tuple[str, dict[str, Any]]] = {}
        """Statement -> the name and the attributes of its calls."""

    def keep(self, statement: Any, call: Call) -> None:
        """Keep what a statement means."""
        if isinstance(statement, (str, bytes)) and len(statement) <= MOST_TEXT:
            if len(self.texts) >= MOST_TEXTS:
                self.texts.clear()
            self.texts[statement] = call.name, call.attributes.copy()


def target(
    system: str, namespace: str | None = None, address: str | None = None, port: int | str | None = None
) -> Shared:
    """Give what calls of a connection share; the arguments are those of `db.connection`."""
    return _shared(tuple(db.connection(system, namespace, address, port).items()))


@lru_cache(MOST_TARGETS)
def _shared(attributes: tuple[tuple[str, Any], ...]) -> Shared:
    return Shared(attributes)


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
    return target(db.SQLITE, name)


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
        except Exception:  # closed, or of a kind that has no such attributes: the driver will say so itself
            shared = self.fallback
        try:
            name, attributes = shared.texts[statement]
        except (KeyError, TypeError):  # not seen before, or composed
            name = ""
        if name and db.enclosing.get() is None:
            call = Call(name, attributes.copy())
        else:
            call = db.query(shared.system, self.readable(statement), shared)
            if db.enclosing.get() is None:
                shared.keep(statement, call)
        if self.comments:
            self.comment(call, statement, args, kwargs)
        return call

    def executemany(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `executemany(statement, rows)`; rows that are no plain collection aren't counted."""
        statement = args[0] if args else kwargs.get(named(STATEMENTS, kwargs))
        rows: Any = args[1] if len(args) > 1 else kwargs.get(named(ROWS, kwargs))
        shared = self.connected(cursor)
        size = len(rows) if isinstance(rows, SIZED) else None
        return db.batch(shared.system, self.readable(statement), shared, size)

    def callproc(self, cursor: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe `callproc(name, ...)`."""
        shared = self.connected(cursor)
        name = args[0] if args else kwargs.get("procname")
        return db.procedure(shared.system, name, shared) if name else None

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
