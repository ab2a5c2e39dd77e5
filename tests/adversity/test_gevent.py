"""Programs that gevent has patched: spans arrive, contexts stay apart, nothing recurses or stands still."""

from __future__ import annotations

import sys

import pytest

from .collector import hang
from .launch import PROGRAMS, Ended, Launch
from .test_crash import same

pytest.importorskip("gevent")
WHEN = ["patched before", "patched after", "patched after a span", "forks", "flushes"]


def delivered(launch: Launch, ended: Ended) -> bool:
    """Whether the program had nothing to say, and each of its spans arrived once."""
    assert (ended.status, ended.err) == (0, "")
    expected = ended.ids
    assert expected.total() >= 440
    launch.adopt(expected)
    return same(launch, expected)


def interval(when: str) -> dict[str, str]:
    """A short interval; but not where a span comes before the patch, since gevent must find `ssl` not yet loaded."""
    return {} if when == "patched after a span" else {"OTEL_BSP_SCHEDULE_DELAY": "20"}


@pytest.mark.parametrize("when", WHEN)
def test_greenlets_keep_their_contexts_and_their_spans_arrive(launch: Launch, core_name: str, when: str) -> None:
    """Whether gevent patches before or after `init()`."""
    assert delivered(launch, launch.run("green.py", when, NOOPS_CORE=core_name, **interval(when)))


@pytest.mark.parametrize("when", WHEN[:3])
def test_a_patched_program_under_run(launch: Launch, when: str) -> None:
    """The agent is there before the first line of the program."""
    words = [sys.executable, "-m", "noops_agent", "run", sys.executable, str(PROGRAMS / "green.py"), when]
    quiet = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*", **interval(when)}
    assert delivered(launch, launch.end(launch.command(*words, **quiet)))


def test_a_collector_that_hangs_does_not_stop_the_hub(launch: Launch) -> None:
    """The shipper is a thread of the operating system, and its socket is one too."""
    launch.collector.default = hang
    ended = launch.run("green.py", "patched before", OTEL_BSP_SCHEDULE_DELAY="20", NOOPS_EXIT_TIMEOUT="200ms")
    assert (ended.status, ended.err) == (0, "")


def test_with_its_own_hub_closed_a_flush_still_ends(launch: Launch) -> None:
    """`flush` from the main greenlet waits for a thread that gevent does not know."""
    ended = launch.run("green.py", "flushes", OTEL_BSP_SCHEDULE_DELAY="60000")
    assert delivered(launch, ended)
