"""`noops-agent doctor`: what is on, where it goes, whether it arrives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from noops_agent import __version__

from .conftest import Collector
from .store import Process, make_span

DOCTOR = (sys.executable, "-m", "noops_agent", "doctor")


def run_doctor(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command; it looks at libraries only where a test says which, for that takes seconds."""
    environ = {**os.environ, "NOOPS_INSTRUMENT": "none", **environ}
    return subprocess.run([*DOCTOR, *words], capture_output=True, text=True, timeout=120, check=False, env=environ)


def examined(*words: str, **environ: str) -> tuple[bool, dict[str, list[tuple[str, str]]]]:
    """Whether all is fine, and what it found, by topic; the status and the streams agree with that."""
    done = run_doctor("--json", *words, **environ)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["fine"] else 1)
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in told["findings"]:
        found.setdefault(finding["topic"], []).append((finding["state"], finding["text"]))
    return told["fine"], found


def test_a_fresh_installation_is_fine() -> None:
    """Interpreter, core, settings, injection, state folder, and where records go."""
    fine, found = examined()
    assert fine
    assert found["interpreter"][0][1].startswith(f"CPython {sys.version.split()[0]}")
    assert found["agent"][0][1].startswith(f"noops_agent {__version__}, ")
    assert found["injection"] == [("ok", "the agent starts in a program under `noops-agent run`")]
    assert found["state folder"][0][1].startswith(os.environ["NOOPS_STATE_DIR"])
    assert found["export"] == [("ok", "records stay on this machine; `noops-agent show` shows them")]


def test_it_leaves_nothing_behind() -> None:
    """Neither its look at the state folder nor the program that it starts records anything."""
    run_doctor()
    assert os.listdir(Path(os.environ["NOOPS_STATE_DIR"], "segments")) == []


def test_a_span_arrives_at_the_collector(collector: Collector) -> None:
    """Under the name of the user's service, by the way that all spans take."""
    fine, found = examined(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_SERVICE_NAME="shop")
    assert fine
    ((state, text),) = found["export"]
    assert state == "ok"
    assert text.startswith(
        f"{collector.endpoint}/v1/traces took the span 'noops_agent doctor' of the service 'shop' in "
    )
    (received,) = collector.received()
    assert (received.service, received.span.name) == ("shop", "noops_agent doctor")
    assert len(received.span.trace_id) == 16
    assert received.span.end_time_unix_nano > received.span.start_time_unix_nano


