"""SQLite by the standard library's driver.

`db.namespace` is the path of the database as the program gave it. The namespace and the statements of databases that are
attached later are part of the text alone.

`connect` goes by two names, and both are patched; a program that binds the function itself (`from sqlite3 import connect`)
before the agent is there keeps the function as it was. So does one that calls the class `Connection` in place of it.

Source: OpenTelemetry semantic conventions 1.44, docs/db/sql.md.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from noops_agent.instrument import Args, Instrumentation, Kwargs, db
from noops_agent.instrument.dbapi import Driver, Factory, Native, Parameter, Shared, shared_of

UNKNOWN = db.connection(db.SQLITE)


def _shared(connection: Any, args: Args, kwargs: Kwargs) -> Shared:
    path = os.fsdecode(args[0] if args else kwargs["database"])
    if path.startswith("file:"):
        path = path[5:].partition("?")[0]  # what follows may hold keys
    return db.connection(db.SQLITE, path)


DRIVER = Driver(shared_of, UNKNOWN, statement="sql")
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
        *DRIVER.hooks(CURSOR, "execute", "executemany"),
        DRIVER.hook(f"{CURSOR}.executescript", DRIVER.execute),
    ),
)

INSTRUMENTATION = Instrumentation(
    "sqlite3",
    hooks=(Factory("sqlite3:connect", NATIVE), Factory("sqlite3.dbapi2:connect", NATIVE)),
    setup=DRIVER.setup,
    options=("commenter",),
)
