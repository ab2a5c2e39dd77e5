"""SQLite by the standard library's driver.

`db.namespace` is the path of the database as the program gave it; databases that are attached later show in the text
alone.

`connect` goes by two names, and both are patched. A program that bound the function itself (`from sqlite3 import
connect`) before the patch keeps it as it was; connections made by calling the class are not observed either.

Source: OpenTelemetry semantic conventions 1.44, docs/db/sql.md.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from noops_agent.instrument import Args, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import MANY, Driver, Shared, sqlite, target
from noops_agent.instrument.factories import Factory, Native, Parameter, shared_of

UNKNOWN = target(db.SQLITE)


def _shared(connection: Any, args: Args, kwargs: Kwargs) -> Shared:
    return sqlite(args[0] if args else kwargs["database"])


class _Asking(sqlite3.Connection):
    """Tells whether `execute` and its like ask the connection's own `cursor`; since 3.11 they don't."""

    asked = False

    def cursor(self, *args: Any) -> Any:
        self.asked = True
        return super().cursor(*args)


def _shortcuts() -> tuple[str, ...]:
    connection = _Asking(":memory:")
    connection.execute("")
    connection.close()
    return () if connection.asked else ("execute", "executemany", "executescript")


DRIVER = Driver(shared_of, UNKNOWN)
CURSOR = "sqlite3:Cursor"
NATIVE = Native(
    sqlite3.Connection,
    sqlite3.Cursor,
    connecting=Parameter("factory", 5),
    opening=Parameter("factory", 0),
    cursors=lambda connection: sqlite3.Cursor,
    shared=_shared,
    fallback=UNKNOWN,
    hooks=(
        *DRIVER.hooks(CURSOR, MANY),
        DRIVER.hook(f"{CURSOR}.executescript", DRIVER.execute),
    ),
    shortcuts=_shortcuts(),
)

INSTRUMENTATION = Instrumentation(
    "sqlite3",
    hooks=(Factory("sqlite3:connect", NATIVE), Factory("sqlite3.dbapi2:connect", NATIVE)),
    setup=DRIVER.setup,
    options=("commenter",),
)