def test_a_collector_that_is_not_there_is_said() -> None:
    """With the address that was tried."""
    fine, found = examined(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert not fine
    assert found["export"][0][0] == "wrong"
    assert "/v1/traces did not take a span" in found["export"][0][1]
    assert "connection refused" in found["export"][0][1]


@pytest.fixture
def http2_server() -> Iterator[int]:
    """A port of a server that speaks HTTP/2 alone, as gRPC does: it answers with its settings frame."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"\0\0\6\4\0\0\0\0\0\0\5\0\0\x40\0")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


def test_the_port_of_grpc_is_explained(http2_server: int) -> None:
    """The most frequent mistake: OTLP over HTTP to port 4317."""
    fine, found = examined(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{http2_server}")
    assert not fine
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in found["export"][0][1]


def test_secrets_are_not_shown(collector: Collector) -> None:
    """People paste the output into tickets."""
    endpoint = collector.endpoint.replace("http://", "http://user:password@")
    done = run_doctor(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hush")
    assert done.returncode == 0
    assert "authorization=****" in done.stdout
    assert not any(word in done.stdout for word in ("hush", "password", "user:"))


def test_settings_are_shown_with_their_origin() -> None:
    """Those that are not at their default, and what could not be read."""
    fine, found = examined(NOOPS_SAMPLE_BUDGET="50", NOOPS_SERVCE_NAME="shop", OTEL_BSP_SCHEDULE_DELAY="soon")
    assert not fine
    states = {text: state for state, text in found["settings"]}
    assert states["sample_budget = 50.0 (NOOPS_SAMPLE_BUDGET)"] == "ok"
    wrong = "\n".join(text for text, state in states.items() if state == "wrong")
    assert "NOOPS_SERVCE_NAME is no setting" in wrong
    assert "did you mean NOOPS_SERVICE_NAME?" in wrong
    assert "OTEL_BSP_SCHEDULE_DELAY: 'soon'" in wrong


def test_an_agent_that_is_off_is_wrong() -> None:
    """With the variable that did it."""
    fine, found = examined(OTEL_SDK_DISABLED="true")
    assert not fine
    assert ("wrong", "the agent is switched off by OTEL_SDK_DISABLED") in found["settings"]
    assert "injection" not in found


def test_an_agent_that_does_not_start_is_explained(tmp_path: Path) -> None:
    """Injection is silent by design; here is the place where its reason is told."""
    (tmp_path / "contextvars.py").write_text(
        "import os\n"
        "from _contextvars import Context, ContextVar, Token, copy_context\n"
        "if 'NOOPS_RUN' in os.environ: raise RuntimeError('the reason')\n"
    )
    fine, found = examined(PYTHONPATH=str(tmp_path))
    assert not fine
    told = "the agent does not start under `noops-agent run`: RuntimeError: the reason"
    assert found["injection"] == [("wrong", told)]


def test_a_damaged_installation_is_said(tmp_path: Path) -> None:
    """One line, where a package that we need can't be imported."""
    (tmp_path / "opentelemetry.py").write_text("")
    done = run_doctor(PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("noops-agent: `doctor` can't be loaded: No module named 'opentelemetry.")
    assert done.stderr.count("\n") == 1


def test_a_state_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    place = tmp_path / "taken"
    place.write_text("")
    fine, found = examined("--no-probe", NOOPS_STATE_DIR=str(place))
    assert not fine
    assert found["state folder"][0][0] == "wrong"
    assert f"{place} can't be written (" in found["state folder"][0][1]


def test_what_waits_is_counted() -> None:
    """Living processes, and what dead ones left for a collector; nothing of it is changed."""
    state = Path(os.environ["NOOPS_STATE_DIR"])
    living = Process(state, "shop")
    living.write(make_span("work"))
    left = Process(state, "shop")
    left.write(*[make_span("work " + "x" * 500) for _ in range(100)])
    header = bytes(left.segments[0].memory[:128])
    left.segments[0].memory[48:64] = b"\7" * 16
    assert bytes(left.segments[0].memory[:128]) != header
    left.end()
    before = sorted(path for path in state.rglob("*") if path.is_file())
    _, found = examined("--no-probe")
    text = found["state folder"][1][1]
    assert "1 process recording now" in text
    assert "KiB waiting for a collector" in text
    assert "what 1 that ended left is sent by the next program with the same destination" in text
    assert sorted(path for path in state.rglob("*") if path.is_file()) == before
    living.end()


def test_the_python_core_is_noted() -> None:
    """With the reason."""
    fine, found = examined("--no-probe", NOOPS_CORE="python")
    assert fine
    assert found["agent"][0][0] == "note"
    assert "NOOPS_CORE=python asks for it" in found["agent"][0][1]


def test_other_agents_are_noted(tmp_path: Path) -> None:
    """Installed ones by their distribution, and a sitecustomize that comes along with ours."""
    folder = tmp_path / "ddtrace-9.9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ddtrace\nVersion: 9.9.9\n")
    (tmp_path / "sitecustomize.py").write_text("")
    done = run_doctor("--no-probe", PYTHONPATH=str(tmp_path))
    assert "ddtrace 9.9.9 is installed: patches the same libraries" in done.stdout
    assert f"PYTHONPATH names {tmp_path}; its sitecustomize runs after ours" in done.stdout


@pytest.mark.parametrize(
    ("environ", "state", "text"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, "note", "nothing is exported, by OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "ok", "spans are printed to standard output"),
        ({"OTEL_TRACES_EXPORTER": "nosuch"}, "wrong", "no installed package offers 'nosuch'"),
    ],
)
def test_other_exporters_are_told(environ: dict[str, str], state: str, text: str) -> None:
    """Each by what it does."""
    _, found = examined(**environ)
    assert found["export"][0][0] == state
    assert text in found["export"][0][1]


def test_without_probe_nothing_is_sent(collector: Collector) -> None:
    """For machines where a span of ours would be in the way."""
    fine, found = examined("--no-probe", OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert fine
    assert found["export"] == [("ok", f"{collector.endpoint}/v1/traces, not tried")]
    assert collector.received() == []


def test_the_text_ends_with_a_verdict() -> None:
    """For people: one line for each finding, a mark before it, no colours in a pipe."""
    done = run_doctor("--no-probe")
    assert done.stdout.splitlines()[-1] == "All is well."
    assert "\x1b" not in done.stdout
    wrong = run_doctor("--no-probe", OTEL_SDK_DISABLED="true", PYTHONIOENCODING="ascii")
    assert wrong.stdout.splitlines()[-1] == "1 thing to put right."
    assert wrong.stdout.isascii()


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


# ---- libraries -------------------------------------------------------------------------------------------

ALL = {"NOOPS_INSTRUMENT": "all"}


def told_of(library: str, texts: list[tuple[str, str]]) -> tuple[str, str]:
    """What it says of one library."""
    (found,) = [(state, text) for state, text in texts if text.startswith((f"{library} ", f"{library}:"))]
    return found


def test_each_library_that_is_installed_is_listed_with_its_version() -> None:
    """Imported, and patched, by a program of doctor's own."""
    flask = metadata.version("flask")
    _, found = examined(**ALL)
    state, text = found["libraries"][0]
    assert state == "ok"
    assert text.startswith("patched: ")
    assert {f"flask {flask}", "sqlite3", "threading"} <= set(text.removeprefix("patched: ").split(", "))


def test_a_library_that_is_switched_off_is_told() -> None:
    """Whoever misses its spans finds out why."""
    _, found = examined(NOOPS_DISABLE="flask", **ALL)
    assert told_of("flask", found["libraries"]) == ("note", "flask: skipped: the settings leave it out")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.20.0", "aiosqlite 0.20.0: partly patched: aiosqlite"),
        ("0.1.0", "aiosqlite: skipped: aiosqlite 0.1.0 is older than >=0.17"),
    ],
)
def test_a_library_that_is_not_as_expected_is_told(tmp_path: Path, version: str, expected: str) -> None:
    """Targets that are missing, and versions that are too old."""
    (tmp_path / "aiosqlite").mkdir()
    (tmp_path / "aiosqlite" / "__init__.py").write_text("")
    (tmp_path / "aiosqlite" / "core.py").write_text("class Connection: pass")
    (tmp_path / f"aiosqlite-{version}.dist-info").mkdir()
    _, found = examined(PYTHONPATH=str(tmp_path), **ALL)
    state, text = told_of("aiosqlite", found["libraries"])
    assert state == "note"
    assert text.startswith(expected)


def test_without_a_probe_libraries_are_named_and_not_imported() -> None:
    """`--no-probe` starts nothing."""
    _, found = examined("--no-probe", **ALL)
    assert found["libraries"][0][1].startswith("installed, not tried: ")


def test_no_library_is_asked_for_where_none_is_wanted() -> None:
    """And it says by what."""
    _, found = examined()
    assert found["libraries"] == [("note", "none is instrumented, by NOOPS_INSTRUMENT")]
