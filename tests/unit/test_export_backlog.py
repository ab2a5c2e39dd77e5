"""The cap of what waits: the oldest go first, errors last, and each loss is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from noops_agent import _diagnostics
from noops_agent._export import delivery
from noops_agent._export.sink import DELIVERED, UNAVAILABLE, Answer
from tests.adversity.recording import MemorySink, Recording, wait_until

from .conftest import Make

DOWN = Answer(UNAVAILABLE, reason="it is down")


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(delivery, "LONGEST_BACKOFF_S", 0.01)


def shed(recording: Recording) -> None:
    """Do one round, as the shipper does."""
    recording.pipeline._round(recording.pipeline._work())


def lost() -> int:
    """Spans counted as lost."""
    return _diagnostics.counters().get("lost.spans", 0)


def test_above_the_cap_the_oldest_go_and_are_counted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost without being counted, and the first loss is a warning."""
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], unshipped_bytes=200_000)
    for start in range(1, 10001, 500):
        recording.write(range(start, start + 500))
        shed(recording)
    sink.always = None
    assert recording.pipeline.flush(30)
    taken = sink.numbers()
    assert len(taken) + lost() == 10000
    assert 0 < lost() < 10000
    assert taken == list(range(lost() + 1, 10001))
    assert caplog.text.count("records were lost") == 1


def test_what_waits_on_the_disk_stays_near_the_cap(make: Make, tmp_path: Path) -> None:
    """The cap holds for files, but for the one being written and one that is prepared."""
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], unshipped_bytes=200_000)
    for start in range(1, 10001, 500):
        recording.write(range(start, start + 500))
        shed(recording)
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("state/segments/*/*.seg"))
        assert on_disk <= 200_000 + 3 * 65536
    sink.always = None


def test_errors_are_kept_longest(make: Make) -> None:
    """Of a long outage the errors are what one wants to see; none is lost while others can go."""
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], unshipped_bytes=300_000)
    errors = []
    for start in range(1, 20001, 200):
        recording.write(range(start, start + 199))
        recording.write([start + 199], error=True)
        errors.append(start + 199)
        shed(recording)
    sink.always = None
    assert recording.pipeline.flush(30)
    taken = Counter(sink.numbers())
    assert set(errors) <= set(taken)
    assert max(taken.values()) == 1
    assert len(taken) + lost() == 20000


def test_errors_alone_stay_within_the_cap_as_well(make: Make, tmp_path: Path) -> None:
    """Where everything is an error, the oldest go."""
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], unshipped_bytes=200_000)
    for start in range(1, 10001, 500):
        recording.write(range(start, start + 500), error=True)
        shed(recording)
    assert sum(path.stat().st_size for path in tmp_path.glob("state/segments/*/*.seg")) <= 200_000 + 3 * 65536
    sink.always = None
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(lost() + 1, 10001))
    assert lost() > 0


def test_an_error_that_one_sink_has_is_not_sent_to_it_again(make: Make) -> None:
    """Writing an error anew would double it for a sink that is ahead: then it counts as lost instead."""
    good, bad = MemorySink("good"), MemorySink("bad")
    bad.always = DOWN
    recording = make([good, bad], unshipped_bytes=150_000)
    for start in range(1, 5001, 100):
        recording.write(range(start, start + 90))
        recording.write(range(start + 90, start + 100), error=True)
        shed(recording)
    bad.always = None
    assert recording.pipeline.flush(30)
    assert Counter(good.numbers()) == Counter(range(1, 5001))
    taken = Counter(bad.numbers())
    assert max(taken.values()) == 1
    assert len(taken) + lost() == 5000


def test_a_queue_size_bounds_the_records_that_wait(make: Make) -> None:
    """OTEL_BSP_MAX_QUEUE_SIZE means records; here the oldest make room, the SDK refuses the newest."""
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink], export_queue_size=100)
    recording.write(range(1, 2001))
    shed(recording)
    assert lost() == 1900
    sink.always = None
    assert recording.pipeline.flush(30)
    assert sink.numbers() == list(range(1901, 2001))


def test_a_queue_size_does_not_harm_while_the_sink_takes_all(make: Make) -> None:
    """What is shipped at once does not wait."""
    sink = MemorySink()
    recording = make([sink], export_queue_size=100)
    recording.write(range(1, 2001))
    shed(recording)
    assert lost() == 0
    assert len(sink.numbers()) == 2000


def test_shedding_goes_on_beside_the_running_shipper(make: Make) -> None:
    """Threads write, the collector comes and goes, the cap is small: every span is sent once or counted."""
    sink = MemorySink()
    sink.answers = [DOWN, Answer(DELIVERED), DOWN, DOWN, DOWN, Answer(DELIVERED)] * 20
    recording = make([sink], unshipped_bytes=150_000, export_batch_size=50)
    recording.start()
    for start in range(1, 20001, 100):
        recording.write(range(start, start + 95))
        recording.write(range(start + 95, start + 100), error=True)
    assert wait_until(lambda: recording.pipeline.flush(30))
    taken = Counter(sink.numbers())
    assert max(taken.values()) == 1
    assert len(taken) + lost() == 20000
