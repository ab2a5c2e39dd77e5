"""What a SQL text does: its operations and their targets, in their order.

Fed with the words of a text as `sql` reads them. It knows no grammar, only where targets stand: after FROM, JOIN, INTO,
UPDATE and their like, at the level of parentheses of a query.
Common table expressions are no targets, what they read is.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-spans.md, "Generating a summary of the query".
"""

from __future__ import annotations

from collections.abc import Callable

MOST_CHARACTERS = 255
"""Length of a summary: the convention's limit."""


def words(text: str) -> frozenset[str]:
    """Give the words of a text."""
    return frozenset(text.split())


CALLS = words("CALL EXEC EXECUTE")
DEFINITIONS = words("CREATE ALTER DROP TRUNCATE")
WRITES = words("INSERT UPDATE DELETE MERGE REPLACE")
ABOUT = words("COPY USE PRAGMA DESCRIBE DESC ANALYZE VACUUM LOCK TABLE REFRESH")
"""Other operations on something that is named."""
ALONE = words(
    "SELECT WITH VALUES EXPLAIN BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE START END ABORT SET RESET SHOW GRANT REVOKE "
    "PREPARE DEALLOCATE DECLARE FETCH CLOSE OPEN MOVE LISTEN UNLISTEN NOTIFY CHECKPOINT DISCARD DO COMMENT REINDEX "
    "CLUSTER ATTACH DETACH KILL FLUSH OPTIMIZE REPAIR HANDLER LOAD UNLOAD EXPORT IMPORT PURGE RENAME UNLOCK XA PRINT "
    "BACKUP RESTORE BULK IF WHILE RETURN THROW RAISE SIGNAL INSTALL CHECK"
)
VERBS = CALLS | DEFINITIONS | WRITES | ABOUT | ALONE
"""Words that can begin a statement."""
OPEN_ENDED = words("EXPLAIN BEGIN IF WHILE")
"""Verbs that another one may follow."""
LISTED = words("SELECT UPDATE DELETE DROP TRUNCATE LOCK")
"""Operations with several targets, between commas."""

KINDS = words(
    "TABLE INDEX VIEW DATABASE SCHEMA SEQUENCE FUNCTION PROCEDURE TRIGGER TYPE DOMAIN EXTENSION PACKAGE SYNONYM POLICY "
    "AGGREGATE OPERATOR COLLATION CAST RULE SERVER PUBLICATION SUBSCRIPTION STATISTICS TABLESPACE EVENT STREAM TASK "
    "USER ROLE LOGIN SYSTEM SESSION"
)
"""What a definition can be of."""
NAMELESS = words("USER ROLE LOGIN SYSTEM SESSION CAST OPERATOR")
"""Kinds whose names are people's, or no names."""
COLLECTIONS = WRITES | words("SELECT COPY TRUNCATE TABLE") | {f"{verb} TABLE" for verb in DEFINITIONS}
"""Operations whose target is a collection."""

MODIFIERS = words(
    "INTO FROM ONLY LATERAL TABLE TABLES IF NOT EXISTS OR IGNORE LOW_PRIORITY HIGH_PRIORITY DELAYED QUICK OVERWRITE "
    "ABORT FAIL ROLLBACK REPLACE CONCURRENTLY IMMEDIATE FULL FREEZE VERBOSE ANALYZE TEMP TEMPORARY UNLOGGED GLOBAL "
    "LOCAL UNIQUE FULLTEXT SPATIAL BITMAP CLUSTERED NONCLUSTERED COLUMNSTORE EXTERNAL MATERIALIZED VIRTUAL RECURSIVE "
    "TRUSTED EDITIONABLE NONEDITIONABLE FORCE PUBLIC FOREIGN TRANSIENT DEFINER AS"
)
"""Words between an operation and its target."""
ENDS = words(
    "WHERE SET GROUP ORDER HAVING LIMIT OFFSET RETURNING UNION EXCEPT INTERSECT MINUS WINDOW FOR CONNECT QUALIFY "
    "OUTPUT WHEN PARTITION OUTFILE DUMPFILE DEFAULT VALUES"
)
"""Words after which no list of targets goes on."""
BEFORE_WRITES = words("( ) AS EXPLAIN ANALYZE VERBOSE BEGIN ELSE")
"""What stands before INSERT, UPDATE or DELETE where they are operations; not: ON DELETE, FOR UPDATE, THEN INSERT."""

NOTHING, TARGET, TARGETED, DEFINED, CTE, CTE_NAMED = range(6)
"""What a name means at a level: nothing; a target; it was just read; the kind of a definition; a query; just read."""


