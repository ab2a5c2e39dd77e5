"""How databases write the tokens of SQL: one regular expression a family.

Each expression reads one token at any place of any text, and has no alternative that can fail late, so that a pass
takes time linear in the text. Where it is unknown how a database reads a text, the choice falls on what hides more. A
server is taken to have its usual settings; those that change what a backslash means in a string are not known to a
client.

Source: the lexical chapters of the manuals of PostgreSQL 18, MySQL 8.4, MariaDB 11, SQLite 3, SQL Server 2022 and
Oracle 23.
"""

from __future__ import annotations

import re

# Strings end at a lone quote or with the text, so these never go back.
PLAIN = r"'[^']*(?:''[^']*)*(?:'|\Z)"
ESCAPED = r"'[^'\\]*(?:(?:''|\\[\s\S])[^'\\]*)*(?:'|\\?\Z)"
# \' ends the string in some databases and not in others: it takes the rest of the text.
WARY = r"'[^'\\]*(?:(?:''|\\[^'])[^'\\]*)*(?:'|\\?\Z|\\'[\s\S]*)"
DOUBLE = r'"[^"\\]*(?:(?:""|\\[\s\S])[^"\\]*)*(?:"|\\?\Z)'
DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$[\s\S]*?(?:\$(?P=tag)\$|\Z)"
ALTERNATIVE = (
    r"[nN]?[qQ]'(?:\[[\s\S]*?(?:\]'|\Z)|\{[\s\S]*?(?:\}'|\Z)|<[\s\S]*?(?:>'|\Z)|\([\s\S]*?(?:\)'|\Z)"
    r"|(?P<mark>[\s\S])[\s\S]*?(?:(?P=mark)'|\Z)|\Z)"
)
NUMBER = r"\.?\d(?:[eE][-+]\d|[\w.])*"

QUOTED = r'(?:[uU]&)?"[^"]*(?:""[^"]*)*"'
TICKED = r"`[^`]*(?:``[^`]*)*`"
BRACKETED = r"\[[^\]]*(?:\]\][^\]]*)*\]"

LINE = r"--[^\n]*"
BLOCK = r"/\*[\s\S]*?(?:\*/|\Z)"
FLAT = r"/\*[^*/]*(?:(?:\*(?!/)|/(?!\*))[^*/]*)*\*/"
"""A comment that holds no other: one that does is read by `end_of_comment`."""

FORMAT = r"\?|%\(\w[\w .:-]*\)s|%[sbt]\b"
"""Placeholders of the DB-API's paramstyles that hold everywhere."""


class Dialect:
    """How one family of databases writes tokens."""

    __slots__ = ("_tokens", "expression", "loose")

    def __init__(
        self,
        *,
        strings: str,
        names: str,
        quotes: str,
        placeholders: str = FORMAT,
        word: str = r"[^\W\d][\w$]*",
        comments: str = f"{LINE}|{BLOCK}",
        loose: bool = False,
    ) -> None:
        """
        Args:
            strings: Literals, numbers excepted.
            names: Quoted names.
            quotes: What begins a quoted name: one without an end takes the rest of the text.
            placeholders: What stands for a parameter, or names a variable.
            word: Names without quotes, and keywords.
            comments: All comments but those that hold others.
            loose: Strings and names may have each other's quotes.
        """
        part = f"(?:{word}|{names})"
        # A dot, then a prefix and a quote: a string follows, whatever that means.
        name = rf"{part}(?:\.{{1,2}}(?!(?:[eE]|[nN]?[qQ])'){part})*"
        self.expression = (
            rf"(?P<skip>(?:\s+|{comments})*)"
            rf"(?:(?P<literal>{strings}|{NUMBER})|(?P<name>{name})|(?P<placeholder>{placeholders})|(?P<comment>/\*)"
            rf"|(?P<broken>[{quotes}][\s\S]*)|(?P<other>::|:=|[<>=!~|&^]+|[\s\S])|(?P<end>\Z))"
        )
        self._tokens: re.Pattern[str] | None = None
        self.loose = loose

    @property
    def tokens(self) -> re.Pattern[str]:
        """What reads a token and the white space and comments before it; at the end an empty one. Compiled at need."""
        found = self._tokens
        if found is None:
            found = self._tokens = re.compile(self.expression)
        return found


