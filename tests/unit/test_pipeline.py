"""The pipeline: when records are shipped, what is done with answers, flush, and the end."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import context as context_api

from noops_agent import _diagnostics
from noops_agent._core import segment
from noops_agent._export import delivery
from noops_agent._export.pipeline import Pipeline
from noops_agent._export.sink import DELIVERED, REFUSED, TOO_LARGE, UNAVAILABLE, Answer
from tests.adversity.recording import MemorySink

from .conftest import Make

DOWN = Answer(UNAVAILABLE, reason="it is down")


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 0.01)


def files(folder: Path) -> list[Path]:
    """All segment files below a state folder."""
    return sorted(folder.glob("state/segments/*/*.seg"))


# -- shipping ----------------------------------------------------------------------------------------------


def test_every_record_is_shipped_exactly_once_while_more_are_written(make: Make) -> None:
    """Shipping goes along with writing, over many segments, and takes each record once."""
    sink = MemorySink()
    recording = make([sink], export_batch_size=100)
    recording.start()
    for start in range(1, 5001, 50):
        recording.write(range(start, start + 50))
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 5001))


def test_a_batch_holds_no_more_records_than_asked_for(make: Make) -> None:
    """OTEL_BSP_MAX_EXPORT_BATCH_SIZE bounds each request."""
    sink = MemorySink()
    recording = make([sink], export_batch_size=7)
    recording.write(range(1, 31))
    assert recording.pipeline.flush(30)
    assert len(sink.taken) == 5
    assert len(sink.numbers()) == 30


def test_a_shipped_segment_is_deleted_and_the_one_being_written_stays(make: Make, tmp_path: Path) -> None:
    """What is acknowledged takes no room on the disk."""
    recording = make([MemorySink()])
    recording.write(range(1, 5001))
    assert len(files(tmp_path)) > 2
    assert recording.pipeline.flush(30)
    left = recording.recorder.segments()
    assert [part.path for part in left] == [str(path) for path in files(tmp_path)]
    assert len(left) == 1
    assert left[0].shipped == left[0].used


def test_no_sink_and_no_local_store_discards(make: Make, tmp_path: Path) -> None:
    """With nowhere to go, segments do not pile up."""
    recording = make([], exporters=("none",))
    recording.write(range(1, 5001))
    recording.pipeline.stop(5)
    assert len(files(tmp_path)) <= 1


def test_the_local_store_keeps_segments_cut_to_what_is_used(make: Make, tmp_path: Path) -> None:
    """Without an endpoint, sealed segments stay for the viewer, unmarked, and take no more room than they need."""
    recording = make(None, exporters=("local",))
    recording.write(range(1, 5001))
    recording.start()
    assert recording.pipeline.flush(30)
    recording.close()
    found = []
    for path in files(tmp_path):
        data = path.read_bytes()
        assert segment.read_header(data).shipped == segment.HEADER_BYTES
        assert segment.read_header(data).destination == segment.LOCAL
        found += [record for record in segment.records(data) if record.signal == segment.SPAN]
        assert len(data) == segment.end_of_records(data)
    assert len(found) == 5000


def test_the_local_store_beside_a_sink_keeps_what_was_shipped(make: Make, tmp_path: Path) -> None:
    """`otlp,local` sends and keeps."""
    sink = MemorySink()
    recording = make([sink], exporters=("otlp", "local"))
    recording.write(range(1, 5001))
    assert recording.pipeline.flush(30)
    assert len(sink.numbers()) == 5000
    assert sum(len(list(segment.records(path.read_bytes()))) for path in files(tmp_path)) >= 5000


def test_all_signals_of_a_sink_are_shipped_before_the_mark_moves(make: Make) -> None:
    """The mark is one for all signals: it never passes a metric that was not sent."""
    sink = MemorySink()
    sink.signals = (segment.SPAN, segment.METRIC, segment.LOG)
    recording = make([sink], export_batch_size=10)
    for start in range(1, 101, 10):
        recording.write(range(start, start + 10))
        recording.write(range(start, start + 5), signal=segment.METRIC)
    sink.answers = [Answer(DELIVERED)] * 6
    sink.always = DOWN
    assert not recording.pipeline.flush(0.05)
    (part,) = recording.recorder.segments()
    sent = Counter(signal for signal, _ in sink.taken)
    before = Counter(record.signal for record in segment.records(part.memory, segment.HEADER_BYTES, part.shipped))
    assert before[segment.SPAN] <= sent[segment.SPAN] * 10
    assert before[segment.METRIC] <= sent[segment.METRIC] * 10
    sink.always = None
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 101))
    assert sum(1 for signal, _ in sink.taken if signal == segment.METRIC) >= 5


def test_a_signal_that_no_sink_takes_does_not_hold_up_the_others(make: Make) -> None:
    """Profiles in a segment of spans are passed over."""
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 11))
    recording.write(range(1, 11), signal=segment.PROFILE)
    assert recording.pipeline.flush(30)
    assert len(sink.numbers()) == 10


def test_a_sink_that_is_down_does_not_hold_up_another(make: Make) -> None:
    """Each sink goes at its own pace; the mark follows the slowest."""
    good, bad = MemorySink("good"), MemorySink("bad")
    bad.always = DOWN
    recording = make([good, bad])
    recording.write(range(1, 101))
    assert not recording.pipeline.flush(0.1)
    assert len(good.numbers()) == 100
    assert recording.recorder.segments()[0].shipped == segment.HEADER_BYTES
    bad.always = None
    assert recording.pipeline.flush(30)
    assert Counter(good.numbers()) == Counter(bad.numbers()) == Counter(range(1, 101))


def test_records_in_memory_are_shipped_as_well(core: ModuleType, make: Make, tmp_path: Path) -> None:
    """A state folder that can't be written costs the safety of a crash, not the export."""
    (tmp_path / "state").write_text("a file, where a folder should be")
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 2001))
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 2001))


