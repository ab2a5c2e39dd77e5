"""OTLP over gRPC against a real server, which decodes with the official messages."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")

from google.protobuf import any_pb2, duration_pb2  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse  # noqa: E402

from noops_agent import _diagnostics  # noqa: E402
from noops_agent._core.segment import SPAN  # noqa: E402
from noops_agent._export import delivery  # noqa: E402
from noops_agent._export.grpc import GrpcSink, address_of  # noqa: E402
from noops_agent._export.sink import REFUSED, UNAVAILABLE  # noqa: E402

from .collector import Collector, free_port  # noqa: E402
from .grpc_collector import GrpcCollector  # noqa: E402
from .recording import Recording, identifiers, settings_of  # noqa: E402
from .test_collectors import certificates  # noqa: E402, F401

ROOT = Path(__file__).parents[2]

Make = Callable[..., Recording]


@pytest.fixture
def collector() -> Iterator[GrpcCollector]:
    """A collector that accepts until told otherwise."""
    made = GrpcCollector()
    yield made
    made.close()


@pytest.fixture
def make(core: ModuleType, tmp_path: Path) -> Iterator[Make]:
    """Makes recordings that ship to an endpoint, and closes them."""
    made: list[Recording] = []

    def record(endpoint: str, **settings: Any) -> Recording:
        settings = {"exporters": ("otlp",), "protocol": "grpc", "traces_endpoint": endpoint, **settings}
        made.append(Recording(core, tmp_path / "state", None, **settings))
        return made[-1]

    yield record
    for recording in made:
        recording.close()


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 0.02)


def exactly_once(collector: GrpcCollector, numbers: range) -> bool:
    """Whether each of these spans was acknowledged once, and no other."""
    ids = collector.span_ids()
    return set(ids) == identifiers(numbers) and set(ids.values()) == {1}


def abort(code: Any, details: str = "told so") -> Callable[[Any], None]:
    """A step that fails the call."""
    return lambda context: context.abort(code, details)


def abort_with_retry_info(code: Any, seconds: int, nanos: int) -> Callable[[Any], None]:
    """A step that fails the call and says when to come back."""

    def step(context: Any) -> None:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos)))
        other = any_pb2.Any()
        other.Pack(error_details_pb2.DebugInfo(detail="something else"))
        status = status_pb2.Status(code=code.value[0], message="busy", details=[other, info])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "busy")

    return step


def test_spans_arrive_with_headers_and_compression(collector: GrpcCollector, make: Make) -> None:
    """Metadata is the headers, in lower case."""
    recording = make(f"http://127.0.0.1:{collector.port}", headers={"X-Api-Key": "secret"}, compression="gzip")
    recording.write(range(1, 2001))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 2001))
    assert collector.metadata[0]["x-api-key"] == "secret"
    assert collector.metadata[0]["user-agent"].startswith("OTel-OTLP-Exporter-Python/")


RETRYABLE = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]


@pytest.mark.parametrize("code", RETRYABLE)
def test_after_a_retryable_status_each_span_arrives_once(collector: GrpcCollector, make: Make, code: str) -> None:
    """The codes of the specification are tried again."""
    collector.script = [abort(getattr(grpc.StatusCode, code))] * 2
    recording = make(f"http://127.0.0.1:{collector.port}", export_batch_size=50)
    recording.start()
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 101))


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "UNIMPLEMENTED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "INTERNAL"]
)
def test_other_statuses_cost_their_batch(collector: GrpcCollector, make: Make, code: str) -> None:
    """They would fail again; an exhausted server that names no time to come back is one of them."""
    collector.script = [abort(getattr(grpc.StatusCode, code))]
    recording = make(f"http://127.0.0.1:{collector.port}", export_batch_size=50)
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(51, 101))
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 50


def test_retry_info_is_waited_for(collector: GrpcCollector, make: Make) -> None:
    """RetryInfo makes an exhausted server one to come back to, at its time."""
    collector.script = [abort_with_retry_info(grpc.StatusCode.RESOURCE_EXHAUSTED, 100, 500_000_000)]
    recording = make(f"http://127.0.0.1:{collector.port}")
    recording.write(range(1, 11))
    assert not recording.pipeline.flush(1.0)
    (one,) = recording.pipeline._work().shipper.deliveries
    assert 95 < one.retry_at - time.monotonic() <= 100.5
    one.retry_at = 0.0
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 11))


def test_partial_success_is_counted(collector: GrpcCollector, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Decoded by hand, so compared with what the official message encodes."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 300
    response.partial_success.error_message = "too old"
    collector.script = [lambda context: response]
    recording = make(f"http://127.0.0.1:{collector.port}")
    recording.write(range(1, 401))
    assert recording.pipeline.flush(60)
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 300
    assert "too old" in caplog.text


def test_a_message_that_is_too_large_is_halved(collector: GrpcCollector, make: Make) -> None:
    """Servers say so by an exhausted resource and their own words."""
    told = abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5000000 vs. 4194304)")
    collector.script = [told, told]
    recording = make(f"http://127.0.0.1:{collector.port}")
    recording.write(range(1, 401))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 401))


def test_a_call_that_hangs_ends_at_its_timeout(collector: GrpcCollector, make: Make) -> None:
    """And is made again."""
    collector.script = [lambda context: context.abort(grpc.StatusCode.ABORTED, str(time.sleep(1.0)))]
    recording = make(f"http://127.0.0.1:{collector.port}", timeout_s=0.2)
    recording.start()
    recording.write(range(1, 11))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 11))


def test_an_absent_collector_gets_everything_when_it_comes(make: Make) -> None:
    """The channel finds its way back by itself."""
    port = free_port()
    recording = make(f"http://127.0.0.1:{port}")
    recording.start()
    recording.write(range(1, 1001))
    assert not recording.pipeline.flush(0.3)
    collector = GrpcCollector(port)
    try:
        assert recording.pipeline.flush(60)
        assert exactly_once(collector, range(1, 1001))
    finally:
        collector.close()


def test_tls_with_client_certificates(make: Make, certificates: Path) -> None:  # noqa: F811
    """https, a private authority, a client's certificate."""
    read = lambda name: (certificates / name).read_bytes()  # noqa: E731
    credentials = grpc.ssl_server_credentials([(read("server.key"), read("server.pem"))], read("ca.pem"), True)
    collector = GrpcCollector(0, credentials)
    try:
        recording = make(
            f"https://localhost:{collector.port}",
            certificate=str(certificates / "ca.pem"),
            client_certificate=str(certificates / "client.pem"),
            client_key=str(certificates / "client.key"),
        )
        recording.write(range(1, 101))
        assert recording.pipeline.flush(60)
        assert exactly_once(collector, range(1, 101))
    finally:
        collector.close()


