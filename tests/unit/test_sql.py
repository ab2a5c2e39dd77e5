"""What may be shown of a SQL text, and what it is said to do."""

from __future__ import annotations

import pytest

from noops_agent.instrument import sql
from noops_agent.instrument.sql import MOST_READ, described

GENERIC = "other_sql"


def text(statement: str, dialect: str = GENERIC) -> str:
    """Give what is shown of a statement."""
    return described(statement, dialect).text


def summary(statement: str, dialect: str = GENERIC) -> str:
    """Give its summary."""
    return described(statement, dialect).summary


# ---- literals ----------------------------------------------------------------------------------------------

ALL = ["postgresql", "mysql", "mariadb", "sqlite", "microsoft.sql_server", "oracle.db", GENERIC]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    "literal",
    [
        "'secret'",
        "''",
        "'it''s'",
        "''''",
        "N'secret'",
        "1",
        "12345",
        "1.5",
        ".5",
        "1e5",
        "1.5e-3",
        "1E+5",
        "0x1F",
        "1_000",
        "-1",
        "+1.5",
        "- 1",
    ],
)
def test_a_literal_becomes_a_question_mark(dialect: str, literal: str) -> None:
    """Values are the user's; a sign belongs to its number, or -1 and 1 would be two statements."""
    assert text(f"SELECT a FROM t WHERE b = {literal} AND c", dialect) == "SELECT a FROM t WHERE b = ? AND c"


@pytest.mark.parametrize(
    ("dialect", "literal"),
    [
        ("postgresql", r"E'it\'s'"),
        ("postgresql", r"e'a\\'"),
        ("postgresql", r"'ends with a backslash\'"),
        ("postgresql", "U&'d\\0061t\\+000061'"),
        ("postgresql", "B'101'"),
        ("postgresql", "X'1F'"),
        ("postgresql", "$$secret$$"),
        ("postgresql", "$tag$it's $$ secret $other$ $tag$"),
        ("postgresql", "0b101"),
        ("mysql", r"'it\'s'"),
        ("mysql", r"'a\\'"),
        ("mysql", '"secret"'),
        ("mysql", r'"say \"x\" ""y"""'),
        ("mysql", "x'1F'"),
        ("mariadb", '"secret"'),
        ("sqlite", "x'1F'"),
        ("sqlite", r"'ends with a backslash\'"),
        ("microsoft.sql_server", "N'it''s'"),
        ("microsoft.sql_server", "$12.50"),
        ("oracle.db", "q'[it's]'"),
        ("oracle.db", "Q'{it's}'"),
        ("oracle.db", "q'<it's>'"),
        ("oracle.db", "q'(it's)'"),
        ("oracle.db", "nq'!it's!'"),
        (GENERIC, r"'a\\'"),
        (GENERIC, "$$secret$$"),
        (GENERIC, "q'[it's]'"),
    ],
)
def test_each_dialect_has_literals_of_its_own(dialect: str, literal: str) -> None:
    """Taken for something else, the end of one would be missed, and what follows shown or hidden by mistake."""
    assert text(f"SELECT a FROM t WHERE b = {literal} AND c", dialect) == "SELECT a FROM t WHERE b = ? AND c"


def test_a_character_set_before_a_string_stays() -> None:
    """It is a word of MySQL's, and tells nothing."""
    assert text("SELECT _utf8mb4'secret'", "mysql") == "SELECT _utf8mb4?"


def test_in_an_unknown_dialect_a_backslash_before_a_quote_hides_the_rest() -> None:
    """Whether the string ends there can't be known, and either guess could show a literal."""
    assert text(r"SELECT a FROM t WHERE b = 'x\' OR c = 'secret'") == "SELECT a FROM t WHERE b = ?"


