"""The end of a process: the last records are sent, in little time, and it ends as it would without the agent."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest

from .collector import Behaviour, accept, drip, hang, status
from .launch import PROGRAMS, Ended, Launch
from .test_crash import same

LONGEST_S = 4.0
"""The exit budget of 2 s, and the time of an interpreter."""

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def signalled(launch: Launch, number: int, program: str, *arguments: str, **options: object) -> Ended:
    """Start a program, and send it a signal once it is ready."""
    process = launch.start(program, *arguments, **options)
    assert process.stdout is not None
    read = ""
    while "ready" not in read:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        read += line
    ended = launch.end(process, number)
    ended.out = read + ended.out
    return ended


@pytest.mark.parametrize("way", ["ends", "status 3", "raises", "daemon thread", "shuts down"])
def test_a_normal_exit_delivers_everything(launch: Launch, core_name: str, way: str) -> None:
    """No other process is needed; status and output are the program's own."""
    bare = launch.run("script.py", way, agent=False)
    ended = launch.run("script.py", way, NOOPS_CORE=core_name)
    assert (ended.status, ended.err) == (bare.status, bare.err)
    arrived = launch.collector.span_ids()
    if way == "daemon thread":
        assert ended.ids.total() >= 100
        launch.adopt(ended.ids)
        assert same(launch, ended.ids, tolerated=2)
    else:
        assert arrived == ended.ids
        assert len(arrived) == 100


def test_spans_that_nobody_ended_are_no_trouble_at_exit(launch: Launch, core_name: str) -> None:
    """They are not delivered, since they did not end, and nothing is said about them."""
    ended = launch.run("script.py", "open spans", NOOPS_CORE=core_name)
    assert (ended.status, ended.err) == (0, "")
    assert launch.collector.span_ids() == ended.ids


@pytest.mark.parametrize("behaviour", [hang, drip, status(503)], ids=["hangs", "drips", "refuses"])
@pytest.mark.parametrize("way", ["ends", "shuts down", "SIGTERM"])
def test_an_exit_takes_no_longer_than_its_budget(launch: Launch, way: str, behaviour: Behaviour) -> None:
    """What the collector does not take in time stays on disk for the next process."""
    launch.collector.default = behaviour
    process = launch.start("script.py", way)
    assert launch.collector.wait_until(lambda: bool(launch.collector.requests)) if way != "SIGTERM" else True
    if way == "SIGTERM":
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(101)]
        assert lines[-1] == "ready\n"
        ended = launch.end(process, signal.SIGTERM)
        ended.out = "".join(lines)
        assert ended.status == -signal.SIGTERM
    else:
        ended = launch.end(process)
        assert ended.status == 0
    assert ended.took_s < LONGEST_S
    launch.collector.default = accept
    launch.adopt(ended.ids)
    assert same(launch, ended.ids)


def test_a_shorter_budget_is_kept(launch: Launch) -> None:
    """The budget is a setting."""
    launch.collector.default = hang
    process = launch.start("script.py", "ends", NOOPS_EXIT_TIMEOUT="200ms")
    assert launch.collector.wait_until(lambda: bool(launch.collector.requests))
    assert launch.end(process).took_s < 1.5


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("way", ["sleeps", "thread"])
def test_a_signal_ends_a_script_as_without_us(launch: Launch, core_name: str, way: str, number: int) -> None:
    """The last records are delivered first; the status tells of the same signal."""
    bare = signalled(launch, number, "script.py", way, agent=False)
    ended = signalled(launch, number, "script.py", way, NOOPS_CORE=core_name)
    assert ended.status == bare.status
    assert ended.err.splitlines()[-1:] == bare.err.splitlines()[-1:]
    assert launch.collector.span_ids() == ended.ids
    assert len(ended.ids) == 100


def test_a_program_that_waits_for_a_signal_gets_it(launch: Launch) -> None:
    """The shipper thread takes no signal, so that one which the program has blocked waits for it."""
    ended = signalled(launch, signal.SIGTERM, "script.py", "waits for a signal")
    assert ended.status == 0
    assert ended.out.endswith(f"took {signal.SIGTERM:d}\n")
    assert launch.collector.span_ids() == ended.ids


@pytest.mark.parametrize("way", ["own handler", "own handler before"])
def test_a_handler_of_the_program_wins(launch: Launch, way: str) -> None:
    """Installed before or after us: it alone is called, and what it records is delivered."""
    bare = signalled(launch, signal.SIGTERM, "script.py", way, agent=False)
    ended = signalled(launch, signal.SIGTERM, "script.py", way)
    assert ended.status == bare.status == 7
    assert ("handled" in ended.out) == ("handled" in bare.out)
    assert launch.collector.span_ids() == ended.ids


def test_a_signal_that_the_program_ignores_stays_ignored(launch: Launch) -> None:
    """And one that it was started to ignore, as by nohup, is left alone."""
    process = launch.start("script.py", "ignores")
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        pass
    process.send_signal(signal.SIGTERM)
    assert launch.end(process, signal.SIGINT).status == -signal.SIGINT
    script = [sys.executable, str(PROGRAMS / "script.py"), "sleeps"]
    ignoring = launch.command("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *script)
    assert ignoring.stdout is not None
    while ignoring.stdout.readline() != "ready\n":
        pass
    ignoring.send_signal(signal.SIGHUP)
    assert launch.end(ignoring, signal.SIGTERM).status == -signal.SIGTERM


def test_a_program_that_goes_on_after_a_signal_goes_on_recording(launch: Launch) -> None:
    """Its own handler returned, then the default one ends it, past every handler."""
    process = launch.start("script.py", "handler that goes on")
    assert process.stdout is not None
    lines = []
    while lines[-1:] != ["ready\n"]:
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "handled\n"
    ended = launch.end(process, signal.SIGTERM)
    assert ended.status == -signal.SIGTERM
    ended.out = "".join(lines)
    launch.adopt(ended.ids)
    assert same(launch, ended.ids)


def can_unshare() -> bool:
    """Whether this machine lets us make a process namespace."""
    words = ["unshare", "--pid", "--fork", "true"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="a process namespace can't be made here")
def test_the_first_process_of_a_container_goes_on_recording(launch: Launch) -> None:
    """The kernel spares it from signals that nobody handles; with the agent it lives on as well, and records."""
    for agent in (False, True):
        words = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, str(PROGRAMS / "first.py")]
        process = launch.command(*words, agent=agent)
        ended = launch.end(process)
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.endswith("went on\n")
    assert launch.collector.span_ids() == ended.ids


def test_ten_thousand_threads_with_a_span_each(launch: Launch) -> None:
    """Each span arrives; neither threads nor their spans leave anything behind."""
    ended = launch.run("threads.py", "10000")
    assert ended.status == 0, ended.err
    assert len(ended.ids) == 10000
    assert launch.collector.span_ids() == ended.ids
