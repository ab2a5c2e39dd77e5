"""The small things of export: answers read by hand, headers, destinations, and what is loaded when."""

from __future__ import annotations

import gzip as standard_gzip
import os
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from noops_agent import _export
from noops_agent._core.segment import LOCAL, LOG, METRIC, SPAN
from noops_agent._export import loading
from noops_agent._export.http import credentials, gzip, retry_after, shown
from noops_agent._export.json import to_json
from noops_agent._export.otlp import fields, partial_success, readable, retry_delay, status_message
from tests.adversity.collector import parse_otlp_json
from tests.adversity.recording import settings_of

ROOT = Path(__file__).parents[2]


@given(st.binary(max_size=200))
def test_no_bytes_of_a_server_upset_the_reader(data: bytes) -> None:
    """It ends, raises nothing, and gives sane values."""
    assert len(list(fields(data))) <= len(data)
    rejected, message = partial_success(data)
    assert rejected >= 0
    assert "\n" not in message
    assert "\n" not in status_message(data)
    delay_s = retry_delay(data)
    assert delay_s is None or delay_s >= 0


@given(st.integers(0, 2**62), st.text(max_size=50))
def test_a_partial_success_is_read_as_the_official_message_encodes_it(rejected: int, message: str) -> None:
    """Against google.protobuf."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    assert partial_success(response.SerializeToString()) == (rejected, readable(message.encode()))


@given(st.integers(0, 10**6), st.integers(0, 999_999_999))
def test_a_retry_info_is_read_as_the_official_message_encodes_it(seconds: int, nanos: int) -> None:
    """Wherever it stands among the details."""
    info, other = any_pb2.Any(), any_pb2.Any()
    info.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos)))
    other.Pack(error_details_pb2.DebugInfo(detail="x"))
    status = status_pb2.Status(code=8, message="busy", details=[other, info])
    assert retry_delay(status.SerializeToString()) == pytest.approx(seconds + nanos / 1e9)
    assert status_message(status.SerializeToString()) == "busy"
    assert retry_delay(status_pb2.Status(code=8, details=[other]).SerializeToString()) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("", None), ("0", 0.0), (" 120 ", 120.0), ("-5", None), ("1.5", None), ("soon", None), ("٣", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    """Whole seconds, as RFC 9110 has them; anything else is as if it were not there."""
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    """A date of HTTP is compared with the clock of this machine; one that is past means now."""
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) < 70
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0.0
    assert retry_after("Thu, 99 Foo 9999 99:99:99 GMT") is None


@given(st.binary(max_size=5000))
def test_gzip_is_what_the_standard_library_reads(body: bytes) -> None:
    """One member, complete."""
    assert standard_gzip.decompress(gzip(body)) == body


def test_a_shown_endpoint_has_no_secret() -> None:
    """Neither password nor query is told."""
    assert shown("https://me:secret@host:4318/v1/traces?key=secret") == "https://host:4318/v1/traces"
    assert credentials("https://host/v1/traces?a=b@c") == {}
    assert credentials("https://me:p%40ss@host/") == {"Authorization": "Basic bWU6cEBzcw=="}


def test_json_names_identifiers_in_hexadecimal_for_every_signal() -> None:
    """Exemplars and log records have identifiers too; attributes of the same name are the user's own."""
    trace_id, span_id = bytes(range(16)), bytes(range(8))
    trace = ExportTraceServiceRequest()
    span = trace.resource_spans.add().scope_spans.add().spans.add(trace_id=trace_id, span_id=span_id, kind=2)
    span.links.add(trace_id=trace_id, span_id=span_id)
    span.attributes.add(key="traceId").value.bytes_value = b"raw"
    log = ExportLogsServiceRequest()
    log.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id, span_id=span_id)
    metric = ExportMetricsServiceRequest()
    point = metric.resource_metrics.add().scope_metrics.add().metrics.add(name="m").histogram.data_points.add()
    point.exemplars.add(trace_id=trace_id, span_id=span_id, as_int=-3)
    for signal, message in ((SPAN, trace), (LOG, log), (METRIC, metric)):
        encoded = to_json(signal, message.SerializeToString())
        assert trace_id.hex().encode() in encoded
        back = type(message)()
        parse_otlp_json(encoded, back)
        assert back == message