@pytest.mark.parametrize(
    ("dialect", "statement", "shown"),
    [
        ("sqlite", 'SELECT "a" FROM "t" WHERE "b" = "secret"', 'SELECT "a" FROM "t" WHERE "b" = ?'),
        ("sqlite", 'SELECT a FROM t WHERE b = "t"."c"', 'SELECT a FROM t WHERE b = "t"."c"'),
        ("sqlite", 'SELECT a FROM t WHERE b = "joe@x.com"', "SELECT a FROM t WHERE b = ?"),
        ("sqlite", 'SELECT a FROM t WHERE b IN ("x", "y")', "SELECT a FROM t WHERE b IN (?)"),
        ("sqlite", 'INSERT INTO t VALUES ("x", 1), ("y", 2)', "INSERT INTO t VALUES (?, ?)"),
        ("sqlite", 'SELECT a FROM t WHERE b LIKE "x%"', "SELECT a FROM t WHERE b LIKE ?"),
        ("microsoft.sql_server", 'SELECT a FROM t WHERE b = "x"', "SELECT a FROM t WHERE b = ?"),
        ("postgresql", 'SELECT a FROM t WHERE b = "c"', 'SELECT a FROM t WHERE b = "c"'),
    ],
)
def test_double_quotes_hold_a_value_where_the_database_would_take_them_for_one(
    dialect: str, statement: str, shown: str
) -> None:
    """SQLite reads "x" as a string where no column has that name, SQL Server by a setting; PostgreSQL never does."""
    assert text(statement, dialect) == shown


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT a-5", "SELECT a-?"),
        ("SELECT a - -5", "SELECT a - ?"),
        ("SELECT (-5)", "SELECT (?)"),
        ("SELECT f(1, -5)", "SELECT f(?, ?)"),
        ("SELECT -5", "SELECT ?"),
        ("SELECT a)-5", "SELECT a)-?"),
        ("SELECT a FROM t LIMIT -1", "SELECT a FROM t LIMIT ?"),
        ("SELECT -a", "SELECT -a"),
    ],
)
def test_a_minus_is_a_sign_only_where_no_operand_is_before_it(statement: str, shown: str) -> None:
    """`a-5` takes something from a; `= -5` compares with a number."""
    assert text(statement) == shown


def test_null_and_the_truth_values_stay() -> None:
    """They are words of the language, and change what a statement means."""
    statement = "SELECT a FROM t WHERE b IS NULL AND c IS TRUE AND d = FALSE"
    assert text(statement) == statement


def test_names_keep_their_digits_and_quotes() -> None:
    """A digit in a name is no number."""
    statement = 'SELECT t1.c2, "Weird 1"."x""y" FROM s3.t1 JOIN "Weird 1" ON t1.c2 = "Weird 1".id'
    assert text(statement, "postgresql") == statement


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        ("mysql", "SELECT `a 1` FROM `t``x`"),
        ("sqlite", 'SELECT [a 1], `b`, "c" FROM [t]'),
        ("microsoft.sql_server", "SELECT [a 1] FROM [dbo].[t] JOIN #temp ON @p = ##g.x"),
        ("oracle.db", "SELECT v$session.x FROM sys#t"),
        (GENERIC, 'SELECT [order 1], `b`, "c" FROM t'),
        ("postgresql", "SELECT a[b] FROM t"),
    ],
)
def test_each_dialect_quotes_names_its_own_way(dialect: str, statement: str) -> None:
    """Names are what makes a text readable."""
    assert text(statement, dialect) == statement


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        ("postgresql", "SELECT $1, %s, %(a_b)s, :name, x::int, %b, %t, a %% b"),
        ("mysql", "SELECT ?, %s, %(name)s, @v, @@global.x"),
        ("sqlite", "SELECT ?, ?1, :name, @name, $name"),
        ("microsoft.sql_server", "SELECT ?, @p, @@rowcount, %s"),
        ("oracle.db", "SELECT :1, :name FROM dual"),
        (GENERIC, "SELECT ?, $1, :name, :1, %s, %(name)s, @p"),
    ],
)
def test_placeholders_and_variables_stay(dialect: str, statement: str) -> None:
    """A text with placeholders holds no values to hide."""
    assert text(statement, dialect) == statement


