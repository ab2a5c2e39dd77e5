"""Collectors that are absent, slow, broken or lying: each span arrives exactly once, and one line says why not yet."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from noops_agent import _diagnostics
from noops_agent._export import delivery

from . import collector as behaviours
from .collector import Behaviour, Collector, free_port
from .recording import Recording, identifiers

ROOT = Path(__file__).parents[2]

Make = Callable[..., Recording]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that accepts until told otherwise."""
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def make(core: ModuleType, tmp_path: Path) -> Iterator[Make]:
    """Makes recordings that ship to an endpoint, and closes them."""
    made: list[Recording] = []

    def record(endpoint: str, **settings: Any) -> Recording:
        settings.setdefault("exporters", ("otlp",))
        made.append(Recording(core, tmp_path / "state", None, traces_endpoint=endpoint, **settings))
        return made[-1]

    yield record
    for recording in made:
        recording.close()


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_BACKOFF_S", 0.02)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def exactly_once(collector: Collector, numbers: range) -> bool:
    """Whether each of these spans was acknowledged once, and no other."""
    ids = collector.span_ids()
    return set(ids) == identifiers(numbers) and set(ids.values()) == {1}


FAULTS: dict[str, Behaviour] = {
    "503": behaviours.status(503),
    "429": behaviours.status(429),
    "502": behaviours.status(502, b"<html>bad gateway</html>", Content_Type="text/html"),
    "504": behaviours.status(504),
    "503 with Retry-After 0": behaviours.status(503, Retry_After="0"),
    "503 with a senseless Retry-After": behaviours.status(503, Retry_After="soon, I hope"),
    "429 with a date that is past": behaviours.status(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"),
    "hangs": behaviours.hang,
    "drips its header": behaviours.drip,
    "resets": behaviours.reset,
    "closes": behaviours.close,
    "talks garbage": behaviours.garbage(b"\xff\xfe\xfd garbage \r\n\r\n"),
    "answers half a header": behaviours.garbage(b"HTTP/1.1 200 OK\r\nContent-Le"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_each_span_arrives_exactly_once(collector: Collector, make: Make, fault: str) -> None:
    """The batch waits in its segment and is sent again, alone and in the middle of others."""
    accept = behaviours.accept
    collector.script = [FAULTS[fault], accept, accept, FAULTS[fault], FAULTS[fault]]
    recording = make(collector.endpoint, export_batch_size=50, timeout_s=0.2)
    recording.start()
    recording.write(range(1, 301))
    assert recording.pipeline.flush(60)
    assert collector.script == []
    assert exactly_once(collector, range(1, 301))


ACKNOWLEDGED: dict[str, Behaviour] = {
    "announces more than it sends": behaviours.claim_length(1000, b"short"),
    "announces less than it sends": behaviours.claim_length(3, b"x" * 500),
    "sends a second answer nobody asked for": behaviours.too_much,
    "drips its body": behaviours.drip_body,
    "answers without end": behaviours.endless,
    "ends its body by closing": behaviours.taken(b"HTTP/1.0 200 OK\r\n\r\n"),
    "sends its body in chunks": behaviours.taken(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\n\0\r\n0\r\n\r\n"
    ),
    "breaks off between chunks": behaviours.taken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n"),
    "sends garbage for a body": behaviours.taken(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff"
    ),
    "says 204": behaviours.taken(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "partial success": behaviours.partial(1, "no"),
    "partial success in JSON": behaviours.taken(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n"
        b'{"partialSuccess": {"rejectedSpans": "3"  }}'
    ),
}


@pytest.mark.parametrize("lie", ACKNOWLEDGED)
def test_status_200_counts_whatever_follows_it(collector: Collector, make: Make, lie: str) -> None:
    """A server that said 200 has the spans: what it lies about afterwards must not send them again."""
    collector.script = [ACKNOWLEDGED[lie]] * 2
    recording = make(collector.endpoint, export_batch_size=50, timeout_s=0.3)
    recording.write(range(1, 301))
    recording.start()
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 301))


@pytest.mark.parametrize("code", [400, 401, 404, 418, 500])
def test_a_refused_batch_is_not_sent_again(collector: Collector, make: Make, code: int) -> None:
    """Statuses that the specification calls final cost their batch, and it is counted."""
    collector.script = [behaviours.status(code)]
    recording = make(collector.endpoint, export_batch_size=50)
    recording.write(range(1, 101))
    recording.start()
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(51, 101))
    assert len(collector.requests) == 2
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 50


def test_an_absent_collector_gets_everything_when_it_comes(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Segments wait on the disk; one warning when it fails, one line when it is back, nothing in between."""
    caplog.set_level(logging.INFO, "noops_agent")
    port = free_port()
    recording = make(f"http://127.0.0.1:{port}/v1/traces")
    recording.start()
    for start in range(1, 3001, 100):
        recording.write(range(start, start + 100))
        recording.pipeline.flush(0.02)
    collector = Collector(port)
    try:
        assert recording.pipeline.flush(60)
        assert exactly_once(collector, range(1, 3001))
    finally:
        collector.close()
    said = [record.message for record in caplog.records if str(port) in record.message]
    assert len(said) == 2
    assert "connection refused" in said[0]


def test_a_collector_that_restarts_gets_each_span_once(make: Make) -> None:
    """Kept-alive connections to the old one are dropped without loss."""
    first = Collector()
    recording = make(first.endpoint)
    recording.start()
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    first.close()
    recording.write(range(101, 201))
    second = Collector(first.port)
    try:
        assert recording.pipeline.flush(60)
        assert exactly_once(first, range(1, 101))
        assert exactly_once(second, range(101, 201))
    finally:
        second.close()


def test_connections_are_kept_alive(collector: Collector, make: Make) -> None:
    """Many requests go over one connection."""
    recording = make(collector.endpoint, export_batch_size=10)
    recording.write(range(1, 201))
    assert recording.pipeline.flush(60)
    assert len(collector.requests) == 20
    assert len(collector._server.connections) == 1


def test_retry_after_is_waited_for(collector: Collector, make: Make) -> None:
    """In seconds and as a date; no second request comes before."""
    recording = make(collector.endpoint)
    for value in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        collector.script = [behaviours.status(429, Retry_After=value)]
        before = len(collector.requests)
        recording.write([before + 1])
        assert not recording.pipeline.flush(0.1)
        assert len(collector.requests) == before + 1
        (one,) = recording.pipeline._work().shipper.deliveries
        assert 200 < one.retry_at - time.monotonic() <= delivery.LONGEST_RETRY_AFTER_S
        one.retry_at = 0.0


def test_partial_success_is_counted_and_told(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's own words are in the warning."""
    collector.script = [behaviours.partial(7, "attribute keys\nare too long")]
    recording = make(collector.endpoint)
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    assert _diagnostics.counters()["otel.sdk.exporter.span.exported.failed"] == 7
    assert "7 spans rejected, attribute keys are too long" in caplog.text


def test_a_collector_that_takes_little_at_once_gets_little_at_once(collector: Collector, make: Make) -> None:
    """413 halves the batch until it passes."""
    collector.default = behaviours.refuse_above(40)
    recording = make(collector.endpoint)
    recording.write(range(1, 501))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 501))


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_silent_collector_holds_up_neither_application_nor_exit(collector: Collector, make: Make, fault: str) -> None:
    """stop() returns within its budget although a request is under way; this is the documented exit budget."""
    collector.default = getattr(behaviours, fault)
    recording = make(collector.endpoint, timeout_s=30)
    recording.write(range(1, 11))
    recording.start()
    assert collector.wait_until(lambda: len(collector.requests) == 1)
    before = time.monotonic()
    assert not recording.pipeline.stop(0.5)
    assert time.monotonic() - before < 2.0
    collector._server.cut()


