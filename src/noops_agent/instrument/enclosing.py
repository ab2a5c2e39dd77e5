"""Layers above the drivers of databases: an ORM, and what its calls are when the driver is observed too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar, Token
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from opentelemetry.trace import SpanKind

from .._signals.context import suppress
from . import db
from .model import Args, Call, Failure
from .operation import Attachment, Operation, _layers, layer_bit, speaks, type_name
from .sql import SHORT

if TYPE_CHECKING:
    from .live import Live

Run = Callable[..., object]

CLIENT = SpanKind.CLIENT
BIT = layer_bit(db.LAYER)
MOST_SILENT = 256
MOST_TEXTS = 256


class Database:
    """What a layer above the driver knows of one database; worked out once."""

    __slots__ = ("extra", "shared", "system", "texts")

    def __init__(self, shared: dict[str, Any], extra: dict[str, Any]) -> None:
        """
        Args:
            shared: What `db.connection` gave.
            extra: What a driver can't know: it goes on the driver's spans too.
        """
        self.system: str = shared["db.system.name"]
        self.shared = shared | extra
        self.extra = extra
        self.texts: dict[str, tuple[str, dict[str, Any]]] = {}
        """Statement -> name and attributes of its spans; which nobody changes."""

    def describe(self, statement: Any, size: int | None) -> tuple[str, dict[str, Any]]:
        """Say what a statement means that isn't in `texts`."""
        call = db.batch(self.system, statement, self.shared, size)
        if size is None and type(statement) is str and len(statement) <= SHORT:
            if len(self.texts) >= MOST_TEXTS:
                self.texts.clear()
            self.texts[statement] = call.name, call.attributes
        return call.name, call.attributes


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
        options = live.instrumentation.options
        self._hooked = bool(options.request_hook or options.response_hook or live.former)
        """What a span is told of needs an `Operation`."""
        self._brief = brief(live, package, self._failure)
        self._known: dict[int, tuple[ReferenceType[Any], Database]] = {}
        """By the identity of the key, which a `WeakKeyDictionary` would hash thrice as long."""
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
        known = self._known.get(id(key))
        database = known[1] if known is not None and known[0]() is key else self._meet(key, origin)
        if type(args[0]) not in self._silent:
            self._listen(database, statement, size, run, args)
        elif self._hooked:
            self._speak(self._open(database, statement, size, args, None), run, args)
        else:
            self._brief(database, statement, size, run, args)

    def _meet(self, key: Any, origin: Any) -> Database:
        database, number, known = Database(db.connection(db.OTHER_SQL), {}), id(key), self._known

        def forget(_: Any) -> None:
            known.pop(number, None)

        try:
            database = self._learn(key, origin)
            known[number] = (ref(key, forget), database)
        except Exception as error:
            self._live.failed("learn", error)
        return database

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
        start, began = time_ns(), perf_counter()
        try:
            run(*args)
        except BaseException as error:
            restore(db.enclosing, token)
            if not enclosure.spoken:  # which says nothing of the driver: it may have failed before it came to that
                operation = self._open(database, statement, size, args, start)
                if operation is not None:
                    operation.began(began)
                    operation.close(error, None, self._failure)
            raise
        restore(db.enclosing, token)
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
        try:
            call = db.batch(database.system, statement, database.shared, size)
            call.request = args[-1]
            call.start_time = start
            return Operation(self._live, call, CLIENT, db.OPERATION_DURATION, BIT)
        except Exception as error:
            self._live.failed(self._package, error)
            return None

    def _failure(self, call: Call, error: BaseException) -> dict[str, Any] | None:
        cause = error.__cause__
        if cause is None or type(error).__module__.partition(".")[0] != self._package:
            return db.failure(call, error)
        return {"error.type": type_name(cause), **(db.failure(call, cause) or db.failure(call, error) or {})}


def brief(live: Live, package: str, failure: Failure) -> Callable[..., None]:
    """Make what runs a call inside a span without an `Operation`, which costs more than all the rest."""
    start_span, record, duration, failed = live.tracer.start_span, live.record, db.OPERATION_DURATION, live.failed

    def speak(database: Database, statement: Any, size: int | None, run: Run, args: Args) -> None:
        span: Any = None
        try:
            found = database.texts.get(statement) if size is None else None
            name, attributes = found or database.describe(statement, size)
            span = start_span(name, None, CLIENT, attributes)
        except Exception as error:
            failed(package, error)
        if span is None:
            run(*args)
            return
        attachment, token = Attachment(span), _layers.set(_layers.get() | BIT)
        attachment.__enter__()
        began = perf_counter()
        try:
            run(*args)
        except BaseException as error:
            fail(Call(name, attributes.copy()), span, began, error)
            raise
        else:
            end(span, attributes, perf_counter() - began)
        finally:
            attachment.__exit__()
            restore(_layers, token)

    def end(span: Any, attributes: dict[str, Any], seconds: float) -> None:
        try:
            span.end()
            record(duration, seconds, attributes, False)
        except Exception as error:
            failed("end", error)

    def fail(call: Call, span: Any, began: float, error: BaseException) -> None:
        try:
            Operation.begun(live, call, span, duration, began).close(error, None, failure)
        except Exception as problem:
            failed("end", problem)

    return speak


def restore(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Give a variable its former value; in another context there is none to give it."""
    try:
        variable.reset(token)
    except ValueError:
        pass


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that runs another one with all instrumentation suppressed."""

    @functools.wraps(function)
    def quietly(*args: Any, **kwargs: Any) -> Any:
        with suppress():
            return function(*args, **kwargs)

    return quietly