@pytest.mark.parametrize("dialect", ["oracle.db", GENERIC, "postgresql", "mysql"])
@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("CREATE USER bob IDENTIFIED BY hunter2", "CREATE USER bob IDENTIFIED BY ?"),
        ("ALTER USER bob IDENTIFIED BY hunter2 REPLACE hunter1 x", "ALTER USER bob IDENTIFIED BY ? REPLACE ? x"),
        ("ALTER USER bob IDENTIFIED BY `hunter2`", "ALTER USER bob IDENTIFIED BY ?"),
    ],
)
def test_a_password_without_quotes_is_one(dialect: str, statement: str, shown: str) -> None:
    """Oracle takes it as a name."""
    if "`" not in statement or dialect in ("mysql", GENERIC):
        assert text(statement, dialect) == shown


# ---- what is left out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        ("postgresql", "SELECT a -- it's a secret\nFROM t"),
        ("postgresql", "/* one /* two 'x */ three */ SELECT a /**/ FROM t /* end"),
        ("mysql", "SELECT a # it's\nFROM t -- it's\n"),
        ("mysql", "SELECT /*+ NO_MERGE(t) */ a /*!40101 SQL_NO_CACHE */ FROM t"),
        ("microsoft.sql_server", "SELECT a /* /* ' */ */ FROM t"),
        ("oracle.db", "SELECT /*+ INDEX(t) */ a FROM t"),
        ("sqlite", "SELECT a FROM t /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"),
        (GENERIC, "SELECT a/* /* ' */ */FROM t # it's"),
    ],
)
def test_comments_are_left_out(dialect: str, statement: str) -> None:
    """They carry trace contexts, hints, names of people, and quotes that are none."""
    assert text(statement, dialect) == "SELECT a FROM t"


def test_two_minuses_of_mysql_are_a_comment_only_before_a_blank() -> None:
    """Else `5--3` would hide what follows."""
    assert text("SELECT a--3 FROM t", "mysql") == "SELECT a- ? FROM t"


def test_white_space_becomes_one_blank() -> None:
    """How a program is indented makes no other statement."""
    assert text("\n  SELECT a,\n\t b\n  FROM t  \n") == "SELECT a, b FROM t"


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT a FROM t WHERE b IN (1, 2, 3)", "SELECT a FROM t WHERE b IN (?)"),
        ("SELECT a FROM t WHERE b NOT IN ('x','y') AND c", "SELECT a FROM t WHERE b NOT IN (?) AND c"),
        ("SELECT a FROM t WHERE b IN (%s, %s)", "SELECT a FROM t WHERE b IN (%s)"),
        ("SELECT a FROM t WHERE b IN ($1::VARCHAR(9), $2::VARCHAR(9))", "SELECT a FROM t WHERE b IN ($1::VARCHAR(?))"),
        (
            "SELECT a FROM t WHERE b IN (%(b_1)s::TIMESTAMP WITHOUT TIME ZONE, %(b_2)s::TIMESTAMP WITHOUT TIME ZONE)",
            "SELECT a FROM t WHERE b IN (%(b_1)s::TIMESTAMP WITHOUT TIME ZONE)",
        ),
        ("SELECT a FROM t WHERE b IN (NULL, -1, TRUE)", "SELECT a FROM t WHERE b IN (NULL)"),
        ("SELECT a FROM t WHERE (b, c) IN ((1, 2), (3, 4))", "SELECT a FROM t WHERE (b, c) IN ((?, ?))"),
        ("SELECT a FROM t WHERE b IN (c, d, 1)", "SELECT a FROM t WHERE b IN (c, d, ?)"),
        ("SELECT a FROM t WHERE b IN (SELECT 1, 2)", "SELECT a FROM t WHERE b IN (SELECT ?, ?)"),
        ("SELECT a FROM t WHERE b = ANY(ARRAY[1, 2, 3])", "SELECT a FROM t WHERE b = ANY(ARRAY[?])"),
        ("SELECT f(1, 2, 3)", "SELECT f(?, ?, ?)"),
    ],
)
def test_lists_of_values_shrink_to_one(statement: str, shown: str) -> None:
    """How many there are makes no other statement, and a thousand of them no better text."""
    assert text(statement, "postgresql") == shown


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')", "INSERT INTO t (a, b) VALUES (?, ?)"),
        (
            "INSERT INTO t VALUES (1, now()), (2, lower('x')) RETURNING id",
            "INSERT INTO t VALUES (?, now()) RETURNING id",
        ),
        (
            "INSERT INTO t (a) VALUES (%s), (%s) ON DUPLICATE KEY UPDATE a = VALUES(a), b = (5)",
            "INSERT INTO t (a) VALUES (%s) ON DUPLICATE KEY UPDATE a = VALUES(a), b = (?)",
        ),
        ("VALUES (1), (2), (3)", "VALUES (?)"),
        (
            "INSERT INTO t SELECT p FROM (VALUES ($1, $2), ($3, $4)) AS v (p, q) ORDER BY q",
            "INSERT INTO t SELECT p FROM (VALUES ($1, $2)) AS v (p, q) ORDER BY q",
        ),
    ],
)
def test_rows_of_values_shrink_to_one(statement: str, shown: str) -> None:
    """An insert of a thousand rows is the same statement as one of two."""
    assert text(statement, "postgresql") == shown