def test_the_request_of_the_last_round_fits_into_the_exit_budget(collector: Collector, make: Make) -> None:
    """A collector that begins to hang at the very end is given up in time as well."""
    collector.default = behaviours.drip
    recording = make(collector.endpoint, timeout_s=30)
    recording.write(range(1, 11))
    before = time.monotonic()
    assert not recording.pipeline.stop(0.5)
    assert time.monotonic() - before < 2.0


# -- what is sent ------------------------------------------------------------------------------------------


def test_gzip_headers_and_user_agent_are_sent(collector: Collector, make: Make) -> None:
    """OTEL_EXPORTER_OTLP_HEADERS and _COMPRESSION."""
    recording = make(collector.endpoint, compression="gzip", headers={"x-api-key": "secret"})
    recording.write(range(1, 501))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 501))
    path, headers, size = collector.requests[0]
    assert path == "/v1/traces"
    assert headers["x-api-key"] == "secret"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["User-Agent"].startswith("OTel-OTLP-Exporter-Python/")
    assert size < 500 * 30


def test_json_is_what_the_specification_says(collector: Collector, make: Make) -> None:
    """OTLP/JSON has hexadecimal identifiers; the official messages read it back."""
    recording = make(collector.endpoint, protocol="http/json")
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    assert collector.requests[0][1]["Content-Type"] == "application/json"
    assert exactly_once(collector, range(1, 101))
    assert collector.spans[0].name == "span 1"