# -- settings ----------------------------------------------------------------------------------------------


def test_each_exporter_of_the_settings_gets_its_sink() -> None:
    """Several at once; the local store and none need no sink."""
    names = ("otlp", "console", "local", "zipkin")
    settings = settings_of({"exporters": names, "endpoint": "http://collector:4318"})
    assert [sink.name for sink in _export.open_sinks(settings)] == [
        "http://collector:4318/v1/traces",
        "console",
        "zipkin",
    ]
    assert _export.open_sinks(settings_of({"exporters": ("none",)})) == []
    grpc = settings_of({"exporters": ("otlp",), "protocol": "grpc", "endpoint": "http://collector:4317"})
    assert [sink.name for sink in _export.open_sinks(grpc)] == ["grpc://collector:4317"]


def test_a_destination_tells_apart_whatever_changes_where_records_go() -> None:
    """Endpoint, protocol, headers and exporters; not the timeout or the order of exporters."""
    base = {"exporters": ("otlp", "console"), "traces_endpoint": "http://a/v1/traces"}
    first = _export.destination(settings_of(base))
    assert len(first) == 16
    assert first == _export.destination(settings_of({**base, "timeout_s": 3, "exporters": ("console", "otlp")}))
    others = [
        {"traces_endpoint": "http://b/v1/traces"},
        {"protocol": "http/json"},
        {"headers": {"tenant": "two"}},
        {"exporters": ("otlp",)},
    ]
    digests = {_export.destination(settings_of({**base, **other})) for other in others}
    assert len(digests | {first}) == 5
    assert LOCAL not in digests
    assert _export.destination(settings_of({"exporters": ("local",)})) == LOCAL


HEAVY = (
    "ssl", "socket", "urllib3", "queue", "asyncio", "concurrent.futures", "subprocess", "importlib.metadata",
    "google.protobuf", "grpc", "requests", "opentelemetry.sdk", "http.client",
)  # fmt: skip


def test_nothing_heavy_is_loaded_before_the_first_send() -> None:
    """Making sinks of every kind and a pipeline costs the start of the program nothing."""
    code = f"""
import sys
import opentelemetry.trace  # on 3.10 it loads subprocess by itself
before = set(sys.modules)
from noops_agent import _export
from noops_agent._config import load
from noops_agent._core import native, python
from noops_agent._export.pipeline import Pipeline
for protocol in ("grpc", "http/json", "http/protobuf"):
    settings = load({{"exporters": ("otlp", "console", "zipkin"), "protocol": protocol}}, {{}}, "/")
    recorder = (native or python).Recorder(None, 65536, _export.destination(settings))
    pipeline = Pipeline(recorder, _export.open_sinks(settings), settings)
    pipeline.flush(1)
    pipeline.status()
print([name for name in {HEAVY!r} if name in sys.modules and name not in before])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- imports and forks -------------------------------------------------------------------------------------


def test_a_fork_during_an_import_leaves_no_half_made_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that imports the same module, as the application may, does not wait for ever."""
    begun = tmp_path / "begun"
    (tmp_path / "slowly_made.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(0.3)\nWHOLE = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    thread = threading.Thread(target=loading.load, args=("slowly_made",))
    thread.start()
    while not begun.exists():
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        try:
            import slowly_made  # type: ignore[import-not-found, unused-ignore]

            os._exit(0 if slowly_made.WHOLE else 1)
        finally:
            os._exit(2)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert loading.load("slowly_made").WHOLE


def test_a_fork_does_not_wait_for_an_import_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that itself waits for the forking thread must not hold it up without end."""
    monkeypatch.setattr(loading, "LONGEST_WAIT_S", 0.01)
    with loading._loading.lock:
        child = os.fork()
        if child == 0:
            loading.load("json")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert loading.load("json")