def end_of_comment(text: str, at: int) -> int:
    """Give the end of a comment that holds other comments, and begins at *at*."""
    depth = 0
    for match in _COMMENT_ENDS.finditer(text, at):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


_COMMENT_ENDS = re.compile(r"/\*|\*/")

POSTGRESQL = Dialect(
    strings=rf"[eE]{ESCAPED}|(?:[nNbBxX]|[uU]&)?{PLAIN}|{DOLLAR}",
    names=QUOTED,
    quotes='"',
    placeholders=rf"{FORMAT}|\$\d{{1,5}}(?!\w)|:[^\W\d]\w*",
    comments=f"{LINE}|{FLAT}",
)
MYSQL = Dialect(
    strings=rf"[nNbBxX]?{ESCAPED}|{DOUBLE}",
    names=TICKED,
    quotes="`",
    placeholders=rf"{FORMAT}|@{{1,2}}[^\W\d][\w.$]*",
    comments=rf"#[^\n]*|--(?=\s|\Z)[^\n]*|{BLOCK}",
)
SQLITE = Dialect(
    strings=rf"[nNxX]?{PLAIN}",
    names=f"{QUOTED}|{TICKED}|{BRACKETED}",
    quotes=r'"`\[',
    placeholders=rf"\?\d*|{FORMAT}|[:@$]\w+",
    loose=True,
)
SQL_SERVER = Dialect(
    strings=rf"[nN]?{PLAIN}|\$(?={NUMBER}){NUMBER}",
    names=f"{QUOTED}|{BRACKETED}",
    quotes=r'"\[',
    placeholders=rf"{FORMAT}|@{{1,2}}[^\W\d][\w$#]*",
    word=r"(?:[^\W\d]|\#{1,2}(?=\w))[\w$#@]*",
    comments=f"{LINE}|{FLAT}",
    loose=True,
)
ORACLE = Dialect(
    strings=rf"{ALTERNATIVE}|[nN]?{PLAIN}",
    names=QUOTED,
    quotes='"',
    placeholders=rf"{FORMAT}|:\w+",
    word=r"[^\W\d][\w$#]*",
)
GENERIC = Dialect(
    strings=rf"(?:[eEnNbBxXrR]|[uU]&)?{WARY}|{ALTERNATIVE}|{DOLLAR}",
    names=rf"{QUOTED}|{TICKED}|\[[^\W\d][\w ]*\]",
    quotes='"`',
    placeholders=rf"\?\d{{1,3}}(?![\w.])|{FORMAT}|:[^\W\d]\w*|:\d{{1,3}}(?![\w.])|\$\d{{1,3}}(?![\w.])|@{{1,2}}[^\W\d]\w*",
    comments=rf"{LINE}|\#(?=\s)[^\n]*|{FLAT}",
    loose=True,
)

DIALECTS = {
    "postgresql": POSTGRESQL,
    "cockroachdb": POSTGRESQL,
    "aws.redshift": POSTGRESQL,
    "redshift": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    # Strings in double quotes, backslashes: what they share with MySQL is what matters for literals.
    "bigquery": MYSQL,
    "hive": MYSQL,
    "spark": MYSQL,
    "databricks": MYSQL,
    "starrocks": MYSQL,
    "doris": MYSQL,
    "sqlite": SQLITE,
    "microsoft.sql_server": SQL_SERVER,
    "mssql": SQL_SERVER,
    "oracle.db": ORACLE,
    "oracle": ORACLE,
}
"""By `db.system.name`, and by the names that SQLAlchemy has for them. All others: `GENERIC`."""