def test_credentials_in_the_url_are_sent_and_never_told(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """`http://user:password@host` becomes basic authentication; messages leave it out."""
    collector.script = [behaviours.status(503)]
    recording = make(collector.endpoint.replace("://", "://me:pass%40word@"))
    recording.write([1])
    assert recording.pipeline.flush(60)
    assert collector.requests[0][1]["Authorization"] == "Basic bWU6cGFzc0B3b3Jk"
    assert "word" not in caplog.text
    assert str(collector.port) in caplog.text


def test_a_proxy_of_the_environment_is_used_unless_excepted(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY gets the whole URL; NO_PROXY keeps its hosts direct."""
    proxy = Collector()
    try:
        proxied: list[str] = []

        def forward(handler: behaviours.Handler, body: bytes) -> None:
            proxied.append(handler.path)
            handler.collector.take("/v1/traces", handler.headers, body)
            handler.answer(200)

        proxy.default = forward
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        recording = make("http://collector.invalid:4318/v1/traces")
        recording.write([1])
        assert recording.pipeline.flush(60)
        assert proxied == ["http://collector.invalid:4318/v1/traces"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = make(collector.endpoint)
        direct.write([2])
        assert direct.pipeline.flush(60)
        assert exactly_once(collector, range(2, 3))
        assert len(proxied) == 1
    finally:
        proxy.close()


def test_an_address_of_version_6_is_understood(core: ModuleType, tmp_path: Path) -> None:
    """Its brackets belong to the URL alone."""
    try:
        collector = Collector(host="::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    recording = Recording(core, tmp_path / "state", None, exporters=("otlp",), traces_endpoint=collector.endpoint)
    recording.write([1])
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 2))
    recording.close()
    collector.close()


# -- TLS ---------------------------------------------------------------------------------------------------


def make_certificates(folder: Path) -> None:
    """Make an authority, a server's certificate for 127.0.0.1 and a client's, by the openssl command."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
        "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign",
    )  # fmt: skip
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", "san",
        )  # fmt: skip


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    try:
        make_certificates(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the openssl command can't make certificates: {error}")
    return folder


@pytest.fixture
def tls_collector(certificates: Path) -> Iterator[Collector]:
    """A collector that speaks TLS and wants a certificate of its clients."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    made = Collector(tls=context)
    yield made
    made.close()


def test_client_certificates_are_shown_and_the_servers_is_checked(
    tls_collector: Collector, make: Make, certificates: Path
) -> None:
    """Mutual TLS by OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY; connections are kept."""
    recording = make(
        tls_collector.endpoint,
        certificate=str(certificates / "ca.pem"),
        client_certificate=str(certificates / "client.pem"),
        client_key=str(certificates / "client.key"),
        export_batch_size=20,
    )
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    assert exactly_once(tls_collector, range(1, 101))
    assert len(tls_collector._server.connections) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"certificate": None}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ({"certificate": "/nowhere/ca.pem"}, "No such file"),
    ],
)
def test_a_certificate_that_is_not_trusted_or_missing_is_explained(
    tls_collector: Collector, make: Make, change: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent to a server that nobody vouches for; the spans wait."""
    recording = make(tls_collector.endpoint, **change)
    recording.write([1])
    assert not recording.pipeline.flush(0.3)
    assert told in caplog.text
    assert tls_collector.requests == []


def test_drips_are_cut_off_under_tls_as_well(tls_collector: Collector, make: Make, certificates: Path) -> None:
    """The deadline of a request holds for the bytes behind the encryption too."""
    tls_collector.script = [behaviours.drip]
    recording = make(
        tls_collector.endpoint,
        certificate=str(certificates / "ca.pem"),
        client_certificate=str(certificates / "client.pem"),
        client_key=str(certificates / "client.key"),
        timeout_s=0.3,
    )
    recording.write(range(1, 11))
    recording.start()
    assert recording.pipeline.flush(60)
    assert exactly_once(tls_collector, range(1, 11))


class Tunnel:
    """A proxy that understands CONNECT alone."""

    def __init__(self, port: int) -> None:
        self.asked: list[bytes] = []
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.asked.append(client.recv(65536))
            server = socket.create_connection(("127.0.0.1", self._to))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


def test_https_goes_through_a_tunnel_of_the_proxy(
    tls_collector: Collector, make: Make, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY gets CONNECT with its own credentials, and sees nothing of the request."""
    tunnel = Tunnel(tls_collector.port)
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{tunnel.port}")
    recording = make(
        f"https://localhost:{tls_collector.port}/v1/traces",
        certificate=str(certificates / "ca.pem"),
        client_certificate=str(certificates / "client.pem"),
        client_key=str(certificates / "client.key"),
        headers={"x-api-key": "for-the-collector-only"},
    )
    recording.write(range(1, 11))
    assert recording.pipeline.flush(60)
    assert exactly_once(tls_collector, range(1, 11))
    (asked,) = tunnel.asked
    assert asked.startswith(b"CONNECT localhost:%d " % tls_collector.port)
    assert b"bWU6c2VjcmV0" in asked
    assert b"for-the-collector-only" not in asked
    tunnel.close()


# -- mistakes that are explained ---------------------------------------------------------------------------

HTTP2_SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"

MISTAKES: dict[str, tuple[Behaviour, str, str]] = {
    "a gRPC server": (behaviours.garbage(HTTP2_SETTINGS), "/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    "a TLS server": (behaviours.garbage(TLS_ALERT), "/v1/traces", "use https://"),
    "a TLS server that is polite": (
        behaviours.status(400, b"Client sent an HTTP request to an HTTPS server.", Content_Type="text/plain"),
        "/v1/traces",
        "use https://",
    ),
    "the path twice": (behaviours.status(404), "/v1/traces/v1/traces", "stands twice"),
    "no path": (behaviours.status(404), "/", "ends with /v1/traces"),
    "a path nobody serves": (behaviours.status(404), "/v1/traces", "nothing takes OTLP"),
    "a wrong method": (behaviours.status(405), "/api", "ends with /v1/traces"),
    "a protocol it does not take": (behaviours.status(415), "/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"),
    "a web page": (behaviours.status(200, b"<html>", Content_Type="text/html; charset=utf-8"), "/", "web page"),
    "a web page at the right path": (
        behaviours.status(200, b"<html>", Content_Type="text/html"),
        "/v1/traces",
        "nothing takes OTLP",
    ),
    "no credentials": (behaviours.status(401), "/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS"),
    "a redirect": (behaviours.status(308, Location="https://real.example/v1/traces"), "/v1/traces", "real.example"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_in_one_line(
    collector: Collector, make: Make, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure says what to change, and nothing is said twice."""
    behave, path, told = MISTAKES[mistake]
    collector.default = behave
    recording = make(f"http://127.0.0.1:{collector.port}{path}", export_batch_size=5)
    recording.write(range(1, 21))
    recording.pipeline.flush(0.3)
    (said,) = [record.message for record in caplog.records]
    assert told in said or (mistake == "a web page" and "ends with /v1/traces" in said)
    assert "\n" not in said
    collector.default = behaviours.accept


def test_https_against_a_plain_port_is_explained(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The other way round."""
    recording = make(collector.endpoint.replace("http:", "https:"))
    recording.write([1])
    assert not recording.pipeline.flush(0.3)
    assert "use http://" in caplog.text


def test_port_4317_for_http_is_explained_by_the_port(core: ModuleType) -> None:
    """A server there that just closes tells nothing, so the number has to."""
    from noops_agent._export.mistakes import explain_error

    from .recording import settings_of

    target = settings_of({"traces_endpoint": "http://collector:4317/v1/traces"}).otlp_traces
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in explain_error(ConnectionResetError(104, "reset"), target)


# -- other worlds ------------------------------------------------------------------------------------------

GEVENT = """
import sys
{before}
import threading, time
from noops_agent._core import native, python
from noops_agent._env import start_thread
from tests.adversity.recording import Recording
{after}
import socket
recording = Recording(native or python, sys.argv[1], None, traces_endpoint=sys.argv[2])
start_thread(recording.pipeline.run)
recording.write(range(1, 201))
print(recording.pipeline.flush(30), socket.socket.__module__)
recording.pipeline.stop(10)
recording.recorder.close()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_program_patched_by_gevent_ships_from_a_real_thread(
    collector: Collector, tmp_path: Path, moment: str
) -> None:
    """Whether it was patched before or after we were loaded."""
    pytest.importorskip("gevent")
    patch = "import gevent.monkey; gevent.monkey.patch_all()"
    parts = {"before": "", "after": "", moment: patch}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEVENT.format(**parts), str(tmp_path), collector.endpoint],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "True gevent" in done.stdout, done.stderr
    assert exactly_once(collector, range(1, 201))


def test_a_forked_child_does_not_disturb_its_parents_connection(collector: Collector, make: Make) -> None:
    """Both go on to send, each by its own connection."""
    recording = make(collector.endpoint)
    recording.write(range(1, 101))
    assert recording.pipeline.flush(60)
    child = os.fork()
    if child == 0:
        try:
            recording.write(range(101, 201))
            recording.pipeline.flush(30)
            recording.pipeline.stop(10)
            recording.recorder.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    recording.write(range(201, 301))
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 301))
    assert len(collector._server.connections) == 2


def test_applications_threads_do_not_wait_for_a_hanging_collector(collector: Collector, make: Make) -> None:
    """Spans of ten threads go on while a request hangs, and all arrive once it does not."""
    collector.script = [behaviours.hang]
    recording = make(collector.endpoint, timeout_s=1.0)
    recording.start()
    recording.write([1])
    assert collector.wait_until(lambda: len(collector.requests) == 1)
    threads = [threading.Thread(target=recording.write, args=(range(2 + 100 * i, 102 + 100 * i),)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collector.spans) == 0
    assert recording.pipeline.flush(60)
    assert exactly_once(collector, range(1, 1002))


def test_an_unresolvable_host_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Names that lead nowhere fail like absent collectors."""
    recording = make("http://collector.invalid:4318/v1/traces")
    recording.write([1])
    assert not recording.pipeline.flush(0.5)
    assert "collector.invalid" in caplog.text


def test_no_port_is_left_listening_by_the_tests() -> None:
    """The free port helper gives ports that can be bound."""
    port = free_port()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
