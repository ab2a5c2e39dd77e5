"""Real servers under `noops-agent run`: each request is one trace of one span, and the command line is none."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = "tests.instrumentation.programs.served"
ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 3
SERVERS = {
    "uvicorn": (f"--factory {PROGRAMS}:fastapi --port {{port}}", "GET /users/{number}"),
    "gunicorn": (f"{PROGRAMS}:flask() --bind 127.0.0.1:{{port}}", "GET /users/<int:number>"),
    "granian": (f"--interface wsgi {PROGRAMS}:wsgi --port {{port}}", "GET"),
    "waitress": (f"--listen 127.0.0.1:{{port}} --call {PROGRAMS}:flask", "GET /users/<int:number>"),
}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fetched(port: int, process: subprocess.Popen[bytes]) -> bytes:
    """Make a request as soon as somebody listens."""
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/users/7", timeout=10) as response:
                return response.read()  # type: ignore[no-any-return]
        except ConnectionError as error:
            failure: Exception = error
        except urllib.error.URLError as error:
            failure = error
        if process.poll() is not None or time.monotonic() > until:
            raise failure
        time.sleep(0.05)  # a server that isn't there yet tells nobody when it will be


def traces(state: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Read what was recorded."""
    words = ["noops_agent", "show", "--json", "--all", "--limit", "0", "--state-dir"]
    command = [sys.executable, "-m", *words, str(state)]
    shown = subprocess.run(command, env=environment, capture_output=True).stdout
    return json.loads(shown or "[]")  # type: ignore[no-any-return]


@pytest.mark.parametrize("server", SERVERS)
def test_each_request_is_a_trace_of_one_span(tmp_path: Path, server: str) -> None:
    """Without a line of code; a server that runs for weeks has no span around it, and FastAPI none beside ours."""
    words, route = SERVERS[server]
    if importlib.util.find_spec(server) is None:
        pytest.skip(f"{server} is not installed: pip install -e '.[test]'")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NOOPS_"))}
    environment |= {"NOOPS_STATE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    given = words.format(port=port).split()
    command = [sys.executable, "-m", "noops_agent", "run", sys.executable, "-m", server, *given]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=null, stderr=null) as process:
        try:
            for _ in range(REQUESTS):
                assert fetched(port, process) == b"here"
            until = time.monotonic() + 10  # a client has its answer before the server has done with it
            while len(traces(tmp_path, environment)) < REQUESTS and time.monotonic() < until:
                pass
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    found = traces(tmp_path, environment)
    assert [[span["name"] for span in trace["spans"]] for trace in found] == [[route]] * REQUESTS
    assert {span["attributes"]["server.port"] for trace in found for span in trace["spans"]} == {port}
