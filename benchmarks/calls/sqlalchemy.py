"""One statement of SQLAlchemy on an open connection, with SQLite in memory beneath, whose driver isn't instrumented."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.sqlalchemy:SQLAlchemyInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-sqlalchemy"
DDTRACE = "sqlalchemy"
REQUIRES = ("sqlalchemy>=2,<2.1",)


def prepare() -> Callable[[], object]:
    """Give the call: a statement that the driver answers without any work."""
    import sqlalchemy

    connection = sqlalchemy.create_engine("sqlite://").connect()
    return lambda: connection.exec_driver_sql("SELECT 1 WHERE 1 = ?", (1,)).close()
