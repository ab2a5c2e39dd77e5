"""What the reader of SQL texts never does, whatever comes in: raise, take long, or let out what a literal holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noops_agent.instrument.sql import MOST_READ, described, read
from noops_agent.instrument.sql_dialects import DIALECTS, GENERIC

DIALECT_NAMES = ["postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "other_sql"]
BACKSLASHES = ("mysql",)
"""Dialects in which a backslash escapes in every string."""
SECRET = "Zq7-secret"
"""Not a word: a word in quotes can be a table after FROM."""
NUMBER = "739146058"

# What confuses a reader that takes it for something else.
HOSTILE = [
    "'",
    "''",
    '"',
    "`",
    "\\",
    "\\\\",
    "--",
    "#",
    "/*",
    "*/",
    "$$",
    "$t$",
    "]",
    "[",
    "\n",
    ";",
    "(",
    ")",
    "é",
    " ",
]
inside = st.lists(st.sampled_from([*HOSTILE, "a", "1", "SELECT"]), max_size=6).map("".join)


def quoted(content: str, dialect: str) -> str:
    """Write a string as each dialect takes it."""
    if dialect in BACKSLASHES:
        content = content.replace("\\", "\\\\")
    return "'" + content.replace("'", "''") + "'"


def escaped(content: str) -> str:
    """Write a string with backslashes."""
    return "'" + content.replace("\\", "\\\\").replace("'", "\\'") + "'"


def dollars(content: str) -> str:
    """Write a string between dollars; the tag is in no content above."""
    return f"$outer${content}$outer$"


def prefixed(prefix: str, write: Callable[[str], str]) -> Callable[[str], str]:
    """Write a string with a prefix."""
    return lambda content: prefix + write(content)


def writers(dialect: str) -> list[Callable[[str], str]]:
    """Give all ways in which a dialect writes a string."""

    def plain(content: str) -> str:
        return quoted(content, dialect)

    found = [plain, prefixed("N", plain)]
    if dialect == "postgresql":
        found += [prefixed("E", escaped), prefixed("e", escaped), prefixed("U&", plain), dollars]
    if dialect == "mysql":
        found += [escaped, lambda content: '"' + content.replace("\\", "\\\\").replace('"', '""') + '"']
    if dialect == "oracle.db":
        found += [lambda content: f"q'~{content}~'", lambda content: "nq'{" + content.replace("}'", "") + "}'"]
    if dialect == "other_sql":
        found += [prefixed("E", escaped), escaped, dollars]
    return found


def noise(dialect: str) -> st.SearchStrategy[str]:
    """Give what may stand around a literal and is none: comments, quoted names, words, operators."""
    pieces = ["a", "t.b", "NULL", "f(", ")", "+", "-", "= ", "||", "::", "?", "%s", ":x", ",", "IN (", "VALUES (", "\n"]
    pieces += ["/* it's */", "-- it's\n", "SELECT", "FROM", "x1"]
    pieces += {
        "postgresql": ['"it\'s"', "/* /* ' */ ' */", "$1", "#", "@>"],
        "mysql": ["`it's`", "# it's\n", "@v", '/*! " */'],
        "sqlite": ["[it's]", "`it's`", "?1"],
        "microsoft.sql_server": ["[it's]", "/* /* ' */ ' */", "#t", "@p"],
        "oracle.db": ["v$x", ":1", '"it\'s"'],
        "other_sql": ["`it's`", '"it\'s"', "$1", "# it's\n"],
    }[dialect]
    return st.lists(st.sampled_from(pieces), max_size=5).map(" ".join)


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, str]:
    """Make a text whose literals all hold the secret, in one dialect."""
    dialect = draw(st.sampled_from(DIALECT_NAMES))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        parts.append(draw(noise(dialect)))
        if draw(st.booleans()):
            write = draw(st.sampled_from(writers(dialect)))
            parts.append(write(draw(inside) + SECRET + draw(inside)))
        else:
            parts.append(draw(st.sampled_from(["", "-", "+", ".", "1.", "0x", "1e"])) + NUMBER)
    parts.append(draw(noise(dialect)))
    return draw(st.sampled_from(["SELECT ", "INSERT INTO t VALUES (", ""])) + " ".join(parts), dialect


def shown(text: str, dialect: str) -> str:
    """Give all that is told of a text."""
    found = described(text, dialect)
    return " ".join((found.text, found.summary, *found.attributes.values()))


@settings(deadline=None)
@given(statements())
def test_what_a_literal_holds_never_shows(statement: tuple[str, str]) -> None:
    """Values are the user's, however they are written, and whatever stands around them."""
    told = shown(*statement)
    assert SECRET not in told
    assert NUMBER not in told


@settings(deadline=None)
@given(statements(), st.data())
def test_nor_does_it_where_a_text_is_cut(statement: tuple[str, str], data: st.DataObject) -> None:
    """Long texts are cut, and programs send broken ones."""
    text, dialect = statement
    cut = text[: data.draw(st.integers(0, len(text)))]
    told = shown(cut, dialect)
    assert SECRET[:4] not in told
    assert NUMBER[:4] not in told


alphabet = st.one_of(
    st.sampled_from(
        [*HOSTILE, "e'", "N'", "q'[", "U&'", "0x", "1e-", "IN (", "VALUES (", ",", "::", "=", "-", "ARRAY["]
    ),
    st.sampled_from(["SELECT ", "FROM ", "a", "1", ".", "?", "%s", "%(a)s", ":a", "$1", "@a", "IDENTIFIED BY ", "x"]),
    st.characters(),
)
anything = st.lists(alphabet, max_size=40).map("".join)


@settings(deadline=None)
@given(anything, st.sampled_from(DIALECT_NAMES))
@example("a/**/'x'", "postgresql")
@example("----", "mysql")
@example("IN (1, 2", "sqlite")
def test_a_text_that_was_read_reads_the_same(text: str, dialect: str) -> None:
    """Texts pass through several hands, and what is safe must stay as it is; nothing raises on the way."""
    once = described(text, dialect).text
    assert described(once, dialect).text == once


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(DIALECT_NAMES))
def test_any_bytes_are_read(text: bytes, dialect: str) -> None:
    """Drivers take bytes, and not all are UTF-8."""
    assert len(described(text, dialect).summary) <= 255


UNITS = ["'", '"', "`", "\\'", "/*", "/* */", "--", "$", "$a$", "$a", "(", "[", "((?,", "a.", "1e", "%(a", " ", "q'["]
UNITS += ["IN (1,", "VALUES (1),", "E'", "SELECT FROM a,", "WITH a AS ("]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_text_is_read_in_linear_time(unit: str, dialect: str) -> None:
    """A quadratic reader would take minutes for these, which the time limit of the test shows."""
    text = unit * (50_000 // len(unit))
    read(text, DIALECTS.get(dialect, GENERIC))
    assert len(described(text * 20, dialect).text) <= MOST_READ