# ---- broken and long texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("opening", ["'", "N'", '"', "/*", "'it''", "x'"])
def test_what_has_no_end_hides_the_rest(dialect: str, opening: str) -> None:
    """A text that was cut, or is wrong, must not show what a literal holds."""
    shown = text(f"SELECT a FROM t WHERE b = {opening}secret AND c = ", dialect)
    assert "secret" not in shown
    assert shown.startswith("SELECT a FROM t WHERE b =")


@pytest.mark.parametrize("statement", ["", " ", ";", ")))", "((([", "'", '"', "\x00", "\ud800", "?", "é", "-- x", "/*"])
@pytest.mark.parametrize("dialect", ALL)
def test_any_text_is_read(statement: str, dialect: str) -> None:
    """Drivers pass on whatever a program gives them; that it is wrong is for the server to say."""
    assert isinstance(described(statement, dialect).text, str)


def test_bytes_are_read_as_utf_8() -> None:
    """Drivers take them."""
    assert text(b"SELECT '\xff', caf\xc3\xa9 FROM t") == "SELECT ?, café FROM t"  # type: ignore[arg-type]


def test_what_is_no_text_is_not_converted() -> None:
    """An object's own conversion may be slow, may fail, and may show values."""

    class Composed:
        def __str__(self) -> str:
            raise AssertionError("not ours to call")

    found = described(Composed(), GENERIC)
    assert (found.text, found.summary, found.attributes) == ("", "", {})


def test_a_subclass_of_str_is_read_as_its_text() -> None:
    """Such as SQLAlchemy's quoted names; what it overrides isn't asked."""

    class Text(str):
        def __getitem__(self, key: object) -> str:
            raise AssertionError("not ours to call")

    assert text(Text("SELECT 1")) == "SELECT ?"


