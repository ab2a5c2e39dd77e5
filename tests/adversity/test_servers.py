"""Real servers under `noops-agent run`: every request is recorded, and a signal ends them as without the agent."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
from collections import Counter
from typing import Any

import pytest

from .collector import free_port
from .launch import PROGRAMS, Ended, Launch, resources, wait_until

REQUESTS = 20
SERVERS = {
    "waitress": ["waitress", "--listen=127.0.0.1:{port}", "web:app"],
    "flask": ["flask", "--app", "web", "run", "--port", "{port}"],
    "uvicorn": ["uvicorn", "web:asgi", "--port", "{port}"],
    "uvicorn-workers": ["uvicorn", "web:asgi", "--port", "{port}", "--workers", "2"],
    "gunicorn": ["gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "web:app"],
    "gunicorn-preload": ["gunicorn", "--preload", "-w", "2", "-b", "127.0.0.1:{port}", "web:app"],
    "gunicorn-threads": ["gunicorn", "-w", "1", "--threads", "4", "-b", "127.0.0.1:{port}", "web:app"],
    "gunicorn-gevent": ["gunicorn", "-w", "1", "-k", "gevent", "-b", "127.0.0.1:{port}", "web:app"],
}


def run(launch: Launch, *words: str, agent: bool = True, **variables: str) -> Any:
    """Start a command under `noops-agent run`; or the bare command."""
    wrapper = [sys.executable, "-m", "noops_agent", "run"] if agent else []
    quiet = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}
    return launch.command(*wrapper, sys.executable, "-m", *words, agent=agent, **quiet, **variables)


def serve(launch: Launch, server: str, number: int, agent: bool) -> Ended:
    """Start a server, ask it some times, and end it by a signal."""
    port = free_port()
    process = run(launch, *(word.format(port=port) for word in SERVERS[server]), agent=agent)
    assert wait_until(lambda: listens(port) or process.poll() is not None, 20.0)
    assert process.poll() is None, process.communicate()[1]
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Connection": "close"})
        assert connection.getresponse().read() == b"ok"
        connection.close()
    return launch.end(process, number)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_delivers_its_last_records_and_ends_as_without_us(launch: Launch, server: str, number: int) -> None:
    """Whatever it does with signals: none at all, a handler of its own, one that raises the signal again."""
    bare = serve(launch, server, number, agent=False)
    assert not launch.collector.requests
    ended = serve(launch, server, number, agent=True)
    assert ended.status == bare.status, ended.err
    assert "Traceback" not in ended.err.replace("KeyboardInterrupt", "") or "Traceback" in bare.err
    assert ended.ids.total() == REQUESTS
    assert launch.collector.span_ids() == ended.ids
    pids = ended.pids
    for attributes, span in resources(launch.collector):
        assert attributes["process.pid"] == pids[span.span_id]


def redis_answers() -> bool:
    """Whether there is a Redis on this machine."""
    return listens(6379)


@pytest.mark.skipif(not redis_answers(), reason="no Redis listens on 127.0.0.1:6379")
def test_celery_children_that_end_after_one_task_lose_nothing(launch: Launch) -> None:
    """Ten tasks, ten children, ten spans; children leave by `os._exit`, past every hook of the interpreter."""
    from celery import Celery

    variables = {"BROKER": "redis://127.0.0.1:6379/9", "QUEUE": f"noops-{os.getpid()}-{free_port()}"}
    words = ["celery", "-A", "tasks", "worker", "-c", "2", "--max-tasks-per-child", "1", "--loglevel", "WARNING"]
    process = run(launch, *words, "--without-gossip", "--without-mingle", "--without-heartbeat", **variables)
    sender = Celery("sender", broker=variables["BROKER"], backend=variables["BROKER"])
    sender.conf.task_default_queue = variables["QUEUE"]
    sender.conf.result_backend_transport_options = {"global_keyprefix": variables["QUEUE"]}
    results = [sender.send_task("work", (number,)) for number in range(10)]
    pids = [result.get(timeout=30) for result in results]
    for result in results:
        result.forget()
    ended = launch.end(process, signal.SIGTERM)
    assert ended.status == 0, ended.err
    assert len(set(pids)) == 10
    expected: Counter[bytes] = ended.ids
    assert expected.total() == 10
    launch.adopt(expected)
    assert launch.arrived() == expected
    assert sorted(ended.pids.values()) == sorted(pids)


UWSGI = os.path.join(os.path.dirname(sys.executable), "uwsgi")


@pytest.mark.skipif(not os.path.exists(UWSGI), reason="uWSGI is not installed beside this interpreter")
@pytest.mark.parametrize("threads", [[], ["--enable-threads"]], ids=["plain", "threads"])
@pytest.mark.parametrize("app", ["web:app", "recording_web:app"])
def test_uwsgi_workers_that_were_forked_in_c_lose_nothing(launch: Launch, app: str, threads: list[str]) -> None:
    """Each worker records for itself, though the application was loaded, and may have recorded, in their parent."""
    port = free_port()
    words = [UWSGI, "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2", "--die-on-term"]
    words += [*threads, "--module", app, "--venv", sys.prefix, "--pythonpath", str(PROGRAMS)]
    process = launch.command(*words)
    assert wait_until(lambda: listens(port) or process.poll() is not None, 20.0)
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Connection": "close"})
        assert connection.getresponse().read() == b"ok"
        connection.close()
    ended = launch.end(process, signal.SIGTERM)
    expected = ended.ids
    assert expected.total() >= REQUESTS, ended.err
    launch.adopt(expected)
    assert launch.arrived() == expected
    pids = ended.pids
    for attributes, span in resources(launch.collector):
        assert attributes["process.pid"] == pids.get(span.span_id, attributes["process.pid"])
