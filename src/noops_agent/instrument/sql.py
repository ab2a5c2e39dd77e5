"""SQL texts without their literals, and what they do.

One pass over the tokens of a text, by one regular expression per dialect, gives both the text that may be shown and its
summary. The expressions have no alternative that can fail late, so a pass takes time linear in the text; of a long text
only the beginning is read. What ends inside a literal, a quoted name or a comment counts as one, so nothing of a cut or
broken text gets out either.

Literals become `?`; `IN` lists and rows of `VALUES` shrink to their first element; comments are dropped, they carry
trace contexts and hints; white space becomes one blank. Placeholders, quoted names, NULL, TRUE and FALSE stay.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md, "Sanitization of `db.query.text`" and
"Generating a summary of the query"; the lexical chapters of the manuals of PostgreSQL 18, MySQL 8.4, MariaDB, SQLite,
SQL Server and Oracle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MOST_READ = 8192
"""Characters of a text that are read; no more are shown."""
SHORT = 1024
"""Texts up to this length are remembered in the large cache."""
MOST_SUMMARY = 255
"""Characters of a summary: the convention's limit."""


class Statement:
    """What is known of one text; made once, shared by all calls that run it, never changed."""

    __slots__ = ("attributes", "collection", "operation", "summary", "text")

    def __init__(self, text: str, summary: str, operation: str, collection: str) -> None:
        """
        Args:
            text: Without literals; `db.query.text`.
            summary: Operations and targets in their order; `db.query.summary`. Empty where no operation is known.
            operation: The one operation; empty where there are several, or none.
            collection: The one table that the one operation is about, or its procedure; else empty.
        """
        self.text = text
        self.summary = summary
        self.operation = operation
        self.collection = collection
        self.attributes: dict[str, str] = {}
        """All this as attributes of a span."""
        if text:
            self.attributes["db.query.text"] = text
        if summary:
            self.attributes["db.query.summary"] = summary
        if operation:
            self.attributes["db.operation.name"] = operation
        if collection:
            called = operation.upper() in CALLS
            self.attributes["db.stored_procedure.name" if called else "db.collection.name"] = collection


def described(statement: Any, dialect: str) -> Statement:
    """Describe a text; from a cache where it was seen before. Never raises.

    Args:
        statement: The text, str or bytes. Anything else has no text and no summary: an object's own conversion isn't
            ours to run.
        dialect: A `db.system.name`, or a SQLAlchemy name of a dialect; unknown ones get rules that no dialect makes
            unsafe.
    """
    if type(statement) is str and len(statement) <= SHORT:
        return _short(statement, dialect)
    return _other(statement, dialect)


def _other(statement: Any, dialect: str) -> Statement:
    if isinstance(statement, (bytes, bytearray, memoryview)):
        statement = bytes(statement[: MOST_READ * 4]).decode("utf-8", "replace")
    elif not isinstance(statement, str):
        return UNKNOWN
    return _long(str.__getitem__(statement, slice(MOST_READ)), dialect)


# ---- tokens ----------------------------------------------------------------------------------------------

# Strings end at a lone quote or with the text: these expressions never fail, so they never go back.
PLAIN = r"'[^']*(?:''[^']*)*(?:'|\Z)"
ESCAPED = r"'[^'\\]*(?:(?:''|\\[\s\S])[^'\\]*)*(?:'|\\?\Z)"
# Where it is unknown whether \' ends the string, it takes the rest of the text: either guess could show a literal.
WARY = r"'[^'\\]*(?:(?:''|\\[^'])[^'\\]*)*(?:'|\\?\Z|\\'[\s\S]*)"
DOUBLE = ESCAPED.replace("'", '"')
DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$[\s\S]*?(?:\$(?P=tag)\$|\Z)"
Q = (
    r"[nN]?[qQ]'(?:\[[\s\S]*?(?:\]'|\Z)|\{[\s\S]*?(?:\}'|\Z)|<[\s\S]*?(?:>'|\Z)|\([\s\S]*?(?:\)'|\Z)"
    r"|(?P<mark>[\s\S])[\s\S]*?(?:(?P=mark)'|\Z)|\Z)"
)
NUMBER = r"\.?\d(?:[eE][-+]\d|[\w.])*"