def test_a_state_folder_deleted_while_running_loses_nothing(make: Make, tmp_path: Path) -> None:
    """Mapped segments outlive their names."""
    import shutil

    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 1001))
    shutil.rmtree(tmp_path / "state")
    recording.write(range(1001, 5001))
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 5001))


# -- answers -----------------------------------------------------------------------------------------------


def test_an_unavailable_sink_is_tried_again_until_it_takes_all(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """One line at the first failure, one at recovery, whatever lies between."""
    caplog.set_level(logging.INFO, "noops_agent")
    sink = MemorySink()
    sink.answers = [DOWN] * 5
    recording = make([sink])
    recording.write(range(1, 101))
    recording.start()
    assert sink.wait_until(lambda: len(sink.numbers()) == 100)
    assert recording.pipeline.flush(30)
    said = [record.message for record in caplog.records if "memory" in record.message]
    assert len(said) == 2
    assert "it is down" in said[0]
    assert "again" in said[1]
    assert _diagnostics.counters()["export.retries"] == 5


def test_backing_off_grows_with_chance_and_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many processes must not come back at the same moment, nor ever stop coming back."""
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 1.0)
    monkeypatch.setattr(delivery.time, "monotonic", lambda: 1000.0)
    seen = []
    for failures in (1, 4, 50):
        waits = set()
        for _ in range(20):
            one = delivery.Delivery(MemorySink(), 10)
            for _ in range(failures):
                one._back_off(DOWN)
            waits.add(one.retry_at - 1000.0)
        assert len(waits) > 1
        seen.append((min(waits), max(waits)))
    assert 0.5 <= seen[0][0] <= seen[0][1] <= 1.0
    assert 4.0 <= seen[1][0] <= seen[1][1] <= 8.0
    assert 15.0 <= seen[2][0] <= seen[2][1] <= 30.0


def test_a_server_that_asks_for_patience_gets_it(make: Make) -> None:
    """Retry-After holds even against flush."""
    sink = MemorySink()
    sink.answers = [DOWN._replace(retry_after_s=60.0)]
    recording = make([sink])
    recording.write(range(1, 11))
    assert not recording.pipeline.flush(0.05)
    assert not recording.pipeline.flush(0.05)
    assert sink.answers == []
    assert sink.numbers() == []


def test_an_absurd_retry_after_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server can't silence us for a year."""
    monkeypatch.setattr(delivery.time, "monotonic", lambda: 1000.0)
    one = delivery.Delivery(MemorySink(), 10)
    one._back_off(DOWN._replace(retry_after_s=1e9))
    assert one.retry_at == 1000.0 + delivery.LONGEST_RETRY_AFTER_S


def test_a_refused_batch_is_counted_and_not_sent_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Status 400 would be 400 again."""
    sink = MemorySink()
    sink.answers = [Answer(REFUSED, reason="HTTP status 400")]
    recording = make([sink], export_batch_size=10)
    recording.write(range(1, 31))
    assert recording.pipeline.flush(30)
    assert sink.numbers() == list(range(11, 31))
    counted = _diagnostics.counters()
    assert counted["otel.sdk.exporter.span.exported.failed"] == 10
    assert counted["otel.sdk.exporter.span.exported"] == 20
    assert "HTTP status 400" in caplog.text


def test_rejected_records_of_a_partial_success_are_counted_and_told_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that takes a part says how many it did not take."""
    sink = MemorySink()
    sink.answers = [Answer(DELIVERED, 3, "too old"), Answer(DELIVERED, 1, "too old")]
    recording = make([sink], export_batch_size=10)
    recording.write(range(1, 31))
    assert recording.pipeline.flush(30)
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 4
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported"] == 26
    assert caplog.text.count("too old") == 1


def test_too_large_a_request_is_halved_until_it_passes(make: Make) -> None:
    """413 says that less would do; nothing is lost or doubled on the way."""
    sink = MemorySink()
    sink.answers = [Answer(TOO_LARGE)] * 3
    recording = make([sink], export_batch_size=80)
    recording.write(range(1, 161))
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 161))
    assert len(sink.taken) > 2


