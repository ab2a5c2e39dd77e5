"""Processes that die without a word: what had ended is delivered once, by the next process, or shown."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from noops_agent._core import segment

from .collector import hang, spans_of
from .launch import Launch, resources, wait_until

WAYS = {"SIGKILL": -signal.SIGKILL, "_exit": 3, "segfault": -signal.SIGSEGV}


def same(launch: Launch, printed: Counter[bytes], tolerated: int = 0) -> bool:
    """Whether each printed span arrived once, and no span twice.

    Args:
        launch: Where they arrived.
        printed: The spans that are known to have ended.
        tolerated: Spans that may have ended in the moment before their identifier could be printed.
    """
    arrived = launch.arrived()
    assert not printed - arrived, f"{(printed - arrived).total()} of {printed.total()} lost"
    assert max(arrived.values()) == 1, "sent twice"
    assert len(arrived) <= len(printed) + tolerated
    return True


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("progress", ["flushed", "unsent"])
def test_the_next_process_delivers_what_a_dead_one_left(
    launch: Launch, core_name: str, way: str, progress: str
) -> None:
    """However a process dies, each span whose `end()` returned arrives once, though part was sent before."""
    died = launch.run("burst.py", way, progress, NOOPS_CORE=core_name)
    assert died.status == WAYS[way], died.err
    printed = died.ids
    assert len(printed) >= 800
    assert bool(launch.collector.spans) == (progress == "flushed")
    launch.adopt(printed, NOOPS_CORE=core_name)
    assert same(launch, printed, tolerated=1)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_dead_process_left_is_shown(launch: Launch, core_name: str, way: str) -> None:
    """Without an endpoint the spans stay on this machine, where `show` finds each of them."""
    died = launch.run("burst.py", way, "unsent", NOOPS_CORE=core_name, NOOPS_EXPORTERS="local")
    assert died.status == WAYS[way], died.err
    kept = launch.on_disk()
    assert not died.ids - kept
    assert max(kept.values()) == 1
    command = [sys.executable, "-m", "noops_agent", "show", "--json", "--limit", "0"]
    shown = launch.end(launch.command(*command))
    assert shown.status == 0, shown.err
    assert all(shown.out.count(f'"{span_id.hex()}"') == 1 for span_id in died.ids)
    assert not launch.collector.requests


def test_a_program_that_becomes_another_one_loses_nothing(launch: Launch, core_name: str) -> None:
    """After `exec` the pid is the same, but what the program before left is nobody's: it is adopted."""
    process = launch.start("burst.py", "exec", "unsent", NOOPS_CORE=core_name)
    assert launch.collector.wait_until(lambda: len(launch.collector.spans) > 800)
    ended = launch.end(process)
    assert ended.status == 0, ended.err
    printed = Counter({span_id: 1 for span_id in ended.ids if span_id in launch.arrived()})
    assert len(printed) == len(ended.ids) - 1
    assert same(launch, printed, tolerated=1)


def test_a_kill_at_any_moment_loses_nothing(launch: Launch, core_name: str) -> None:
    """Four threads write while the shipper sends; only the one request under way can have been taken unnoticed."""
    process = launch.start("burst.py", "threads", NOOPS_CORE=core_name, OTEL_BSP_SCHEDULE_DELAY="20")
    assert launch.collector.wait_until(lambda: len(launch.collector.spans) > 1500)
    died = launch.end(process, signal.SIGKILL)
    assert died.status == -signal.SIGKILL
    printed = died.ids
    launch.adopt(printed, NOOPS_CORE=core_name)
    arrived = launch.arrived()
    assert not printed - arrived
    twice = {span_id for span_id, times in arrived.items() if times > 1}
    assert any(twice <= {span.span_id for span in spans_of(message)} for _, message in launch.collector.messages)
    assert len(arrived) <= len(printed) + 4


def test_a_kill_while_a_request_hangs_costs_nothing(launch: Launch) -> None:
    """What was sent but never acknowledged is sent by the next process."""
    launch.collector.script = [hang]
    process = launch.start("burst.py", "threads", OTEL_BSP_SCHEDULE_DELAY="20")
    assert launch.collector.wait_until(lambda: bool(launch.collector.requests))
    died = launch.end(process, signal.SIGKILL)
    printed = died.ids
    launch.adopt(printed)
    assert same(launch, printed, tolerated=4)


def test_a_torn_record_harms_nothing(launch: Launch) -> None:
    """A record that its writer did not finish is passed over; those around it are delivered."""
    died = launch.run("burst.py", "SIGKILL", "unsent")
    (path,) = [
        Path(path) for folder in segment.process_folders(str(launch.state)) for path in segment.segment_paths(folder)
    ]
    data = bytearray(path.read_bytes())
    spans = [record for record in segment.records(data) if record.signal == segment.SPAN]
    torn = [spans[5], spans[200], spans[-1]]
    for record in torn:
        data[record.offset + 4] = segment.TORN
        half = segment.RECORD.size + len(record.payload) // 2
        data[record.offset + half : record.offset + segment.RECORD.size + len(record.payload)] = bytes(
            len(record.payload) - len(record.payload) // 2
        )
    path.write_bytes(data)
    kept = Counter({span_id: 1 for span_id in died.ids if not any(span_id in record.payload for record in torn)})
    assert len(died.ids) - 3 <= len(kept) < len(died.ids)
    launch.adopt(kept)
    assert same(launch, kept, tolerated=1)


def test_an_adopted_span_keeps_the_process_that_made_it(launch: Launch) -> None:
    """The resource is that of the dead process, not of the one that sends."""
    died = launch.start("burst.py", "SIGKILL", "unsent")
    ended = launch.end(died)
    launch.adopt(ended.ids)
    pids = {attributes["process.pid"] for attributes, span in resources(launch.collector) if span.span_id in ended.ids}
    assert pids == {died.pid}


def test_nothing_is_left_on_disk_once_all_was_delivered(launch: Launch) -> None:
    """Segments and folders go when their last record was acknowledged."""
    printed = launch.run("burst.py", "SIGKILL", "unsent").ids
    launch.adopt(printed)
    assert wait_until(lambda: segment.process_folders(str(launch.state)) == [])
