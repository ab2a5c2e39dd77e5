"""What servers tell of themselves: real ones, read from inside while they work."""

from __future__ import annotations

import gc
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from noops_agent.instrument.server_metrics import backlog

from .conftest import Observe

READER = """
import json, os, signal, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from noops_agent.instrument import enable

reader = InMemoryMetricReader()
enable(sys.argv[1], meter_provider=MeterProvider([reader], shutdown_on_exit=False))

def show(who):
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else ()
    found = {metric.name.removeprefix("noops.server."): metric.data.data_points[0].value for metric in metrics}
    os.write(1, (json.dumps([who, found]) + "\\n").encode())
"""

GUNICORN = (
    READER
    + """
from gunicorn.app.base import BaseApplication

class Shop(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": "127.0.0.1:0", "workers": 2, "worker_class": "gthread", "loglevel": "critical",
            "pre_fork": lambda arbiter, worker: third(worker),
            "post_worker_init": lambda worker: begun(worker),
        }.items():
            self.cfg.set(name, value)
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)

    def load(self):
        return lambda environ, start_response: [b""]

def begun(worker):
    if worker.age == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    show(f"worker {worker.age}")

def third(worker):
    if worker.age == 3:
        show("arbiter")
        os.kill(os.getpid(), signal.SIGTERM)

Shop().run()
"""
)

GRANIAN = (
    READER
    + """
from granian.server.mp import MPServer

class Observed(MPServer):
    def _serve_loop(self, spawn_target, target_loader):
        worker = type(self.wrks[0])
        worker.terminate = worker.kill  # they may not have come to listen to a milder signal
        show("started")
        self._respawn_workers([0], spawn_target, target_loader)
        show("respawned")

def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]

if __name__ == "__main__":
    Observed("server:app", port=int(sys.argv[2]), interface="wsgi", workers=2, log_enabled=False).serve()
"""
)

UVICORN = (
    READER
    + """
async def app(scope, receive, send):
    pass

def kill(supervisor):
    for worker in supervisor.processes:
        worker.process.kill()
        worker.join()

if __name__ == "__main__":
    import socket
    from uvicorn import Config
    from uvicorn.supervisors import Multiprocess

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config("server:app", workers=2, log_level="critical", lifespan="off")
        supervisor = Multiprocess(config, [listener])
        supervisor.init_processes()
        show("started")
        kill(supervisor)
        show("killed")
        supervisor.keep_subprocess_alive()
        show("respawned")
        kill(supervisor)
"""
)


def shown(tmp_path: Path, code: str, *arguments: str) -> list[Any]:
    """What a program shows, line by line."""
    program = tmp_path / "server.py"
    program.write_text(code)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, timeout=30, env=environ, cwd=tmp_path
    )
    lines = [line for line in finished.stdout.decode().splitlines() if line.startswith("[")]
    assert lines, finished.stderr.decode()
    return [json.loads(line) for line in lines]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def value(seen: Any, name: str) -> int:
    (point,) = seen.metrics()[f"noops.server.{name}"]
    return int(point.value)


def test_uvicorn_tells_connections_and_requests(observed: Observe) -> None:
    """Asked from inside the second request: one is answered, one is being answered, on one connection."""
    uvicorn = pytest.importorskip("uvicorn")
    told: list[dict[str, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        numbers = {name: points[0].value for name, points in seen.metrics().items()}
        told.append({name.removeprefix("noops.server."): number for name, number in numbers.items()})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with observed("uvicorn") as seen, socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        assert seen.metrics() == {}  # it does not serve yet
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        connection = http.client.HTTPConnection(*listener.getsockname(), timeout=10)
        for _ in range(2):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b""
        connection.close()
        server.should_exit = True
        thread.join()
        assert told[0].items() >= {"connections": 1, "requests.active": 1}.items()
        assert told[1]["requests"] == told[0]["requests"] + 1
        if sys.platform == "linux":
            assert told[0]["backlog"] == 0
        del server
        gc.collect()
        assert seen.metrics() == {}  # an object that is gone is not told of


def test_uvicorn_tells_workers_and_those_that_were_replaced(tmp_path: Path) -> None:
    """Where it was asked for several, a supervisor starts them, and starts others in place of those that die."""
    pytest.importorskip("uvicorn")
    told = dict(shown(tmp_path, UVICORN, "uvicorn"))
    assert told == {
        "started": {"workers": 2},
        "killed": {"workers": 0},
        "respawned": {"workers": 2, "worker.respawns": 2},
    }


def test_gunicorn_tells_workers_and_their_exits(tmp_path: Path) -> None:
    """A worker is killed, the arbiter counts it. A forked worker has a copy of the arbiter, but doesn't tell of it."""
    pytest.importorskip("gunicorn")
    told = dict(shown(tmp_path, GUNICORN, "gunicorn"))
    arbiter = told["arbiter"]
    assert (arbiter["workers"], arbiter["worker.exits"]) == (1, 1)
    assert arbiter.get("backlog", 0) == 0
    assert told["worker 2"] == {"requests": 0, "connections": 0}


def test_granian_tells_workers_and_those_that_were_replaced(tmp_path: Path) -> None:
    """Its main process knows both."""
    pytest.importorskip("granian")
    told = dict(shown(tmp_path, GRANIAN, "granian", str(free_port())))
    assert told == {"started": {"workers": 2}, "respawned": {"workers": 2, "worker.respawns": 1}}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long the queue of a listening socket is")
def test_the_backlog_is_what_waits_to_be_accepted() -> None:
    """Sockets that don't listen, or are closed, count for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as idle:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        assert backlog([listener, idle, clients[0]]) == 2
        for client in clients:
            client.close()
    assert backlog([listener]) is None
