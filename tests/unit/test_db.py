"""Database calls in the words of the conventions."""

from __future__ import annotations

from typing import Any

import pytest

from noops_agent.instrument import db


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("postgresql", "shop", "db.example", 5432), {"db.namespace": "shop", "server.address": "db.example"}),
        (
            ("postgresql", "shop", "db.example", 5433),
            {"db.namespace": "shop", "server.address": "db.example", "server.port": 5433},
        ),
        (
            ("mysql", "shop", "db.example", "3307"),
            {"db.namespace": "shop", "server.address": "db.example", "server.port": 3307},
        ),
        (("mariadb", "", "db.example", "3306"), {"server.address": "db.example"}),
        (
            ("postgresql", "shop", "/var/run/postgresql", 5433),
            {"db.namespace": "shop", "server.address": "/var/run/postgresql"},
        ),
        (("postgresql", "shop", None, 5433), {"db.namespace": "shop"}),
        (("postgresql", "shop", "db.example", "5432,5433"), {"db.namespace": "shop", "server.address": "db.example"}),
        (("unknown", None, "db.example", 1), {"server.address": "db.example", "server.port": 1}),
    ],
)
def test_a_connection_tells_where_it_goes(given: tuple[Any, ...], expected: dict[str, Any]) -> None:
    """The port only where it isn't the usual one, and never without, or inside of, the address."""
    assert db.connection(*given) == {"db.system.name": given[0], **expected}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("postgresql", "shop", "db.example", 5433), "db.example:5433/shop"),
        (("postgresql", None, "db.example"), "db.example"),
        (("sqlite", ":memory:"), ":memory:"),
        (("sqlite",), "sqlite"),
    ],
)
def test_a_pool_is_named_by_where_it_goes(given: tuple[Any, ...], name: str) -> None:
    """`server.address:server.port/db.namespace`, of which there is what there is."""
    assert db.pool_name(db.connection(*given)) == name


SHARED = db.connection("postgresql", "shop")


def test_a_query_is_named_by_its_summary() -> None:
    """And by the system where nothing is known of the text."""
    call = db.query("postgresql", "SELECT a FROM t WHERE b = 'x'", SHARED)
    assert call.name == "SELECT t"
    assert call.attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.query.text": "SELECT a FROM t WHERE b = ?",
        "db.query.summary": "SELECT t",
        "db.operation.name": "SELECT",
        "db.collection.name": "t",
    }
    assert db.query("postgresql", object(), SHARED).name == "postgresql"


def test_calls_share_no_attributes() -> None:
    """What one learns must not show in another."""
    first, second = (db.query("postgresql", "SELECT 1", SHARED) for _ in range(2))
    first.attributes["error.type"] = "x"
    assert "error.type" not in second.attributes
    assert "error.type" not in SHARED


@pytest.mark.parametrize(
    ("size", "name"), [(0, "BATCH INSERT t"), (1, "INSERT t"), (2, "BATCH INSERT t"), (None, "INSERT t")]
)
def test_a_batch_has_two_operations_or_none(size: int | None, name: str) -> None:
    """One set of parameters is a single operation, by the convention; and a size that nobody knows is left out."""
    call = db.batch("postgresql", "INSERT INTO t VALUES (%s)", SHARED, size)
    assert call.name == call.attributes["db.query.summary"] == name
    assert call.attributes["db.operation.name"] == name.removesuffix(" t")
    assert call.attributes.get("db.operation.batch.size") == (size if "BATCH" in name else None)


@pytest.mark.parametrize(("system", "name"), [("postgresql", "CALL p"), ("microsoft.sql_server", "EXECUTE p")])
def test_a_procedure_that_is_called_by_name_has_no_text(system: str, name: str) -> None:
    """The driver writes it, if there is one at all."""
    call = db.procedure(system, "p", db.connection(system))
    assert call.name == call.attributes["db.query.summary"] == name
    assert call.attributes["db.stored_procedure.name"] == "p"
    assert "db.query.text" not in call.attributes


def test_what_a_layer_above_knows_goes_on_the_drivers_span() -> None:
    """And the layer learns that the driver speaks."""
    enclosure = db.Enclosure({"db.client.connection.pool.name": "main"})
    token = db.enclosing.set(enclosure)
    try:
        calls = [
            db.query("postgresql", "SELECT 1", SHARED),
            db.batch("postgresql", "SELECT 1", SHARED, 2),
            db.procedure("postgresql", "p", SHARED),
        ]
    finally:
        db.enclosing.reset(token)
    assert enclosure.spoken
    assert {call.attributes["db.client.connection.pool.name"] for call in calls} == {"main"}


class Error(Exception):
    """That of a driver's module."""


class Coded(Error):
    """One with codes."""

    def __init__(self, *args: Any, **codes: Any) -> None:
        super().__init__(*args)
        self.__dict__.update(codes)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Coded("x", sqlstate="42P01"), "42P01"),
        (Coded("x", pgcode="42601"), "42601"),
        (Coded("x", sqlstate=None, pgcode=None), None),
        (Coded("x", sqlite_errorcode=1, sqlite_errorname="SQLITE_ERROR"), "SQLITE_ERROR"),
        (Coded(1146, "no such table", sqlstate="42S02"), "1146"),
        (Coded((207, b"bad column"), "x"), "207"),
        (Coded("x", errno=1146, sqlstate="42S02"), "1146"),
        (Coded(Coded(full_code="ORA-00942")), "ORA-00942"),
        (Coded("42S02", "[42S02] no such table"), "42S02"),
        (Coded("HELLO world"), None),
        (Coded(), None),
        (Coded(True), None),
        (KeyError(5), None),
        (ConnectionRefusedError(111, "refused"), None),
    ],
)
def test_the_code_of_an_exception_is_found(error: BaseException, code: str | None) -> None:
    """Each driver keeps it elsewhere, the most specific one counts, and numbers of others are none."""
    call = db.query("postgresql", "SELECT 1", SHARED)
    assert db.status_code(error) == code
    assert (db.failure(call, error) or {}).get("db.response.status_code") == code


def test_the_duration_has_the_boundaries_and_labels_of_the_convention() -> None:
    """docs/db/database-metrics.md; no text, no parameter, no pool."""
    assert db.OPERATION_DURATION.bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert "db.query.text" not in db.OPERATION_DURATION.keys
    assert "db.query.summary" in db.OPERATION_DURATION.keys