class Summary:
    """Reads the words of one text."""

    __slots__ = ("beginning", "clause", "ctes", "levels", "listed", "operations", "queried", "targets", "words")

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        """Both, in their order."""
        self.ctes: set[str] = set()
        """Names of common table expressions."""
        self.levels: list[tuple[int, bool]] = []
        """`clause` and `queried` of the levels of parentheses around this one."""
        self.clause = NOTHING
        self.queried = False
        """This level has an operation, so FROM begins a list of tables; not that of `extract(year FROM x)`."""
        self.beginning = True
        """The statement has not said yet what it does."""
        self.listed = False
        """A comma after a target brings another one."""

    # -- what the reader reports

    def word(self, token: str, upper: str, before: str) -> None:
        """A name or keyword; *before* is the token before it in capitals."""
        if self.beginning and upper in VERBS and self.clause != CTE:
            self.begin(token, upper)
            return
        handle = KEYWORDS.get(upper)
        if handle is not None:
            handle(self, token, upper, before)
        elif self.clause:
            self.name(token, upper)

    def open(self, before: str) -> None:
        """A parenthesis: `FROM (a JOIN b)` names its targets inside, `USING (a)` columns."""
        self.levels.append((TARGETED if self.clause == TARGET else self.clause, self.queried))
        if self.clause != TARGET or before == "USING":
            self.clause, self.queried = NOTHING, False

    def close(self) -> None:
        """The end of one."""
        if self.levels:
            self.clause, self.queried = self.levels.pop()

    def comma(self) -> None:
        """A comma."""
        if self.clause == TARGETED and self.listed:
            self.clause = TARGET
        elif self.clause == CTE_NAMED:
            self.clause = CTE

    def semicolon(self) -> None:
        """The end of a statement."""
        self.levels.clear()
        self.clause, self.queried, self.beginning, self.listed = NOTHING, False, True, False

    def value(self) -> None:
        """A literal or placeholder: where a target was expected there is none."""
        if self.clause == TARGET:
            self.clause = TARGETED

    def target(self, token: str) -> None:
        """A target."""
        self.clause = TARGETED
        self.targets.append(token)
        self.words.append(token)

    # -- what it gives

    def text(self) -> str:
        """Give the summary; cut between two words where it is too long."""
        text = " ".join(self.words)
        if len(text) <= MOST_CHARACTERS:
            return text
        kept, length = [], -1
        for word in self.words:
            length += 1 + len(word)
            if length > MOST_CHARACTERS:
                break
            kept.append(word)
        return " ".join(kept)

    def operation(self) -> str:
        """Give the one operation; empty where there are several, or none."""
        return self.operations[0] if len(self.operations) == 1 else ""

    def collection(self) -> str:
        """Give the one table of the one operation, or else nothing."""
        alone = len(self.targets) == 1 and self.operation().upper() in COLLECTIONS
        return self.targets[0] if alone and len(self.targets[0]) <= MOST_CHARACTERS else ""

    def procedure(self) -> str:
        """Give the procedure that is called, or else nothing."""
        alone = len(self.targets) == 1 and self.operation().upper() in CALLS
        return self.targets[0] if alone and len(self.targets[0]) <= MOST_CHARACTERS else ""

    # -- words

    def begin(self, token: str, upper: str) -> None:
        """The verb of a statement."""
        if upper == "WITH":
            self.clause = CTE
            return
        if upper in ABOUT and self.operations and self.operations[-1].upper() == "EXPLAIN":
            return  # EXPLAIN ANALYZE
        self.beginning = upper in OPEN_ENDED
        self.operate(token, upper)
        if upper in WRITES:
            self.clause, self.queried = TARGET, True
        elif upper == "SELECT":
            self.clause, self.queried = NOTHING, True
        elif upper in DEFINITIONS:
            self.clause = DEFINED
        elif upper in ABOUT or upper in CALLS:
            self.clause = TARGET

    def operate(self, token: str, upper: str) -> None:
        """An operation."""
        self.operations.append(token)
        self.words.append(token)
        self.listed = upper in LISTED

    def name(self, token: str, upper: str) -> None:
        """A name where a clause may wait for one."""
        clause = self.clause
        if upper in MODIFIERS:
            return
        if clause == CTE:
            self.clause = CTE_NAMED
            self.ctes.add(token.lower())
        elif clause == DEFINED or (clause == TARGET and token.lower() not in self.ctes):
            self.target(token)
        elif clause == TARGET:
            self.clause = TARGETED

    def select(self, token: str, upper: str, before: str) -> None:
        """SELECT in the middle: of a CTE, a subquery, a union, after INSERT; not that of GRANT."""
        if self.operations and self.operations[0].upper() in ("GRANT", "REVOKE"):
            return
        self.beginning = False
        self.operate(token, upper)
        self.clause, self.queried = NOTHING, True

    def write(self, token: str, upper: str, before: str) -> None:
        """INSERT and its like in the middle; REPLACE is a function there."""
        if before in BEFORE_WRITES and (upper != "REPLACE" or before == ")"):
            self.operate(token, upper)
            self.clause, self.queried = TARGET, True

    def source(self, token: str, upper: str, before: str) -> None:
        """FROM and its like; not that of IS DISTINCT FROM."""
        if self.queried and before != "DISTINCT":
            self.clause = TARGET

    def end(self, token: str, upper: str, before: str) -> None:
        """A clause without targets."""
        self.clause = NOTHING

    def queries(self, token: str, upper: str, before: str) -> None:
        """WITH in the middle: of a subquery, a view."""
        if before in ("(", "AS"):
            self.clause = CTE

    def kind(self, token: str, upper: str, before: str) -> None:
        """TABLE and its like: part of a definition, else a name."""
        if self.clause != DEFINED:
            if self.clause:
                self.name(token, upper)
            return
        verb = self.operations.pop()
        self.words[-1] = f"{verb} {token}"
        self.operations.append(self.words[-1])
        self.clause = NOTHING if upper in NAMELESS else TARGET


KEYWORDS: dict[str, Callable[[Summary, str, str, str], None]] = {
    "SELECT": Summary.select,
    "WITH": Summary.queries,
    **dict.fromkeys(WRITES, Summary.write),
    **dict.fromkeys(("FROM", "JOIN", "STRAIGHT_JOIN", "INTO", "USING"), Summary.source),
    **dict.fromkeys(ENDS, Summary.end),
    **dict.fromkeys(KINDS, Summary.kind),
}
"""Words that mean something in the middle of a statement."""