def test_one_record_that_is_too_large_is_refused(make: Make) -> None:
    """What can't be halved is given up, and the rest goes on."""
    sink = MemorySink()
    sink.answers = [Answer(TOO_LARGE)] * 2
    recording = make([sink], export_batch_size=2)
    recording.write(range(1, 4))
    assert recording.pipeline.flush(30)
    assert sink.numbers() == [2, 3]


def test_a_sink_that_raises_loses_one_batch_and_not_the_shipper(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours costs records, never the program."""
    sink = MemorySink()

    def fail() -> None:
        sink.before = lambda: None
        raise RuntimeError("a fault")

    sink.before = fail
    recording = make([sink], export_batch_size=10)
    recording.write(range(1, 31))
    recording.start()
    assert recording.pipeline.flush(30)
    assert sink.numbers() == list(range(11, 31))
    assert "a fault" in caplog.text


def test_a_round_that_raises_is_told_and_the_next_one_ships(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread goes on after any error."""
    sink = MemorySink()
    recording = make([sink])
    whole = Pipeline._ship_own
    failures = iter([OSError("disk on fire")])

    def fail_once(self: Pipeline, *args: Any) -> None:
        for failure in failures:
            raise failure
        whole(self, *args)

    monkeypatch.setattr(Pipeline, "_ship_own", fail_once)
    recording.write(range(1, 11))
    recording.start()
    assert sink.wait_until(lambda: len(sink.numbers()) == 10)
    assert "disk on fire" in caplog.text


def test_nothing_that_the_shipper_does_is_traced(make: Make) -> None:
    """Instrumentation of HTTP libraries sees the keys that suppress it, on the thread and in flush."""
    seen = []
    sink = MemorySink()
    sink.before = lambda: seen.append(
        (
            context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY),
            context_api.get_value(context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY),
        )
    )
    recording = make([sink])
    recording.write([1])
    assert recording.pipeline.flush(30)
    assert context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY) is None
    recording.start()
    recording.write([2])
    assert recording.pipeline.flush(30)
    assert seen == [(True, True), (True, True)]


# -- flush and the end -------------------------------------------------------------------------------------


def test_flush_from_many_threads_waits_for_what_each_recorded(make: Make) -> None:
    """Every flush that says True speaks for all records before it."""
    sink = MemorySink()
    recording = make([sink])
    recording.start()
    wrong: list[int] = []

    def work(start: int) -> None:
        for number in range(start, start + 20):
            recording.write([number])
            if not recording.pipeline.flush(30) or number not in sink.numbers():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(1 + 100 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_flush_without_a_thread_ships_in_the_calling_one(make: Make) -> None:
    """Nothing depends on the thread having started."""
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 11))
    assert recording.pipeline.flush(30)
    assert len(sink.numbers()) == 10


def test_flush_with_nothing_recorded_is_true_at_once(make: Make) -> None:
    """Nothing to wait for, nothing to send."""
    sink = MemorySink()
    assert make([sink]).pipeline.flush(0)
    assert sink.taken == []


def test_flush_gives_up_at_its_deadline(make: Make) -> None:
    """A sink that never answers makes flush say False, with the thread and without."""
    sink = MemorySink()
    hold = threading.Event()
    sink.always = DOWN
    recording = make([sink])
    recording.write([1])
    assert not recording.pipeline.flush(0.05)
    sink.before = lambda: hold.wait(30)
    recording.start()
    assert not recording.pipeline.flush(0.05)
    hold.set()


