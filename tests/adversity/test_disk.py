"""Trouble with the disk and the clock: what can't be written to a file is kept in memory, and delivered."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from noops_agent._core import python, segment

from ..conftest import Bench
from .launch import PROGRAMS, Ended, Launch

MANY = 6000


def can_mount() -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


mounts = pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here")


def on_mount(launch: Launch, options: str, *arguments: str, **variables: str) -> Ended:
    """Run the program with a state folder on a file system of its own."""
    launch.state.mkdir()
    program = shlex.join([sys.executable, str(PROGRAMS / "disk.py"), *arguments])
    mount = f"mount -t tmpfs -o {options} tmpfs {shlex.quote(str(launch.state))}"
    return launch.end(launch.command("unshare", "--mount", "sh", "-c", f"{mount} && exec {program}", **variables))


def complete(launch: Launch, ended: Ended) -> bool:
    """Whether the program noticed nothing, and each of its spans was delivered."""
    assert (ended.status, ended.err) == (0, "")
    assert launch.collector.span_ids() == ended.ids
    return True


@mounts
def test_a_full_disk_costs_no_span(launch: Launch, core_name: str) -> None:
    """Segments are made whole, so a full disk shows when one is made, never as a bus error in the middle."""
    small = {"NOOPS_CORE": core_name, "NOOPS_SEGMENT_BYTES": "262144"}
    ended = on_mount(launch, "size=400k", "full", str(MANY), **small)
    assert len(ended.ids) == MANY
    assert complete(launch, ended)


@mounts
def test_a_disk_that_is_full_from_the_start_costs_no_span(launch: Launch) -> None:
    """Not one segment fits."""
    ended = on_mount(launch, "size=16k", "full", str(MANY))
    assert len(ended.ids) == MANY
    assert complete(launch, ended)


@mounts
def test_a_read_only_state_folder_costs_no_span(launch: Launch, core_name: str) -> None:
    """Records are kept in memory and delivered from there."""
    ended = on_mount(launch, "ro", "read-only", str(MANY), NOOPS_CORE=core_name)
    assert len(ended.ids) == MANY
    assert complete(launch, ended)


def test_a_state_folder_that_is_no_folder_costs_no_span(launch: Launch) -> None:
    """And a warning tells of it, where warnings are wanted."""
    launch.state.write_text("a file")
    assert complete(launch, launch.run("disk.py", "none", "100"))
    told = launch.run("disk.py", "none", "100", NOOPS_LOG_LEVEL="warn")
    assert told.status == 0
    assert "records are kept in memory" in told.err
    assert len(told.err.splitlines()) == 1


def test_files_that_must_stay_small_cost_no_span(launch: Launch, core_name: str) -> None:
    """A limit on the size of files (`ulimit -f`) is an error like a full disk, and no signal ends the program."""
    ended = launch.run("disk.py", "small files", str(MANY), NOOPS_CORE=core_name)
    assert len(ended.ids) == MANY
    assert complete(launch, ended)


@pytest.mark.parametrize("trouble", ["deleted", "deleted in a child"])
def test_a_state_folder_that_is_deleted_costs_no_span(launch: Launch, core_name: str, trouble: str) -> None:
    """The mapped segment is still there, and the next one gets a new folder."""
    small = {"NOOPS_CORE": core_name, "NOOPS_SEGMENT_BYTES": "65536"}
    ended = launch.run("disk.py", trouble, str(MANY), **small)
    assert len(ended.ids) == MANY + (trouble != "deleted")
    assert complete(launch, ended)


def test_after_its_folder_was_deleted_a_process_that_dies_leaves_what_came_later(launch: Launch) -> None:
    """A new folder is made with the next segment."""
    ended = launch.run("disk.py", "deleted", str(MANY), NOOPS_SEGMENT_BYTES="65536", NOOPS_EXPORTERS="local")
    kept = launch.on_disk()
    last = [span_id for span_id, _ in ended.printed()][-MANY // 4 :]
    assert not Counter(last) - kept


def test_a_clock_that_is_set_back_makes_no_negative_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations come from the monotonic clock; children stay inside their parents."""
    now = 2_000_000_000_000_000_000
    monkeypatch.setattr(python, "clock_ns", lambda: now)
    bench = Bench(python, str(tmp_path / "state"))
    with bench.tracer.start_as_current_span("parent"):
        now -= 3600 * 1_000_000_000
        with bench.tracer.start_as_current_span("child"):
            now -= 3600 * 1_000_000_000
    child, parent = bench.spans()
    bench.recorder.close()
    assert parent.start_time_unix_nano <= child.start_time_unix_nano
    assert child.start_time_unix_nano <= child.end_time_unix_nano <= parent.end_time_unix_nano
    assert parent.end_time_unix_nano - parent.start_time_unix_nano < 60_000_000_000


def test_a_segment_from_before_the_clock_was_set_back_is_delivered(launch: Launch) -> None:
    """The age of a file decides only which goes first."""
    died = launch.run("burst.py", "SIGKILL", "unsent")
    for folder in segment.process_folders(str(launch.state)):
        for path in segment.segment_paths(folder):
            data = bytearray(Path(path).read_bytes())
            data[32:40] = segment.U64.pack(2**63 - 1)
            Path(path).write_bytes(data)
    printed = died.ids
    launch.adopt(printed)
    assert not printed - launch.arrived()