QUOTED = r'"[^"]*(?:""[^"]*)*"'
TICKED = r"`[^`]*(?:``[^`]*)*`"
BRACKETED = r"\[[^\]]*(?:\]\][^\]]*)*\]"

LINE = r"--[^\n]*"
BLOCK = r"/\*[\s\S]*?(?:\*/|\Z)"
FLAT = r"/\*[^*/]*(?:(?:\*(?!/)|/(?!\*))[^*/]*)*\*/"
FORMAT = r"\?|%\(\w[\w .:-]*\)s|%[sbt]\b"


class Dialect:
    """How one family of databases writes tokens."""

    def __init__(
        self,
        *,
        strings: str,
        names: str,
        broken: str,
        placeholders: str,
        word: str = r"[^\W\d][\w$]*",
        comments: str = f"{LINE}|{BLOCK}",
        loose: bool = False,
    ) -> None:
        """
        Args:
            strings: What is a literal, numbers excepted.
            names: Quoted names.
            broken: Characters that begin a quoted name; one that doesn't end takes the rest of the text.
            placeholders: What stands for a parameter, or names a variable.
            word: Unquoted names.
            comments: All comments but those that hold others.
            loose: A string in double quotes is possible where a name would be unusual.
        """
        part = f"(?:{word}|{names})"
        # A dot, then a prefix and a quote: that is a string, whatever it means there.
        name = rf"{part}(?:\.{{1,2}}(?!(?:[eE]|[nN]?[qQ])'){part})*"
        self.tokens = re.compile(
            rf"(?P<skip>(?:\s+|{comments})*)"
            rf"(?:(?P<literal>{strings}|{NUMBER})|(?P<name>{name})|(?P<placeholder>{placeholders})|(?P<nested>/\*)"
            rf"|(?P<broken>[{broken}][\s\S]*)|(?P<other>::|:=|[<>=!~|&^]+|[\s\S])|(?P<end>\Z))"
        )
        self.loose = loose
        groups = self.tokens.groupindex
        self.kinds = {groups[kind]: handler for kind, handler in HANDLERS.items()}