def test_of_a_long_text_only_the_beginning_is_read() -> None:
    """A megabyte of SQL must cost no more than a page of it, and no literal comes out at the cut."""
    rows = ", ".join(f"({number}, 'secret')" for number in range(100_000))
    assert text(f"INSERT INTO t (a, b) VALUES {rows}") == "INSERT INTO t (a, b) VALUES (?, ?)"
    assert text(f"SELECT a FROM t WHERE b IN ({', '.join(['123456'] * 10_000)})") == "SELECT a FROM t WHERE b IN (?"
    for shift in range(20):
        shown = text("SELECT a, " * ((MOST_READ - shift) // 10) + "'secret and more of it'" + " " * shift)
        assert "secr" not in shown
        assert len(shown) <= MOST_READ


def test_a_text_is_read_once() -> None:
    """The second time the same statement is given: the hot path is a look-up."""
    first = described("SELECT a FROM seen_once", GENERIC)
    assert described("SELECT a FROM seen_once", GENERIC) is first


def test_the_caches_are_bounded() -> None:
    """Programs that write values into their statements make new texts without end."""
    for number in range(600):
        described(f"SELECT {number}", GENERIC)
    for number in range(80):
        described(f"SELECT {number}, " + "a, " * 400, GENERIC)
    assert sql._short.cache_info().currsize <= 512
    assert sql._long.cache_info().currsize <= 64


# ---- summaries ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT *\nFROM   wuser_table\nWHERE  username = ?", "SELECT wuser_table"),
        (
            "INSERT INTO shipping_details\n(order_id,\naddress)\nSELECT order_id,\naddress\nFROM   orders\n"
            "WHERE  order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        ("SELECT *\nFROM   songs,\nartists\nWHERE  songs.artist_id == artists.id", "SELECT songs artists"),
        (
            "SELECT order_date\nFROM   (SELECT *\nFROM   orders o\nJOIN customers c\nON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        ("SELECT *\nFROM   \"song list\",\n'artists'", "SELECT \"song list\" 'artists'"),
        ("{call some_stored_procedure}", "call some_stored_procedure"),
    ],
)
def test_the_examples_of_the_convention_give_its_summaries(statement: str, expected: str) -> None:
    """docs/db/database-spans.md, "Generating a summary of the query"."""
    assert summary(statement) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        # what reads
        ("SELECT 1", "SELECT"),
        ("select a from Users u", "select Users"),
        ("SELECT a FROM s.t AS x JOIN u USING (id) LEFT JOIN v ON x.a = v.a WHERE x.b = 1", "SELECT s.t u v"),
        ("SELECT a FROM t x, u AS y WHERE a = b ORDER BY c, d", "SELECT t u"),
        ("SELECT a FROM t GROUP BY b, c HAVING d > 1 LIMIT 1, 2", "SELECT t"),
        ("SELECT a FROM t WHERE b IN (SELECT c FROM u)", "SELECT t SELECT u"),
        ("SELECT a, (SELECT b FROM u) FROM t", "SELECT SELECT u t"),
        ("SELECT a FROM t UNION ALL SELECT b FROM u", "SELECT t SELECT u"),
        ("SELECT extract(year FROM b), trim(both 'x' FROM c) FROM t", "SELECT t"),
        ("SELECT a FROM t WHERE b IS DISTINCT FROM c", "SELECT t"),
        ("SELECT DISTINCT a FROM t FOR UPDATE OF t", "SELECT t"),
        ("SELECT a FROM generate_series(1, 10) g, LATERAL (SELECT b FROM u) x", "SELECT generate_series SELECT u"),
        ("SELECT a FROM (t JOIN u ON t.a = u.a)", "SELECT t u"),
        ("SELECT a INTO copy FROM t", "SELECT copy t"),
        ("SELECT a FROM event", "SELECT event"),
        ("SELECT replace(a, 'x', 'y') FROM t", "SELECT t"),
        ("SELECT a FROM ?", "SELECT"),
        ("(SELECT a FROM t)", "SELECT t"),
        ("VALUES (1)", "VALUES"),
        ("TABLE t", "TABLE t"),
        # common table expressions
        ("WITH x AS (SELECT a FROM t) SELECT a FROM x JOIN u ON x.a = u.a", "SELECT t SELECT u"),
        (
            "WITH RECURSIVE x (a) AS (SELECT 1 UNION SELECT a FROM x), y AS (SELECT b FROM t) DELETE FROM u USING y",
            "SELECT SELECT SELECT t DELETE u",
        ),
        (
            "WITH copy AS MATERIALIZED (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM copy",
            "DELETE t INSERT u SELECT",
        ),
        # what writes
        ("INSERT INTO t (a) VALUES (?)", "INSERT t"),
        ("INSERT IGNORE t VALUES (1)", "INSERT t"),
        ("INSERT OR REPLACE INTO t VALUES (1)", "INSERT t"),
        ("REPLACE INTO t VALUES (1)", "REPLACE t"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1", "INSERT t"),
        ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", "INSERT t"),
        ("UPDATE t SET a = 1, b = 2 FROM u WHERE t.a = u.a", "UPDATE t u"),
        ("UPDATE ONLY t SET a = (SELECT b FROM u)", "UPDATE t SELECT u"),
        ("UPDATE t, u SET t.a = u.a", "UPDATE t u"),
        ("DELETE FROM t USING u WHERE t.a = u.a", "DELETE t u"),
        (
            "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET a = 1 "
            "WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
            "MERGE t u",
        ),
        ("COPY t (a, b) FROM STDIN", "COPY t"),
        ("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT t"),
        # what defines
        ("CREATE TABLE IF NOT EXISTS t (a INT REFERENCES u (a) ON DELETE CASCADE)", "CREATE TABLE t"),
        ("CREATE TEMPORARY TABLE t AS SELECT a FROM u", "CREATE TABLE t SELECT u"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i"),
        ("CREATE OR REPLACE VIEW v AS WITH x AS (SELECT a FROM t) SELECT a FROM x", "CREATE VIEW v SELECT t SELECT"),
        ("ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b INT", "ALTER TABLE t"),
        ("DROP TABLE IF EXISTS t, u CASCADE", "DROP TABLE t u"),
        ("TRUNCATE t", "TRUNCATE t"),
        ("TRUNCATE TABLE t, u", "TRUNCATE TABLE t u"),
        ("CREATE USER bob", "CREATE USER"),
        # procedures
        ("CALL p(1, 2)", "CALL p"),
        ("EXEC dbo.p @a = 1", "EXEC dbo.p"),
        ("{? = call p(?)}", "call p"),
        # the rest
        ("BEGIN", "BEGIN"),
        ("BEGIN TRANSACTION", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("ROLLBACK TO SAVEPOINT sa_savepoint_1", "ROLLBACK"),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT"),
        ("SET search_path TO private", "SET"),
        ("SHOW TABLES FROM x", "SHOW"),
        ("USE shop", "USE shop"),
        ("PRAGMA table_info('t')", "PRAGMA table_info"),
        ("GRANT SELECT, INSERT ON t TO bob", "GRANT"),
        ("EXPLAIN ANALYZE SELECT a FROM t", "EXPLAIN SELECT t"),
        ("EXPLAIN (ANALYZE, FORMAT JSON) INSERT INTO t SELECT a FROM u", "EXPLAIN INSERT t SELECT u"),
        ("SELECT a FROM t; UPDATE u SET a = 1;", "SELECT t UPDATE u"),
        ("/* hello */ SELECT a FROM t", "SELECT t"),
        ("hunter2", ""),
        ("", ""),
    ],
)
def test_a_summary_names_operations_and_targets_in_their_order(statement: str, expected: str) -> None:
    """It is the span's name and a label of metrics: few of them, and each says what was done."""
    assert summary(statement, "postgresql") == expected


def test_a_summary_ends_between_two_words() -> None:
    """The convention allows 255 characters, and half a name would be another table's."""
    names = ", ".join(f"table_number_{number:03}" for number in range(100))
    found = summary(f"SELECT a FROM {names}")
    assert len(found) <= 255
    assert len(found) > 255 - len(" table_number_000")
    assert found.endswith("table_number_013")
    assert summary(f"SELECT a FROM {'t' * 300}") == "SELECT"


def test_the_operation_and_collection_are_told_where_there_is_one() -> None:
    """Of several none is the one, so the attribute is left out."""
    one = described("SELECT a FROM t", GENERIC).attributes
    assert one == {
        "db.query.text": "SELECT a FROM t",
        "db.query.summary": "SELECT t",
        "db.operation.name": "SELECT",
        "db.collection.name": "t",
    }
    tables = described("SELECT a FROM t, u", GENERIC)
    assert (tables.operation, tables.collection) == ("SELECT", "")
    operations = described("INSERT INTO t SELECT a FROM u", GENERIC)
    assert (operations.operation, operations.collection) == ("", "")
    definition = described("CREATE INDEX i ON t (a)", GENERIC)
    assert (definition.operation, definition.collection) == ("CREATE INDEX", "")


def test_a_procedure_is_no_collection() -> None:
    """It has an attribute of its own."""
    found = described("CALL p(1)", GENERIC)
    assert found.attributes["db.stored_procedure.name"] == "p"
    assert "db.collection.name" not in found.attributes
