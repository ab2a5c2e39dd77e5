"""What dead processes left: shipped once, kept within a cap, and never a reason to fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from noops_agent import _diagnostics
from noops_agent._core import segment
from noops_agent._export import delivery, orphans, pipeline
from noops_agent._export.sink import UNAVAILABLE, Answer
from tests.adversity.collector import Collector, Handler, accept
from tests.adversity.recording import MemorySink, Recording, identifiers, wait_until

from .conftest import Make

DOWN = Answer(UNAVAILABLE, reason="it is down")
ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
from pathlib import Path
from noops_agent._core import python, native
from tests.adversity.recording import Recording
core = {"python": python, "native": native}[sys.argv[1]]
start, stop = int(sys.argv[3]), int(sys.argv[4])
recording = Recording(core, sys.argv[2], [], exporters=(sys.argv[5],))
recording.write(range(start, stop))
print("written", flush=True)
sys.stdin.read()
"""


def dead_process(core: ModuleType, folder: Path, start: int, stop: int, exporter: str = "otlp") -> int:
    """Run a process that records spans and is killed; gives its pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, core.NAME, str(folder), str(start), str(stop), exporter],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.pid


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(orphans, "SCAN_S", 0.02)


def folders(tmp_path: Path) -> list[Path]:
    """The folders of all processes."""
    return sorted((tmp_path / "state" / "segments").glob("*"))


def test_spans_of_a_killed_process_are_sent_once_by_the_next(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """SIGKILL loses nothing that had ended, and what was sent is gone from the disk."""
    dead_process(core, tmp_path / "state", 1, 3001)
    sink = MemorySink()
    recording = make([sink])
    recording.start()
    assert sink.wait_until(lambda: len(sink.numbers()) >= 3000)
    assert Counter(sink.numbers()) == Counter(range(1, 3001))
    assert wait_until(lambda: folders(tmp_path) == [])


def test_two_adopters_at_once_send_each_span_once(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """Two pipelines of one process, as after shutdown and init, do not both take a folder."""
    for i in range(6):
        dead_process(core, tmp_path / "state", 1 + 100 * i, 101 + 100 * i)
    sink = MemorySink()
    for recording in (make([sink]), make([sink])):
        recording.start()
    assert sink.wait_until(lambda: len(sink.numbers()) >= 600)
    assert wait_until(lambda: folders(tmp_path) == [])
    assert Counter(sink.numbers()) == Counter(range(1, 601))


ADOPTER = """
import sys
from noops_agent._core import python, native
from tests.adversity.recording import Recording
core = {"python": python, "native": native}[sys.argv[1]]
recording = Recording(core, sys.argv[2], None, exporters=("otlp",), traces_endpoint=sys.argv[3], export_batch_size=20)
sys.stdin.readline()
recording.write([int(sys.argv[4])])
recording.start()
recording.close()
"""


def test_processes_that_start_together_send_each_orphan_once(core: ModuleType, tmp_path: Path) -> None:
    """Workers of one server begin in the same moment, over the same folders."""
    collector = Collector()
    collector.default = accept_slowly
    command = [sys.executable, "-c", ADOPTER, core.NAME, str(tmp_path / "state"), collector.endpoint]
    writer = [
        sys.executable,
        "-c",
        WRITER.replace("exporters=(sys.argv[5],)", 'exporters=("otlp",), traces_endpoint=sys.argv[5]'),
    ]
    for i in range(8):
        process = subprocess.Popen(
            [*writer, core.NAME, str(tmp_path / "state"), str(1 + 100 * i), str(101 + 100 * i), collector.endpoint],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
        process.communicate()
    adopters = [
        subprocess.Popen([*command, str(9000 + i)], stdin=subprocess.PIPE, cwd=ROOT, text=True) for i in range(4)
    ]
    for adopter in adopters:
        assert adopter.stdin is not None
        adopter.stdin.write("go\n")
        adopter.stdin.flush()
    for adopter in adopters:
        adopter.communicate()
        assert adopter.returncode == 0
    assert collector.span_ids() == Counter(identifiers([*range(1, 801), *range(9000, 9004)]))
    assert folders(tmp_path) == []
    collector.close()


def accept_slowly(handler: Handler, body: bytes) -> None:
    """Give the others time to be in the way."""
    time.sleep(0.005)
    accept(handler, body)


def test_an_adopter_that_is_killed_midway_leaves_the_rest_to_another(
    core: ModuleType, make: Make, tmp_path: Path
) -> None:
    """The mark is stored at each acknowledgement, so the second adopter begins where the first one ended."""
    dead_process(core, tmp_path / "state", 1, 1001)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        sink = MemorySink()
        adopter = Recording(core, tmp_path / "state", [sink], exporters=("otlp",), export_batch_size=100)

        def tell_and_die() -> None:
            if len(sink.taken) == 4:
                os.write(writer, b"%d" % len(sink.numbers()))
                os.kill(os.getpid(), signal.SIGKILL)

        sink.before = tell_and_die
        adopter.pipeline.run()
        os._exit(1)
    os.close(writer)
    first = int(os.read(reader, 100))
    os.close(reader)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert first == 400
    sink = MemorySink()
    make([sink]).start()
    assert sink.wait_until(lambda: len(sink.numbers()) >= 600)
    assert wait_until(lambda: folders(tmp_path) == [])
    assert sink.numbers() == list(range(401, 1001))


def test_an_unavailable_sink_leaves_orphans_for_later(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """They are sent when it is back, each once."""
    dead_process(core, tmp_path / "state", 1, 1001)
    sink = MemorySink()
    sink.answers = [DOWN] * 3
    make([sink], export_batch_size=100).start()
    assert sink.wait_until(lambda: len(sink.numbers()) >= 1000)
    assert wait_until(lambda: folders(tmp_path) == [])
    assert Counter(sink.numbers()) == Counter(range(1, 1001))


@pytest.mark.parametrize("started", [True, False])
def test_a_program_that_never_runs_for_long_sends_orphans_at_its_end(
    core: ModuleType, make: Make, tmp_path: Path, started: bool
) -> None:
    """Its own records first; then what a killed run left, for a moment; even where no thread came to start."""
    dead_process(core, tmp_path / "state", 1, 1001)
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(2001, 2011))
    if started:
        recording.start()
    assert recording.pipeline.stop(30)
    recording.close()
    assert Counter(sink.numbers()) == Counter([*range(1, 1001), *range(2001, 2011)])
    assert folders(tmp_path) == []


def test_stopping_midway_leaves_orphans_for_the_next(
    core: ModuleType, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a process is not held up for long by what others left."""
    monkeypatch.setattr(pipeline, "LAST_ORPHANS_S", 0.0)
    dead_process(core, tmp_path / "state", 1, 1001)
    sink = MemorySink()
    entered, hold = threading.Event(), threading.Event()

    def wait_once() -> None:
        entered.set()
        hold.wait(30)

    sink.before = wait_once
    recording = make([sink], export_batch_size=100)
    recording.start()
    assert entered.wait(30)
    recording.pipeline.stop(0.01)
    hold.set()
    recording.close()
    assert len(sink.numbers()) == 100
    second = MemorySink()
    make([second]).start()
    assert second.wait_until(lambda: len(second.numbers()) >= 900)
    assert Counter(sink.numbers() + second.numbers()) == Counter(range(1, 1001))