def end_of_nested(text: str, at: int) -> int:
    """Give the end of a comment that holds other comments, and begins at *at*."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


# ---- words -----------------------------------------------------------------------------------------------

CALLS = frozenset({"CALL", "EXEC", "EXECUTE"})
DEFINITIONS = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE"})
WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})
ABOUT = frozenset({"COPY", "USE", "PRAGMA", "DESCRIBE", "DESC", "ANALYZE", "VACUUM", "LOCK", "TABLE", "REFRESH"})
ALONE = frozenset(
    "BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE START END ABORT SET RESET SHOW GRANT REVOKE PREPARE DEALLOCATE DECLARE "
    "FETCH CLOSE OPEN MOVE LISTEN UNLISTEN NOTIFY CHECKPOINT DISCARD DO COMMENT REINDEX CLUSTER ATTACH DETACH KILL "
    "FLUSH OPTIMIZE REPAIR HANDLER LOAD UNLOAD EXPORT IMPORT PURGE RENAME UNLOCK XA WITH VALUES EXPLAIN PRINT BACKUP "
    "RESTORE BULK GO IF WHILE RETURN THROW RAISE SIGNAL ANALYSE INSTALL SELECT CACHE MSCK SHUTDOWN STOP CHECK".split()
)
VERBS = CALLS | DEFINITIONS | WRITES | ABOUT | ALONE
OPEN_ENDED = frozenset({"EXPLAIN", "BEGIN", "IF", "WHILE"})
"""Verbs that another one may follow."""

KINDS = frozenset(
    "TABLE INDEX VIEW DATABASE SCHEMA SEQUENCE FUNCTION PROCEDURE TRIGGER TYPE DOMAIN EXTENSION PACKAGE SYNONYM POLICY "
    "AGGREGATE OPERATOR COLLATION CAST RULE SERVER PUBLICATION SUBSCRIPTION STATISTICS TABLESPACE EVENT STREAM TASK "
    "USER ROLE LOGIN SYSTEM SESSION".split()
)
"""What a definition can be of."""
NAMELESS = frozenset({"USER", "ROLE", "LOGIN", "SYSTEM", "SESSION", "CAST", "OPERATOR"})
COLLECTIONS = frozenset(
    {"SELECT", "COPY", "TRUNCATE", "TABLE"} | WRITES | {f"{verb} TABLE" for verb in DEFINITIONS}
)
"""Operations whose target is a collection."""

MODIFIERS = frozenset(
    "INTO FROM ONLY LATERAL TABLE IF NOT EXISTS OR IGNORE LOW_PRIORITY HIGH_PRIORITY DELAYED QUICK OVERWRITE ABORT FAIL "
    "ROLLBACK REPLACE CONCURRENTLY IMMEDIATE FULL FREEZE VERBOSE ANALYZE TEMP TEMPORARY UNLOGGED GLOBAL LOCAL UNIQUE "
    "FULLTEXT SPATIAL BITMAP CLUSTERED NONCLUSTERED COLUMNSTORE EXTERNAL MATERIALIZED VIRTUAL RECURSIVE TRUSTED "
    "EDITIONABLE NONEDITIONABLE FORCE PUBLIC FOREIGN TRANSIENT LIVE STREAMING DEFINER ONLINE OFFLINE".split()
)
"""Words between an operation and its target."""
ENDS = frozenset(
    "WHERE GROUP ORDER HAVING LIMIT OFFSET RETURNING UNION EXCEPT INTERSECT MINUS WINDOW FOR CONNECT QUALIFY "
    "OUTPUT WHEN PARTITION OUTFILE DUMPFILE DEFAULT".split()
)
"""Words after which no list of targets goes on."""
UNARY = frozenset(
    "SELECT WHERE AND OR NOT BETWEEN THEN ELSE WHEN CASE LIMIT OFFSET IN LIKE ILIKE BY SET VALUES RETURNING ON IS "
    "RETURN TOP INTERVAL DEFAULT HAVING DISTINCT ALL ANY SOME FROM MOD DIV XOR USING FETCH FIRST NEXT TO".split()
)
"""Words after which a minus is a sign."""
COMPARISONS = frozenset({"LIKE", "ILIKE", "GLOB", "MATCH", "REGEXP", "RLIKE", "IS", "BETWEEN", "THEN", "ELSE", "ESCAPE"})
CONSTANTS = frozenset({"NULL", "TRUE", "FALSE", "DEFAULT", "UNKNOWN"})
BEFORE_WRITES = frozenset({"(", ")", "AS", "EXPLAIN", "ANALYZE", "VERBOSE", "BEGIN", "ELSE"})
LONGEST_KEYWORD = 16

# What a name means where it stands: the clause of a level of parentheses.
NOTHING, TARGET, TARGETED, DEFINED, CTE, CTE_NAMED = range(6)


class Level:
    """One level of parentheses."""

    __slots__ = ("clause", "comma", "kept", "queried", "rows", "simple")

    def __init__(self, clause: int = NOTHING, simple: bool = False) -> None:
        self.clause = clause
        self.simple = simple
        """A list of nothing but literals and placeholders, so far."""
        self.comma = -1
        """Where its first comma was written."""
        self.queried = False
        """There is an operation in it, so FROM begins a list of tables."""
        self.rows = 0
        """0: no rows; 1: the first is next; 2: one has ended; 3: and a comma followed."""
        self.kept = 0
        """What had been written when the first row had ended."""


class Reader:
    """Reads one text, once."""

    def __init__(self, dialect: Dialect) -> None:
        self.loose = dialect.loose
        self.out: list[str] = []
        self.words: list[str] = []
        self.operations: list[str] = []
        self.targets: list[str] = []
        self.named: set[str] = set()
        """Names of common table expressions."""
        self.level = Level()
        self.levels = [self.level]
        self.beginning = True
        """No operation of the statement was seen yet."""
        self.listed = False
        """A comma after a target brings another one."""
        self.before = ""
        """The token before: a word in capitals, an operator, `?` for an operand."""
        self.operand = False
        """It ends an operand, so a minus is an operator."""
        self.signed = False
        """It is a sign."""

    # -- literals, placeholders

    def literal(self, token: str, blank: str) -> None:
        """A literal: its sign goes with it."""
        if self.signed and token[0] in ".0123456789":
            blank = " " if self.out.pop()[0] == " " else ""
        elif token[0] == "'" and self.level.clause == TARGET and self.loose:
            self.quoted_target(token)
        self.out.append(f"{blank}?")
        self.operand, self.signed, self.before = True, False, "?"

    def quoted_target(self, token: str) -> None:
        """A table whose name is quoted like a string, which some databases take."""
        if self.level.queried and len(token) <= 64 and token[1:-1].replace(" ", "").isidentifier() and token[-1] == "'":
            self.add_target(token)

    def broken(self, token: str, blank: str) -> None:
        """A quoted name without an end."""
        self.literal("?", blank)

    def placeholder(self, token: str, blank: str) -> None:
        """A placeholder, or a variable."""
        if self.level.clause == TARGET:
            self.level.clause = TARGETED
        self.out.append(blank + token)
        self.operand, self.signed, self.before = True, False, "?"

    # -- names

    def name(self, token: str, blank: str) -> None:
        """A name, or a keyword."""
        upper = token.upper() if len(token) <= LONGEST_KEYWORD else token
        if self.before == "BY" and self.is_password():
            self.literal("?", blank)
            return
        level = self.level
        if token[0] == '"' and self.loose and self.is_string(token):
            self.literal("?", blank)
            return
        if level.simple and upper not in CONSTANTS and self.before != "::" and self.operand is not None:
            level.simple = self.before in CONSTANTS or self.before == "TYPE"
        self.out.append(blank + token)
        if self.beginning and upper in VERBS:
            self.begin(token, upper)
        else:
            handle = KEYWORDS.get(upper)
            if handle is not None:
                handle(self, token, upper)
            elif level.clause and upper not in MODIFIERS:
                self.plain(token)
        self.operand = upper not in UNARY
        self.signed = False
        self.before = "TYPE" if self.before in ("::", "TYPE") else upper

    def is_password(self) -> bool:
        """Whether a word is one: IDENTIFIED BY takes it without quotes too."""
        return len(self.out) > 1 and self.out[-2].strip().upper() == "IDENTIFIED"

    def is_string(self, token: str) -> bool:
        """Whether double quotes hold a string: where a value is more likely than a name."""
        if "." in token and token[-1] != '"':
            return False
        if self.level.simple or (len(self.levels) > 1 and self.levels[-2].rows):
            return True
        return '".' not in token and (self.before in COMPARISONS or self.before[:1] in tuple("<>=!~|"))

    def plain(self, token: str) -> None:
        """A name where a clause waits for one."""
        level = self.level
        if level.clause == TARGET:
            level.clause = TARGETED
            if token.lower() not in self.named:
                self.add_target(token)
        elif level.clause == CTE:
            level.clause = CTE_NAMED
            self.named.add(token.lower())
        elif level.clause == DEFINED:  # TRUNCATE orders
            level.clause = TARGETED
            self.add_target(token)

    def add_target(self, token: str) -> None:
        """A target of the operation before."""
        self.targets.append(token)
        self.words.append(token)

    def add_operation(self, token: str) -> None:
        """An operation."""
        self.operations.append(token)
        self.words.append(token)

    # -- keywords

    def begin(self, token: str, upper: str) -> None:
        """The first word of a statement."""
        level = self.level
        if upper == "WITH":
            level.clause = CTE
            return
        self.beginning = upper in OPEN_ENDED
        self.listed = upper in ("SELECT", "DROP", "TRUNCATE", "LOCK", "UPDATE", "DELETE")
        if upper == "SELECT":
            self.select(token, upper)
        elif upper in WRITES:
            self.add_operation(token)
            level.clause, level.queried = TARGET, True
        elif upper == "VALUES":
            self.add_operation(token)
            level.rows = 1
        else:
            self.add_operation(token)
            if upper in DEFINITIONS:
                level.clause = DEFINED
            elif upper in ABOUT or upper in CALLS:
                level.clause = TARGET

    def select(self, token: str, upper: str) -> None:
        """SELECT, wherever it stands."""
        if self.operations and self.operations[0].upper() in ("GRANT", "REVOKE"):
            return
        self.beginning = False
        self.listed = True
        self.add_operation(token)
        self.level.clause, self.level.queried = NOTHING, True

    def write(self, token: str, upper: str) -> None:
        """INSERT and its like in the middle: of an operation only after what can come before one."""
        if self.before in BEFORE_WRITES and not (upper == "REPLACE" and self.before != ")"):
            self.add_operation(token)
            self.listed = upper in ("UPDATE", "DELETE")
            self.level.clause, self.level.queried = TARGET, True
        elif self.level.clause == TARGET and upper not in MODIFIERS:
            self.level.clause = TARGETED

    def source(self, token: str, upper: str) -> None:
        """FROM, JOIN, INTO, USING: targets follow; but not in `extract(year FROM x)`, `IS DISTINCT FROM`."""
        if self.level.queried and self.before != "DISTINCT":
            self.level.clause = TARGET

    def having_done(self, token: str, upper: str) -> None:
        """A clause without targets."""
        self.level.clause = NOTHING

    def assign(self, token: str, upper: str) -> None:
        """SET."""
        self.level.clause = NOTHING

    def values(self, token: str, upper: str) -> None:
        """VALUES, before rows."""
        self.level.clause = NOTHING
        self.level.rows = 1

    def common(self, token: str, upper: str) -> None:
        """WITH before a query in parentheses or after AS."""
        if self.before in ("(", "AS"):
            self.level.clause = CTE

    def kind(self, token: str, upper: str) -> None:
        """TABLE and its like: after CREATE part of the operation."""
        level = self.level
        if level.clause == DEFINED:
            verb = self.operations.pop()
            self.words[-1] = f"{verb} {token}"
            self.operations.append(self.words[-1])
            level.clause = NOTHING if upper in NAMELESS else TARGET

    # -- the rest

    def other(self, token: str, blank: str) -> None:
        """Punctuation, operators."""
        if token == "(":
            self.open(token, blank)
            return
        level, self.signed = self.level, False
        if token == ",":
            self.comma(level)
        elif token == ")":
            self.close(blank)
            return
        elif token == "[":
            self.array(level)
        elif token == "]":
            self.array_end(level)
        elif token in "+-":
            self.signed = not self.operand
        elif token == ";":
            self.level = Level()
            self.levels = [self.level]
            self.beginning, self.listed = True, False
        elif level.simple and token != "::":
            level.simple = False
        self.out.append(blank + token)
        self.operand = token == "]"
        self.before = token

    def comma(self, level: Level) -> None:
        """A comma: it may bring another target, element, or row."""
        if level.clause == TARGETED:
            if self.listed:
                level.clause = TARGET
        elif level.clause == CTE_NAMED:
            level.clause = CTE
        if level.comma < 0:
            level.comma = len(self.out)
        if level.rows == 2:
            level.rows = 3
