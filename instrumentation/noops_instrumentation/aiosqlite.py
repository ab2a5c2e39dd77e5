"""SQLite by aiosqlite: its calls are made by a thread of the connection's, their spans by the task that awaits them.

The driver beneath, the standard library's, is not observed for these connections: it runs in that thread, where there
is no parent, and every call would show twice.

Source: OpenTelemetry semantic conventions 1.44, docs/db/sql.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import After, Args, Before, Call, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import Driver, Targets, sqlite, target
from noops_agent.instrument.factories import unobserved

SINGLE = frozenset(("execute", "executescript", "_execute_fetchall", "_execute_insert"))


def _opened(_: Any, args: Args, kwargs: Kwargs, connection: Any) -> Any:
    TARGETS.learn(connection, sqlite(args[0] if args else kwargs["database"]))
    return connection


def _connects(connection: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    if args:
        return (unobserved(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "connector": unobserved(kwargs["connector"])}


def _sent(connection: Any, args: Args, kwargs: Kwargs) -> Call | None:
    name = getattr(args[0], "__name__", "")  # of the driver's own method, which the thread is told to call
    if name in SINGLE:
        return DRIVER.execute(connection, args[1:], kwargs)
    return DRIVER.executemany(connection, args[1:], kwargs) if name == "executemany" else None


UNKNOWN = target(db.SQLITE)
TARGETS = Targets(lambda connection: UNKNOWN)
DRIVER = Driver(TARGETS.of, UNKNOWN)

INSTRUMENTATION = Instrumentation(
    "aiosqlite",
    distribution="aiosqlite",
    versions=">=0.17",
    hooks=(
        After("aiosqlite:connect", _opened),
        After("aiosqlite.core:connect", _opened),
        Before("aiosqlite.core:Connection.__init__", _connects),
        DRIVER.hook("aiosqlite.core:Connection._execute", _sent),
    ),
)
