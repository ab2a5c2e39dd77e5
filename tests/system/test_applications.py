"""Applications as people write them, under `noops-agent run`, on real servers: what is told, and what they notice.

The applications are in the folder beside this file. Each is asked the same with and without the agent.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ..adversity.collector import Collector, free_port
from ..adversity.launch import SOURCES, Ended, Launch, wait_until

APPLICATIONS = Path(__file__).parent / "applications"
SERVER = Span.SPAN_KIND_SERVER


def get(target: str, *headers: str) -> bytes:
    """Write a request."""
    lines = (f"GET {target} HTTP/1.1", "Host: 127.0.0.1:PORT", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1")


BROKEN = (
    get("/", "traceparent: 00-zz-b7ad6b7169203331-01", "tracestate: foo@=1,=", "baggage: " + "a=b," * 500),
    get("/", "X-Big: " + "y" * 6000),
    get("/?a=1&sig=secret&X-Amz-Signature=secret"),
)
"""Requests of nobody's client; they are as good as any other."""


class Application(NamedTuple):
    """One application in one server."""

    words: tuple[str, ...]
    needs: tuple[str, ...]
    """Modules."""
    services: tuple[int, ...]
    """Ports of this machine."""
    names: dict[bytes, tuple[str, ...]]
    """Request -> names of the spans that it makes, in order of their beginning."""


