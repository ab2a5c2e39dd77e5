"""What the agent says: once, in one line, and never into a program that didn't ask for it."""

from __future__ import annotations

import ast
import logging
import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import noops_agent
from noops_agent import _diagnostics
from noops_agent._diagnostics import MESSAGES, count, counters, say, set_level

from .conftest import Messages

SOURCE = Path(noops_agent.__file__).parent


def calls() -> list[Any]:
    """Every call of `say` in the package that names its message: file, line, slug, names of the facts."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("say", "_say") and isinstance(node.args[0].value, str):
                facts = {keyword.arg for keyword in node.keywords}
                place = f"{path.relative_to(SOURCE)}:{node.lineno}"
                found.append(pytest.param(name, node.args[0].value, facts, id=place))
    return found


@pytest.mark.parametrize(("function", "slug", "facts"), calls())
def test_each_call_names_a_message_and_gives_its_facts(function: str, slug: str, facts: set[str]) -> None:
    """A message that can't be made is a message that nobody reads."""
    fields = {field for _, field, _, _ in string.Formatter().parse(MESSAGES[slug][1]) if field}
    if function == "_say":  # the delivery adds the name of the target itself
        facts = facts | {"target"}
    assert fields <= facts


def test_each_message_is_used() -> None:
    """The table holds what the agent can say, and nothing else."""
    texts = "".join(p.read_text("utf-8") for p in SOURCE.rglob("*.py") if p.name != "_diagnostics.py")
    assert [slug for slug in MESSAGES if f'"{slug}"' not in texts] == []


def test_a_message_is_said_once(said: Messages) -> None:
    """A fault that repeats a thousand times a second is one line."""
    for _ in range(3):
        say("export.refused", target="http://a", reason="no")
    assert list(said) == ["http://a refused records: no"]


def test_a_message_is_said_once_for_each_key(said: Messages) -> None:
    """Two things that fail are two lines."""
    for target in ("a", "b", "a"):
        say("export.refused", key=target, target=target, reason="no")
    assert len(said) == 2


def test_a_message_has_the_level_of_the_table(caplog: pytest.LogCaptureFixture) -> None:
    """Good news is INFO, what costs data is WARNING."""
    caplog.set_level(logging.INFO)
    say("export.recovered", target="a")
    say("export.refused", target="a", reason="b")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert {record.name for record in caplog.records} == {"noops_agent"}


def test_a_message_is_one_line_of_bounded_length(said: Messages) -> None:
    """What a server answers can't fill the log, nor forge a line in it."""
    say("export.refused", target="a", reason="x\nERROR root: forged\r\n" + "y" * 10_000)
    (line,) = said
    assert "\n" not in line
    assert "\r" not in line
    assert len(line) == _diagnostics.MAX_TEXT


class Hostile:
    """An object that raises whenever it is touched."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]

    def __format__(self, spec: str) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("slug", "facts"),
    [
        ("no.such.slug", {}),
        ("export.refused", {}),
        ("export.refused", {"target": Hostile(), "reason": ""}),
        ("export.refused", {"key": Hostile(), "target": "", "reason": ""}),
    ],
)
def test_saying_never_raises(slug: str, facts: dict[str, Any], said: Messages) -> None:
    """A mistake of ours is a count, not an exception in the program."""
    say(slug, **facts)
    assert len(said) == 0
    assert counters() == {"diagnostics.failed": 1}


def test_a_handler_that_raises_stays_inside() -> None:
    """Handlers belong to the program, and some of them are broken."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    logger, handler = logging.getLogger("noops_agent"), Broken()
    logger.addHandler(handler)
    try:
        say("export.refused", target="a", reason="b")
    finally:
        logger.removeHandler(handler)
    assert counters() == {"diagnostics.failed": 1}


@given(st.sampled_from(sorted(MESSAGES)), st.dictionaries(st.text(max_size=5), st.text(max_size=50), max_size=5))
@settings(database=None)
def test_no_fact_raises(slug: str, facts: dict[str, str]) -> None:
    """Facts are often what somebody else sent."""
    fields = {field for _, field, _, _ in string.Formatter().parse(MESSAGES[slug][1]) if field}
    given_facts = {f"_{name}": value for name, value in facts.items()} | dict.fromkeys(fields, "{x}%s\0")
    _diagnostics.reset()
    say(slug, **given_facts)
    assert counters() == {}


def test_what_was_said_takes_bounded_memory() -> None:
    """A program that runs for a year forgets its first complaints."""
    for number in range(_diagnostics.MAX_SAID + 100):
        say("export.recovered", key=number, target="a")
    assert len(_diagnostics._said) == _diagnostics.MAX_SAID


def test_after_silence_nothing_is_said(said: Messages) -> None:
    """At the end of the interpreter the streams of the program may be closed."""
    _diagnostics.silence()
    say("export.refused", target="a", reason="b")
    assert len(said) == 0


@pytest.mark.parametrize(
    ("name", "spoken"), [("debug", 2), ("INFO", 2), ("warn", 1), ("warning", 1), ("error", 0), ("none", 0)]
)
def test_the_level_of_the_specification_is_that_of_the_logger(name: str, spoken: int, said: Messages) -> None:
    """`OTEL_LOG_LEVEL` has its effect through the standard logging."""
    set_level(name)
    say("export.recovered", target="a")
    say("export.refused", target="a", reason="b")
    assert len(said) == spoken


def test_an_unknown_level_changes_nothing(said: Messages) -> None:
    """Nothing is silenced by a typing error."""
    set_level("loud")
    say("export.refused", target="a", reason="b")
    assert len(said) == 1


def test_counters_count() -> None:
    """Hot code counts rather than speaks."""
    count("a")
    count("a", 2)
    held = counters()
    count("a")
    assert held == {"a": 3}
    assert counters() == {"a": 4}


def run(code: str) -> tuple[str, str]:
    """Run a program that uses the room; give what it printed and what it complained of."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NOOPS_"))}
    full = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r})\nfrom noops_agent._diagnostics import *\n{code}"
    command = [sys.executable, "-S", "-c", full]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=True)
    return done.stdout, done.stderr


SAY = "say('export.refused', target='a', reason='b'); say('export.recovered', target='a')\n"


def test_without_logging_of_the_program_a_warning_is_one_line_that_names_us() -> None:
    """Good news is not printed into a program that configured nothing; a loss of data is, once."""
    assert run(SAY) == ("", "noops_agent: a refused records: b\n")


def test_with_logging_of_the_program_its_format_names_us() -> None:
    """The name of the logger is enough there."""
    code = "import logging; logging.basicConfig(level='INFO', format='%(name)s|%(message)s')\n" + SAY
    assert run(code) == ("", "noops_agent|a refused records: b\nnoops_agent|a takes records again\n")


def test_nothing_is_said_while_the_interpreter_ends() -> None:
    """Objects that outlive everything may still call us."""
    code = (
        "class Last:\n    def __del__(self, say=say): say('export.refused', target='a', reason='b')\n"
        "import builtins; builtins.last = Last()\n"
    )
    assert run(code) == ("", "")