def test_flush_called_by_the_shipper_itself_does_not_deadlock(make: Make) -> None:
    """An exporter that flushes, as some do, gets an answer at once."""
    answers: list[bool] = []
    sink = MemorySink()
    recording = make([sink])
    sink.before = lambda: answers.append(recording.pipeline.flush(30))
    recording.write([1])
    assert recording.pipeline.flush(30)
    recording.start()
    recording.write([2])
    assert recording.pipeline.flush(30)
    assert answers == [False, False]
    assert sink.numbers() == [1, 2]


def test_flush_tries_at_once_although_the_sink_is_backing_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that came back is not waited for."""
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 1000.0)
    monkeypatch.setattr(delivery, "LONGEST_BACKOFF_S", 1000.0)
    sink = MemorySink()
    sink.answers = [DOWN]
    recording = make([sink])
    recording.start()
    recording.write([1])
    assert sink.wait_until(lambda: not sink.answers)
    assert recording.pipeline.flush(30)
    assert sink.numbers() == [1]


def test_stop_ships_what_is_left_and_ends_the_thread(make: Make) -> None:
    """A last round, then the sinks are closed."""
    sink = MemorySink()
    recording = make([sink], export_interval_s=1000.0)
    recording.start()
    recording.write(range(1, 101))
    assert recording.pipeline.stop(30)
    assert len(sink.numbers()) == 100
    assert sink.closed == 1
    recording.close()


def test_stop_without_a_thread_ships_as_well(make: Make) -> None:
    """A process that ends before its shipper began loses nothing."""
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 101))
    assert recording.pipeline.stop(30)
    assert len(sink.numbers()) == 100
    assert recording.pipeline.stop(30)
    assert sink.closed == 1


def test_stop_tries_a_sink_that_is_down_once_and_leaves_the_rest_on_disk(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No back-off is waited for at the end; the next process finds the records."""
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 1000.0)
    monkeypatch.setattr(delivery, "LONGEST_BACKOFF_S", 1000.0)
    sink = MemorySink()
    sink.always = DOWN
    recording = make([sink])
    recording.start()
    recording.write(range(1, 11))
    assert not recording.pipeline.stop(30)
    recording.close()
    (left,) = files(tmp_path)
    assert sum(record.signal == segment.SPAN for record in segment.records(left.read_bytes())) == 10


def test_stop_keeps_its_deadline_while_a_request_hangs(make: Make) -> None:
    """The exit is not held up by a sink that does not come back."""
    hold = threading.Event()
    sink = MemorySink()
    sink.before = lambda: hold.wait(30)
    recording = make([sink])
    recording.start()
    recording.write([1])
    assert not recording.pipeline.stop(0.05)
    hold.set()


def test_a_thread_that_starts_after_stop_ends_at_once(make: Make) -> None:
    """The race between the start of the thread and the end of the process has no bad order."""
    recording = make([MemorySink()])
    recording.pipeline.stop(1)
    recording.pipeline.run()


def test_a_forked_child_begins_anew(make: Make) -> None:
    """The child ships its own records by its own connections, and none of its parent's."""
    sink = MemorySink()
    recording = make([sink])
    recording.start()
    recording.write(range(1, 101))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sink.taken.clear()
            forgotten = sink.forgotten
            recording.write(range(1001, 1011))
            well = recording.pipeline.flush(10)
            numbers = sink.numbers()
            ok = well and numbers == list(range(1001, 1011)) and sink.forgotten == forgotten + 1
            os.write(writer, b"y" if ok else repr(numbers).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = os.read(reader, 10000)
    os.close(reader)
    os.waitpid(child, 0)
    assert told == b"y"
    assert recording.pipeline.flush(30)
    assert Counter(sink.numbers()) == Counter(range(1, 101))


def test_status_tells_where_records_go_and_how_that_goes(make: Make) -> None:
    """`doctor` and `status()` read this."""
    sink = MemorySink()
    recording = make([sink])
    recording.write(range(1, 11))
    assert recording.pipeline.flush(30)
    sink.always = DOWN
    recording.write([11])
    assert not recording.pipeline.flush(0.05)
    told = recording.pipeline.status()
    (one,) = told["sinks"]
    assert (one["sink"], one["state"], one["reason"], one["exported"]) == ("memory", "unavailable", "it is down", 10)
    assert told["otel.sdk.processor.span.queue.size"] > 0
    assert told["otel.sdk.processor.span.queue.capacity"] == recording.settings.unshipped_bytes
    sink.always = None
