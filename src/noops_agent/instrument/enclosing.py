"""Layers above the drivers of databases: an ORM, and what its calls are when the driver is observed too."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.trace import SpanKind

from .._signals.context import suppress
from . import db
from .model import Args, Call
from .operation import Operation, layer_bit, speaks, type_name

if TYPE_CHECKING:
    from .live import Live

Run = Callable[..., object]

BIT = layer_bit(db.LAYER)
MOST_SILENT = 256


class Database:
    """What a layer above the driver knows of one database; worked out once."""

    __slots__ = ("extra", "shared", "system")

    def __init__(self, shared: dict[str, Any], extra: dict[str, Any]) -> None:
        """
        Args:
            shared: What `db.connection` gave.
            extra: What a driver can't know: it goes on the driver's spans too.
        """
        self.system: str = shared["db.system.name"]
        self.shared = shared | extra
        self.extra = extra


class Enclosing:
    """Runs the calls of a layer above the drivers so that each makes one span.

    The driver's span wins, and is told what the layer knows. A driver that says nothing during a call isn't observed:
    the span of that call is made afterwards, with its true times, and from then on the layer makes the spans of that
    kind of cursor itself. So it is one span a call, whichever drivers are observed and whenever that changes.
    """

    def __init__(self, live: Live, learn: Callable[[Any, Any], Database], package: str) -> None:
        """
        Args:
            live: The enabled layer.
            learn: Says what is known of a database, from its key and the first call.
            package: Name of the layer's package. An exception that it puts around a driver's isn't what failed.
        """
        self._live = live
        self._learn = learn
        self._package = package
        self._known: WeakKeyDictionary[Any, Database] = WeakKeyDictionary()
        self._silent: set[type] = set()

    def run(self, key: Any, origin: Any, statement: Any, size: int | None, run: Run, args: Args) -> None:
        """Run ``run(*args)``, a call of the driver.

        Args:
            key: Stands for the database; kept weakly.
            origin: What `learn` is given too, the first time.
            statement: The text.
            size: How many sets of parameters it has; None: it is no batch.
            run: The call.
            args: Its arguments. The first is the driver's cursor, whose class stands for the driver; the last is what
                a user's hook gets to see.
        """
        if not self._live.on or not speaks(BIT):
            run(*args)
            return
        try:
            database = self._known[key]
        except (KeyError, TypeError):
            database = self._meet(key, origin)
        if type(args[0]) in self._silent:
            self._speak(self._open(database, statement, size, args, None), run, args)
        else:
            self._listen(database, statement, size, run, args)

    def _meet(self, key: Any, origin: Any) -> Database:
        found = Database(db.connection(db.OTHER_SQL), {})
        try:
            found = self._learn(key, origin)
            self._known[key] = found
        except Exception as error:
            self._live.failed("learn", error)
        return found

    def _speak(self, operation: Operation | None, run: Run, args: Args) -> None:
        if operation is None:
            run(*args)
            return
        operation.attach()
        try:
            run(*args)
        except BaseException as error:
            operation.close(error, None, self._failure)
            operation.detach()
            raise
        operation.respond(args[0])
        operation.close()
        operation.detach()

    def _listen(self, database: Database, statement: Any, size: int | None, run: Run, args: Args) -> None:
        enclosure = db.Enclosure(database.extra)
        token = db.enclosing.set(enclosure)
        start, began = time.time_ns(), time.perf_counter()
        try:
            run(*args)
        except BaseException as error:
            db.enclosing.reset(token)
            if not enclosure.spoken:  # which says nothing of the driver: it may have failed before it came to that
                operation = self._open(database, statement, size, args, start)
                if operation is not None:
                    operation.began(began)
                    operation.close(error, None, self._failure)
            raise
        db.enclosing.reset(token)
        if not enclosure.spoken:
            if len(self._silent) < MOST_SILENT:
                self._silent.add(type(args[0]))
            operation = self._open(database, statement, size, args, start)
            if operation is not None:
                operation.began(began)
                operation.respond(args[0])
                operation.close()

    def _open(
        self, database: Database, statement: Any, size: int | None, args: Args, start: int | None
    ) -> Operation | None:
        call = db.batch(database.system, statement, database.shared, size)
        call.request = args[-1]
        call.start_time = start
        return self._live.open(call, SpanKind.CLIENT, db.OPERATION_DURATION, db.LAYER)

    def _failure(self, call: Call, error: BaseException) -> dict[str, Any] | None:
        cause = error.__cause__
        if cause is None or type(error).__module__.partition(".")[0] != self._package:
            return db.failure(call, error)
        return {"error.type": type_name(cause), **(db.failure(call, cause) or db.failure(call, error) or {})}


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that runs another one with all instrumentation suppressed."""

    @functools.wraps(function)
    def quietly(*args: Any, **kwargs: Any) -> Any:
        with suppress():
            return function(*args, **kwargs)

    return quietly