def test_the_folder_of_a_living_process_is_left_alone(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """Another recorder of this very process counts as living, though its lock would not stop us."""
    living = make([])
    living.write(range(1, 11))
    sink = MemorySink()
    other = make([sink])
    other.start()
    other.write(range(11, 21))
    assert other.pipeline.flush(30)
    assert wait_until(lambda: other.pipeline._current.orphans._next_scan > 0)
    assert sink.numbers() == list(range(11, 21))
    assert len(folders(tmp_path)) == 2
    code = (
        "import sys; from noops_agent._core.segment import Folder\n"
        "sys.exit(any(Folder.adopt(path) for path in sys.argv[1:]))"
    )
    assert subprocess.run([sys.executable, "-c", code, *map(str, folders(tmp_path))], check=False).returncode == 0


def test_a_folder_of_an_earlier_run_with_the_same_pid_is_adopted(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """In a container every run has pid 1."""
    dead_process(core, tmp_path / "state", 1, 11)
    (left,) = folders(tmp_path)
    left.rename(left.with_name(f"{os.getpid()}-0a1b2c3d"))
    sink = MemorySink()
    make([sink]).start()
    assert sink.wait_until(lambda: len(sink.numbers()) == 10)


def test_segments_for_another_destination_are_left(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """What was recorded for one collector never goes to another, and local records never leave the machine."""
    dead_process(core, tmp_path / "state", 1, 11, "local")
    dead_process(core, tmp_path / "state", 11, 21, "console")
    sink = MemorySink()
    recording = make([sink])
    recording.start()
    assert wait_until(lambda: recording.pipeline._current.orphans._next_scan > 0)
    recording.pipeline.stop(30)
    assert sink.numbers() == []
    assert len(list(tmp_path.glob("state/segments/*/*.seg"))) == 2


def test_orphans_are_cut_to_what_is_used(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """Recycled children that recorded little each leave little each."""
    dead_process(core, tmp_path / "state", 1, 11, "local")
    (path,) = tmp_path.glob("state/segments/*/*.seg")
    assert path.stat().st_size == 65536
    recording = make([MemorySink()])
    recording.start()
    assert wait_until(lambda: path.stat().st_size < 4096)
    data = path.read_bytes()
    assert sum(record.signal == segment.SPAN for record in segment.records(data)) == 10


def test_a_damaged_file_is_set_aside_and_the_rest_is_sent(
    core: ModuleType, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, an empty file and a file cut in the middle harm nobody."""
    dead_process(core, tmp_path / "state", 1, 1001)
    paths = sorted(tmp_path.glob("state/segments/*/*.seg"))
    assert len(paths) >= 2
    (paths[0].parent / "90000000.seg").write_bytes(b"garbage" * 100)
    (paths[0].parent / "90000001.seg").write_bytes(b"")
    (paths[0].parent / "not-a-number.seg").write_bytes(paths[0].read_bytes())
    sink = MemorySink()
    make([sink]).start()
    assert sink.wait_until(lambda: len(set(sink.numbers())) == 1000)
    assert wait_until(lambda: folders(tmp_path) == [])
    assert Counter(sink.numbers()) == Counter(range(1, 1001))
    assert _diagnostics.counters()["segments.damaged"] == 3
    assert len(list((tmp_path / "state" / "damaged").iterdir())) == 3


def test_a_file_cut_in_the_middle_gives_what_is_whole(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """A record that reaches past the end is not sent in pieces."""
    dead_process(core, tmp_path / "state", 1, 101)
    (path,) = tmp_path.glob("state/segments/*/*.seg")
    ends = [record.offset for record in segment.records(path.read_bytes()) if record.signal == segment.SPAN]
    os.truncate(path, ends[50] + 20)
    sink = MemorySink()
    make([sink]).start()
    assert sink.wait_until(lambda: len(sink.numbers()) == 50)
    assert wait_until(lambda: folders(tmp_path) == [])


def test_a_torn_record_is_passed_over(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """A process that died in the middle of a write loses that record alone."""
    dead_process(core, tmp_path / "state", 1, 101)
    (path,) = tmp_path.glob("state/segments/*/*.seg")
    data = bytearray(path.read_bytes())
    torn = [record.offset for record in segment.records(data) if record.signal == segment.SPAN][50]
    data[torn + 4] = segment.TORN
    path.write_bytes(data)
    sink = MemorySink()
    make([sink]).start()
    assert sink.wait_until(lambda: len(sink.numbers()) == 99)
    assert 51 not in sink.numbers()


def test_a_segment_of_a_newer_agent_is_left_for_it(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """Two versions may share a state folder while one is rolled out."""
    dead_process(core, tmp_path / "state", 1, 11)
    (path,) = tmp_path.glob("state/segments/*/*.seg")
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    sink = MemorySink()
    recording = make([sink])
    recording.start()
    assert wait_until(lambda: recording.pipeline._current.orphans._next_scan > 0)
    recording.pipeline.stop(30)
    assert path.read_bytes() == data
    assert sink.numbers() == []


def test_the_local_store_stays_within_its_cap_oldest_first(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """Segments of dead processes go first, then the oldest of our own; the one being written never."""
    dead_process(core, tmp_path / "state", 1, 2001, "local")
    dead = set(tmp_path.glob("state/segments/*/*.seg"))
    recording = make(None, exporters=("local",), kept_bytes=200_000)
    recording.write(range(3001, 10001))
    recording.start()

    def kept() -> list[Path]:
        return sorted(tmp_path.glob("state/segments/*/*.seg"))

    assert wait_until(lambda: sum(path.stat().st_size for path in kept()) <= 200_000 + 2 * 65536)
    assert dead.isdisjoint(kept())
    newest = [r for path in kept() for r in segment.records(path.read_bytes()) if r.signal == segment.SPAN]
    assert b"span 10000" in newest[-1].payload
    assert _diagnostics.counters()["expired.segments"] >= len(dead)


def test_orphans_count_towards_the_cap_of_what_waits(
    core: ModuleType, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a collector is away for long, dead processes don't fill the disk; each loss is counted."""
    for i in range(3):
        dead_process(core, tmp_path / "state", 1 + 2000 * i, 2001 + 2000 * i)
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], unshipped_bytes=150_000)
    recording.start()
    recording.write([9001])
    assert wait_until(lambda: _diagnostics.counters().get("lost.spans", 0) > 0)
    assert wait_until(lambda: recording.pipeline.status()["orphans_bytes"] <= 150_000)
    with sink.changed:
        sink.always = None
    assert sink.wait_until(lambda: len(sink.numbers()) + _diagnostics.counters()["lost.spans"] >= 6001)
    assert wait_until(lambda: recording.pipeline.status()["orphans_bytes"] == 0)
    taken = sink.numbers()
    assert max(Counter(taken).values()) == 1
    assert len(taken) + _diagnostics.counters()["lost.spans"] == 6001
    assert caplog.text.count("lost") == 1