POSTGRES, REDIS = 5432, 6379
FLASK: dict[bytes, tuple[str, ...]] = {
    get("/orders/5"): ("GET /orders/<int:order>", "SET", "DEL", "SELECT"),
    get("/stream"): ("GET /stream", "SELECT"),
    get("/broken-stream"): ("GET /broken-stream",),
    get("/boom"): ("GET /boom",),
    get("/bad-sql"): ("GET /bad-sql", "SELECT nowhere"),
    get("/abort/404"): ("GET /abort/<int:code>",),
    get("/nowhere"): ("GET",),
    get("/api/v1/items/%ff%fe?x=%ff"): ("GET /api/v1/items/<path:name>",),
    get("http://user:secret@127.0.0.1/"): ("GET /",),
}
FASTAPI: dict[bytes, tuple[str, ...]] = {
    get("/users/1"): ("GET /users/{user}", "SELECT"),
    get("/users/x"): ("GET /users/{user}",),
    get("/sync/3"): ("GET /sync/{number}",),
    get("/proxy/1"): ("GET /proxy/{number}", *("GET",) * 2, *("GET /users/{user}",) * 2, *("SELECT",) * 2),
    get("/background"): ("GET /background", "background later", "SELECT"),
    get("/stream"): ("GET /stream", "SELECT"),
    get("/boom"): ("GET /boom",),
    get("/router/items/%ff"): ("GET /router/items/{item}",),
    get("/sub/things/y"): ("GET /sub/things/{thing}",),
    get("/sub/boom"): ("GET /sub/boom",),
    get("/nowhere"): ("GET",),
    get("http://user:secret@127.0.0.1/"): ("GET",),
}
CONNECTED = ("SELECT", "SELECT")
"""Django sets the time zone of each connection, which it makes anew for each request."""
DJANGO: dict[bytes, tuple[str, ...]] = {
    get("/users/5/"): ("GET /users/<int:number>/", *CONNECTED),
    get("/ausers/5/"): ("GET /ausers/<int:number>/", *CONNECTED),
    get("/boom/"): ("GET /boom/",),
    get("/missing/"): ("GET /missing/",),
    get("/nowhere/"): ("GET",),
    get("/inner/things/abc/"): ("GET /inner/things/<slug:name>/",),
    get("/admin/login/"): ("GET /admin/login/",),
    get("/?fail=middleware"): ("GET",),
}
AIOHTTP: dict[bytes, tuple[str, ...]] = {
    get("/users/9"): ("GET /users/{user}", "SET", "MULTI"),
    get("/proxy"): ("GET /proxy", "GET", "GET /users/{user}", "SET", "MULTI"),
    get("/stream"): ("GET /stream",),
    get("/boom"): ("GET /boom",),
    get("/refuse"): ("GET /refuse",),
    get("/sub/things/x"): ("GET /sub/things/{thing}",),
    get("/nowhere"): ("GET",),
}
TORNADO: dict[bytes, tuple[str, ...]] = {
    get("/users/9"): ("GET /users/{user}",),
    get("/proxy"): ("GET /proxy", "GET", "GET /users/{user}"),
    get("/boom"): ("GET /boom",),
    get("/refuse"): ("GET /refuse",),
    get("/nowhere"): ("GET",),
}
GUNICORN = ("-m", "gunicorn", "-b", "127.0.0.1:{port}", "-w", "2")
UVICORN = ("-m", "uvicorn", "--port", "{port}")
SHOP = ("flask", "sqlalchemy", "psycopg2", "redis", "celery")
RUNS = {
    "flask-gunicorn-preload": Application(
        (*GUNICORN, "--preload", "flask_shop:app"), (*SHOP, "gunicorn"), (POSTGRES, REDIS), FLASK
    ),
    "flask-gevent": Application(
        (*GUNICORN, "-k", "gevent", "flask_shop:app"), (*SHOP, "gunicorn", "gevent"), (POSTGRES, REDIS), FLASK
    ),
    "fastapi-uvicorn": Application(
        (*UVICORN, "fastapi_shop:app"), ("fastapi", "uvicorn", "asyncpg", "httpx", "aio_pika"), (POSTGRES,), FASTAPI
    ),
    "fastapi-gunicorn": Application(
        (*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "fastapi_shop:app"),
        ("fastapi", "uvicorn", "gunicorn", "asyncpg", "httpx", "aio_pika"),
        (POSTGRES,),
        FASTAPI,
    ),
    "django-gunicorn": Application(
        (*GUNICORN, "django_shop:wsgi"), ("django", "psycopg", "gunicorn"), (POSTGRES,), DJANGO
    ),
    "django-uvicorn": Application(
        (*UVICORN, "django_shop:asgi"), ("django", "psycopg", "uvicorn"), (POSTGRES,), DJANGO
    ),
    "aiohttp": Application((f"{APPLICATIONS}/aiohttp_shop.py", "{port}"), ("aiohttp", "redis"), (REDIS,), AIOHTTP),
    "tornado": Application((f"{APPLICATIONS}/tornado_shop.py", "{port}"), ("tornado",), (), TORNADO),
}


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, request: bytes) -> bytes:
    """Send a request, and give all that comes back."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request.replace(b"PORT", str(port).encode()))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def readings(folder: Path) -> list[Any]:
    """Give the newest points of all processes: name, attributes, value."""
    return [point for path in folder.glob("*.json") for point in json.loads(path.read_text())]


def measured(points: list[Any]) -> int:
    """Count the measurements of server requests."""
    return sum(value for name, _, value in points if name == "http.server.request.duration")


class Served(NamedTuple):
    """What came of one run."""

    answers: list[bytes]
    ended: Ended
    collector: Collector
    readings: list[Any]


Asking = Callable[[int], list[bytes]]


@contextmanager
def serving(tmp: Path, application: Application, **variables: Any) -> Iterator[Callable[[bool, Asking], Served]]:
    """Give what serves an application once, with or without the agent."""
    for module in application.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} isn't installed")
    for service in application.services:
        if not listens(service):
            pytest.skip(f"nothing listens on 127.0.0.1:{service}; `.ci/run` starts the servers that are installed")
    made: list[Collector] = []

    def serve(agent: bool, asking: Asking) -> Served:
        collector = Collector()
        made.append(collector)
        folder = tmp / f"readings-{agent}"
        folder.mkdir()
        launch, port = Launch(tmp, collector), free_port()
        wrapper = [sys.executable, "-m", "noops_agent", "run"] if agent else []
        words = [word.format(port=port) for word in application.words]
        settings = {
            "PYTHONPATH": f"{SOURCES}:{APPLICATIONS}",
            "PYTHONHASHSEED": "1",  # the order of sets shows in answers
            "READINGS": str(folder),
            "QUEUE": f"noops-applications-{port}",
        }
        process = launch.command(*wrapper, sys.executable, *words, agent=agent, **settings, **variables)
        try:
            assert wait_until(lambda: listens(port) or process.poll() is not None, 30.0)
            assert process.poll() is None, process.communicate()[1]
            answers = [answer.replace(str(port).encode(), b"PORT") for answer in asking(port)]
            ended = launch.end(process, signal.SIGTERM)
        finally:
            launch.close()
        return Served(answers, ended, collector, readings(folder))

    try:
        yield serve
    finally:
        for collector in made:
            collector.close()


def told(answer: bytes) -> tuple[list[bytes], bytes]:
    """Leave out of an answer what is new each time."""
    head, _, body = answer.partition(b"\r\n\r\n")
    passing = (b"date:", b"expires:", b"set-cookie:")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(passing)]
    return lines, re.sub(rb'csrfmiddlewaretoken" value="\w+', b"", body)


def said(output: str) -> set[str]:
    """Give the lines of an output, without the numbers in them, and without the frames of tracebacks."""
    lines = (re.sub(r"\d+", "N", line) for line in output.splitlines())
    return {line for line in lines if line and not line.startswith("  ")}


def traces(spans: list[Any]) -> list[list[Any]]:
    """Group spans by their trace, each in order of their beginning."""
    grouped = collections.defaultdict(list)
    for span in spans:
        grouped[span.trace_id].append(span)
    ordered = [sorted(trace, key=lambda span: span.start_time_unix_nano) for trace in grouped.values()]
    return sorted(ordered, key=lambda trace: trace[0].start_time_unix_nano)


def is_tree(trace: list[Any]) -> bool:
    """Whether there is one root, and the parent of every other span is there."""
    ids = {span.span_id for span in trace}
    return [span.parent_span_id in ids for span in trace].count(False) == 1 and not trace[0].parent_span_id


@pytest.mark.parametrize("name", RUNS)
def test_each_request_is_one_tree_and_one_measurement_and_nobody_notices(name: str, tmp_path: Path) -> None:
    """One server span a request, children in their places, no trace beside; answers, output and end as without us."""
    application = RUNS[name]
    requests = [*application.names, *BROKEN]

    def asking(port: int) -> list[bytes]:
        return [ask(port, request) for request in requests]

    def asking_until_measured(port: int) -> list[bytes]:
        answers = asking(port)
        # Whoever ends by a signal leaves its last reading out.
        assert wait_until(lambda: measured(readings(tmp_path / "readings-True")) >= len(requests))
        return answers

    with serving(tmp_path, application) as serve:
        bare, ours = serve(False, asking), serve(True, asking_until_measured)
        for request, answer, expected in zip(requests, ours.answers, bare.answers, strict=True):
            assert told(answer) == told(expected), request
        assert ours.ended.status == bare.ended.status
        assert said(ours.ended.err) == said(bare.ended.err)
        assert said(ours.ended.out) == said(bare.ended.out)
        found = traces(ours.collector.spans)
        expected_names = [*application.names.values(), *[("GET /",)] * len(BROKEN)]
        assert [sorted(span.name for span in trace) for trace in found] == [sorted(names) for names in expected_names]
        assert [trace[0].name for trace in found] == [names[0] for names in expected_names]
        assert all(is_tree(trace) for trace in found)
        assert all(trace[0].kind == SERVER for trace in found)
        assert not [span.name for span in ours.collector.spans if b"secret" in span.SerializeToString()]
        served = sum(span.kind == SERVER for span in ours.collector.spans)
        assert measured(ours.readings) == served
        assert not any(value for name, _, value in ours.readings if name == "http.server.active_requests")


def test_concurrent_requests_do_not_mix(tmp_path: Path) -> None:
    """Each of two hundred requests, twenty at a time, is found in the trace that it names, with its own query."""
    many = 200

    def parent(number: int) -> str:
        return f"traceparent: 00-{number + 1:032x}-{number + 1:016x}-01"

    def asking(port: int) -> list[bytes]:
        with ThreadPoolExecutor(20) as pool:
            return list(pool.map(lambda number: ask(port, get(f"/users/{number}", parent(number))), range(many)))

    with serving(tmp_path, RUNS["fastapi-uvicorn"]) as serve:
        ours = serve(True, asking)
        assert [answer.rpartition(b"\r\n")[2] for answer in ours.answers] == [b"%d" % (n + 41) for n in range(many)]
        found = traces(ours.collector.spans)
        assert len(found) == many
        for trace in found:
            server, query = trace
            number = int.from_bytes(server.trace_id, "big")
            assert int.from_bytes(server.parent_span_id, "big") == number
            assert query.parent_span_id == server.span_id
            (path,) = [pair.value.string_value for pair in server.attributes if pair.key == "url.path"]
            assert path == f"/users/{number - 1}"


def test_settings_of_opentelemetry_hold(tmp_path: Path) -> None:
    """Excluded URLs, with all that they call; captured headers without what is secret; former names."""
    settings = {
        "OTEL_PYTHON_DJANGO_EXCLUDED_URLS": "users",
        "NOOPS_EXCLUDE_URLS": "/inner/.*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "X-.*,Cookie",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup",
    }
    requests = [
        get("/users/5/"),
        get("/ausers/5/"),
        get("/inner/things/a/"),
        get("/", "X-One: 1", "X-Session: mine", "Cookie: sessionid=mine"),
    ]
    with serving(tmp_path, RUNS["django-uvicorn"], **settings) as serve:
        ours = serve(True, lambda port: [ask(port, request) for request in requests])
        (span,) = ours.collector.spans
        assert span.name == "GET /"
        values = {pair.key: pair.value for pair in span.attributes}
        assert [value.string_value for value in values["http.request.header.x-one"].array_value.values] == ["1"]
        assert values["http.request.method"] == values["http.method"]
        assert b"mine" not in span.SerializeToString()
