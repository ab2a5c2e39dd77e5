"""SQL texts without their literals, and what they do.

Literals become `?`; `IN` lists and rows of `VALUES` shrink to their first element; comments are dropped, they carry
trace contexts and hints; white space becomes one blank. Placeholders, quoted names, NULL, TRUE and FALSE stay. Of a
long text only the beginning is read. What ends inside a literal, a quoted name or a comment counts as one, so nothing
of a cut or broken text gets out either.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md, "Sanitization of `db.query.text`".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .sql_dialects import DIALECTS, GENERIC, Dialect, end_of_comment
from .sql_summary import TARGET, Summary, words

MOST_READ = 8192
"""Characters of a text that are read; no more are shown."""
SHORT = 1024
"""Texts up to this length are remembered in the large cache."""


class Statement:
    """What is known of one text; made once, shared by all calls that run it, never changed."""

    __slots__ = ("attributes", "collection", "operation", "procedure", "summary", "text")

    def __init__(self, text: str, summary: Summary) -> None:
        self.text = text
        """Without literals."""
        self.summary = summary.text()
        """Operations and targets in their order; empty where none is known."""
        self.operation = summary.operation()
        """The one operation; empty where there are several, or none."""
        self.collection = summary.collection()
        """The one table of the one operation, or else empty."""
        self.procedure = summary.procedure()
        """The stored procedure of a CALL, or else empty."""
        self.attributes = {
            key: value
            for key, value in (
                ("db.query.text", self.text),
                ("db.query.summary", self.summary),
                ("db.operation.name", self.operation),
                ("db.collection.name", self.collection),
                ("db.stored_procedure.name", self.procedure),
            )
            if value
        }
        """All this as attributes of a span."""


def described(statement: Any, dialect: str) -> Statement:
    """Describe a text; from a cache where it was seen before. Never raises.

    Args:
        statement: The text, str or bytes. Anything else has no text and no summary: an object's own conversion to text
            isn't ours to run.
        dialect: A `db.system.name`, or SQLAlchemy's name of a dialect. One that is unknown gets rules that are safe
            whatever it is.
    """
    if type(statement) is str and len(statement) <= SHORT:
        return _short(statement, dialect)
    if isinstance(statement, (bytes, bytearray)):
        statement = bytes(statement[: MOST_READ * 4]).decode("utf-8", "replace")
    elif not isinstance(statement, str):
        return UNKNOWN
    text = str.__getitem__(statement, slice(MOST_READ))
    return (_short if len(text) <= SHORT else _long)(text, dialect)


@lru_cache(512)
def _short(text: str, dialect: str) -> Statement:
    return read(text, DIALECTS.get(dialect, GENERIC))


@lru_cache(64)
def _long(text: str, dialect: str) -> Statement:
    return read(text, DIALECTS.get(dialect, GENERIC))


def read(text: str, dialect: Dialect) -> Statement:
    """Read a text, once."""
    reader = Reader(dialect.loose)
    tokens, handlers = handled(dialect)
    at = 0
    while at >= 0:
        at = _read_on(text, at, tokens, handlers, reader)
    return Statement(reader.text(), reader.summary)


def _read_on(text: str, at: int, tokens: Any, handlers: list[Handler | None], reader: Reader) -> int:
    """Read up to the end of the text, which gives -1, or to the end of a comment that holds others."""
    out = reader.out
    gap: object = at
    for match in tokens.finditer(text, at):
        index = match.lastindex
        token = match[index]
        if not token:
            break
        handle = handlers[index]
        if handle is None:
            return end_of_comment(text, match.start(index))
        handle(reader, token, " " if (match[1] or gap) and out else "")
        gap = None
    return -1


UNARY = words(
    "SELECT WHERE AND OR NOT BETWEEN THEN ELSE WHEN CASE LIMIT OFFSET IN LIKE ILIKE BY SET VALUES RETURNING ON IS "
    "RETURN TOP INTERVAL DEFAULT HAVING DISTINCT ALL ANY SOME FROM MOD DIV XOR USING FETCH FIRST NEXT TO"
)
"""Words after which a minus is a sign."""
COMPARISONS = words("LIKE ILIKE GLOB MATCH REGEXP RLIKE IS BETWEEN THEN ELSE ESCAPE")
"""Words, and below beginnings of operators, after which double quotes hold a value."""
OPERATORS = tuple("<>=!~|")
CONSTANTS = frozenset({"NULL", "TRUE", "FALSE", "DEFAULT"})
PASSWORDS = frozenset({"IDENTIFIED", "IDENTIFIED BY", "PASSWORD"})
LONGEST_KEYWORD = 16


class Level:
    """One level of parentheses or brackets."""

    __slots__ = ("comma", "kept", "row", "rows", "simple")

    def __init__(self, simple: bool, rows: int, row: bool) -> None:
        self.simple = simple
        """A list of nothing but literals, placeholders and casts, so far."""
        self.comma = -1
        """Where its first comma was written."""
        self.rows = rows
        """0: none; 1: the next parenthesis is the first; 2: one has ended; 3: a comma followed it."""
        self.kept = 0
        """What had been written when the first row had ended."""
        self.row = row
        """It is a row, or inside one."""


class Reader:
    """Reads the tokens of one text; a method for each kind of token."""

    __slots__ = ("before", "level", "levels", "loose", "operand", "out", "signed", "summary")

    def __init__(self, loose: bool) -> None:
        self.loose = loose
        self.out: list[str] = []
        self.summary = Summary()
        self.level = Level(False, 0, False)
        self.levels = [self.level]
        self.before = ""
        """The token before: a word in capitals, an operator, `?` for a value, `::` for the type of a cast."""
        self.operand = False
        """It ends an operand, so a minus is an operator, not a sign."""
        self.signed = False
        """It is a sign."""

    def text(self) -> str:
        """Give what was written; a list or row that the text breaks off in is left as if it had ended."""
        for level, inner in zip(self.levels, [*self.levels[1:], None], strict=True):
            if level.rows == 3 and (self.before == "," if inner is None else inner.row):
                del self.out[level.kept :]
                break
            if level.simple and level.comma >= 0:
                del self.out[level.comma :]
                break
        return "".join(self.out)[:MOST_READ]

    # -- values

    def literal(self, token: str, blank: str) -> None:
        """A literal; a sign goes with its number."""
        if self.signed and token[0] in ".0123456789":
            blank = " " if self.out.pop()[0] == " " else ""
        summary = self.summary
        if summary.clause == TARGET:
            if self.loose and summary.queried and quoted_name(token):
                summary.target(token)
            else:
                summary.value()
        self.out.append(blank + "?")
        self.operand, self.signed, self.before = True, False, "?"

    def broken(self, token: str, blank: str) -> None:
        """A quoted name without an end: it hides the rest."""
        self.literal("?", blank)

    def placeholder(self, token: str, blank: str) -> None:
        """A placeholder, or a variable."""
        self.summary.value()
        self.out.append(blank + token)
        self.operand, self.signed, self.before = True, False, "?"

    # -- words

    def name(self, token: str, blank: str) -> None:
        """A name, or a keyword."""
        upper = token.upper() if len(token) <= LONGEST_KEYWORD else token
        before = self.before
        if before in PASSWORDS:
            upper = self.password(upper, before)
        if upper == "?" or (self.loose and '"' in token and self.quotes_value(token)):
            self.literal("?", blank)
            if before == "IDENTIFIED BY":
                self.before = "PASSWORD"
            return
        if self.level.simple and upper not in CONSTANTS:
            if before == "::":
                upper = before
            else:
                self.level.simple = False
        elif upper == "VALUES":
            self.level.rows = 1
        self.out.append(blank + token)
        self.summary.word(token, upper, before)
        self.operand, self.signed, self.before = upper not in UNARY, False, upper

    def password(self, upper: str, before: str) -> str:
        """Say what a word is in IDENTIFIED BY secret REPLACE former, which needs no quotes: `?` for the secrets."""
        if before == "IDENTIFIED BY":
            return upper if upper in ("VALUES", "RANDOM") else "?"
        if (before, upper) in (("IDENTIFIED", "BY"), ("PASSWORD", "REPLACE")):
            return "IDENTIFIED BY"
        return upper

    def quotes_value(self, token: str) -> bool:
        """Whether double quotes hold a value, where the database takes them for one: if a value is likelier here."""
        if token[0] != '"' or '".' in token.replace('""', ""):
            return False
        level, before = self.level, self.before
        return level.simple or level.row or before in COMPARISONS or before.startswith(OPERATORS)

    # -- the rest

    def other(self, token: str, blank: str) -> None:
        """Punctuation, or an operator."""
        if token in "([":
            self.open(token, blank)
            return
        if token in ")]":
            self.close(token, blank)
            return
        level, signed = self.level, False
        if token == ",":
            self.comma(level)
        elif token == ";":
            self.summary.semicolon()
            self.level = Level(False, 0, False)
            self.levels = [self.level]
        elif token in "+-":
            signed = not self.operand
            level.simple = level.simple and signed
            if token == self.before == "-":
                blank = " "  # or they would read as a comment
        elif token != "::":
            level.simple = False
        self.out.append(blank + token)
        self.operand, self.signed, self.before = False, signed, token

    def comma(self, level: Level) -> None:
        """A comma: it may bring another target, element or row."""
        self.summary.comma()
        if level.comma < 0:
            level.comma = len(self.out)
        if level.rows:
            level.rows = 3 if level.rows == 2 and self.before == ")" else 0

    def open(self, token: str, blank: str) -> None:
        """Parentheses, or brackets."""
        level, before = self.level, self.before
        level.simple = level.simple and before == "::"
        if token == "(":
            self.summary.open(before)
            row = (level.rows == 1 and before in ("VALUES", "(")) or (level.rows == 3 and before == ",")
            listed = before == "IN"
        else:
            row, listed = False, before == "ARRAY" or not self.operand
        self.level = Level(listed, 1 if listed else 0, row or level.row)
        self.levels.append(self.level)
        self.out.append(blank + token)
        self.operand, self.signed, self.before = False, False, token

    def close(self, token: str, blank: str) -> None:
        """Their end. Lists and rows shrink."""
        if token == ")":
            self.summary.close()
        level, out = self.level, self.out
        if level.simple and level.comma >= 0:
            del out[level.comma :]
            blank = ""
        out.append(blank + token)
        if len(self.levels) > 1:
            self.levels.pop()
            outer = self.level = self.levels[-1]
            if level.row and not outer.row:
                self.end_row(outer)
            elif outer.rows != 3:
                outer.rows = 0
        self.operand, self.signed, self.before = True, False, token

    def end_row(self, level: Level) -> None:
        """The end of a row: only the first one stays."""
        if level.rows == 3:
            del self.out[level.kept :]
        else:
            level.kept = len(self.out)
        level.rows = 2


def quoted_name(token: str) -> bool:
    """Whether a string can be the name of a table, which some databases take in single quotes."""
    return token[0] == token[-1] == "'" and len(token) <= 64 and token[1:-1].replace(" ", "_").isidentifier()


Handler = Callable[[Reader, str, str], None]

HANDLERS: dict[str, Handler] = {
    "literal": Reader.literal,
    "name": Reader.name,
    "placeholder": Reader.placeholder,
    "broken": Reader.broken,
    "other": Reader.other,
}
"""What reads a token of each kind; a comment has nothing."""


@lru_cache
def handled(dialect: Dialect) -> tuple[re.Pattern[str], list[Handler | None]]:
    """Give the tokens of a dialect, and the handlers of its kinds of tokens by their group."""
    handlers: list[Handler | None] = [None] * (dialect.tokens.groups + 1)
    for kind, index in dialect.tokens.groupindex.items():
        handlers[index] = HANDLERS.get(kind)
    return dialect.tokens, handlers


UNKNOWN = Statement("", Summary())
"""Of what is no text."""