def test_a_certificate_file_that_is_missing_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The spans wait for it."""
    recording = make("https://localhost:1", certificate="/nowhere/ca.pem")
    recording.write([1])
    assert not recording.pipeline.flush(0.2)
    assert "No such file" in caplog.text


def test_an_http_collector_at_the_grpc_port_is_explained(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The usual confusion of 4317 and 4318, the other way round."""
    plain = Collector()
    try:
        recording = make(f"http://127.0.0.1:{plain.port}", timeout_s=1.0)
        recording.write([1])
        recording.pipeline.flush(1.5)
        said = [record.message for record in caplog.records]
        assert len(said) == 1
        assert "gRPC" in said[0]
    finally:
        plain.close()


def test_the_number_4318_explains_itself() -> None:
    """Where the error of gRPC says nothing, the port does."""
    from noops_agent._export.mistakes import explain_grpc

    told = explain_grpc("UNAVAILABLE", "Connection reset by peer", "http://collector:4318", False)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in told


def test_http_at_a_grpc_server_is_explained(
    core: ModuleType, collector: GrpcCollector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP/1.1 sent to a real gRPC server."""
    endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
    recording = Recording(core, tmp_path / "state", None, exporters=("otlp",), traces_endpoint=endpoint)
    recording.write([1])
    assert not recording.pipeline.flush(0.5)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in caplog.text
    recording.close()


@pytest.mark.parametrize(
    ("endpoint", "insecure", "address"),
    [
        ("http://host:4317", False, ("host:4317", False)),
        ("https://host:4317", True, ("host:4317", True)),
        ("https://host", False, ("host:4317", True)),
        ("http://user:pass@host:1/ignored", False, ("host:1", False)),
        ("host:4317", False, ("host:4317", True)),
        ("host:4317", True, ("host:4317", False)),
        ("host", True, ("host:4317", False)),
        ("http://[::1]:4317", False, ("[::1]:4317", False)),
        ("http://[::1]", False, ("[::1]:4317", False)),
        ("unix:/run/otlp.sock", True, ("unix:/run/otlp.sock", False)),
        ("dns:///host:4317", True, ("dns:///host:4317", False)),
    ],
)
def test_the_scheme_tells_of_tls_and_the_setting_where_there_is_none(
    endpoint: str, insecure: bool, address: tuple[str, bool]
) -> None:
    """The rules of OTEL_EXPORTER_OTLP_INSECURE."""
    assert address_of(endpoint, insecure) == address


def test_a_sink_can_be_closed_forgotten_and_used_again(collector: GrpcCollector) -> None:
    """As in a forked child, and after shutdown and init."""
    target = settings_of({"protocol": "grpc", "traces_endpoint": f"http://127.0.0.1:{collector.port}"}).otlp_traces
    sink = GrpcSink({SPAN: target})
    for step in (sink.close, sink.forget, sink.close):
        assert sink.send(SPAN, b"", 0, 10.0).outcome not in (REFUSED, UNAVAILABLE)
        step()


FORKING = """
import os, sys
from noops_agent._core import native, python
from tests.adversity.recording import Recording
recording = Recording(
    native or python, sys.argv[1], None, exporters=("otlp",), protocol="grpc", traces_endpoint=sys.argv[2]
)
recording.write(range(1, 101))
assert recording.pipeline.flush(30)
child = os.fork()
if child == 0:
    recording.write(range(101, 201))
    sent = recording.pipeline.flush(15)
    recording.pipeline.stop(1)
    recording.recorder.close()
    os._exit(0 if sent else 3)
print("child", os.waitpid(child, 0)[1])
recording.write(range(201, 301))
print("parent", recording.pipeline.flush(30))
recording.pipeline.stop(5)
recording.recorder.close()
"""


def test_a_forked_child_and_its_parent_both_go_on_to_send(collector: GrpcCollector, tmp_path: Path) -> None:
    """The child opens a channel of its own and leaves its parent's alone."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path), f"http://127.0.0.1:{collector.port}"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "parent True" in done.stdout, done.stderr
    assert exactly_once(collector, range(1, 301)), done.stdout
