"""Commands: a span for each, and none around what serves until it is stopped."""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from tests.adversity.collector import Collector, free_port

from .conftest import Observe

click = pytest.importorskip("click")
testing = pytest.importorskip("click.testing")


def group() -> Any:
    """A command line with commands of each kind."""

    @click.group()
    def shop() -> None:
        pass

    @shop.command()
    @click.argument("table")
    def migrate(table: str) -> str:
        return table

    @shop.command()
    @click.argument("code", type=int)
    @click.pass_context
    def leave(context: Any, code: int) -> None:
        context.exit(code)

    @shop.command()
    def fail() -> None:
        raise LookupError("theirs")

    @shop.command()
    def misuse() -> None:
        raise click.UsageError("not like this")

    return shop


def invoke(command: Any, *words: str) -> Any:
    return testing.CliRunner().invoke(command, words, prog_name="shop")


def test_a_command_is_one_span_named_after_its_path(observed: Observe) -> None:
    """The group on the way to it makes none; what was typed behind it is left out."""
    with observed("click") as seen:
        assert invoke(group(), "migrate", "secret").exit_code == 0
    assert seen.span.name == "shop migrate"
    assert seen.span.attributes["process.exit.code"] == 0
    assert seen.span.attributes["process.pid"] > 0
    assert "secret" not in str(dict(seen.span.attributes))


def test_a_group_that_is_called_alone_is_a_command(observed: Observe) -> None:
    """With `invoke_without_command` it does the work itself."""

    @click.group(invoke_without_command=True)
    def shop() -> None:
        pass

    with observed("click") as seen:
        invoke(shop)
    assert seen.span.name == "shop"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("leave", "3"), 3, "click.exceptions.Exit"),
        (("fail",), 1, "LookupError"),
        (("misuse",), 2, "click.exceptions.UsageError"),
    ],
)
def test_a_failure_tells_exit_code_and_error(observed: Observe, words: tuple[str, ...], code: int, error: str) -> None:
    """The exit code is the one that the shell sees."""
    with observed("click") as seen:
        assert invoke(group(), *words).exit_code == code
    assert seen.span.attributes["process.exit.code"] == code
    assert seen.span.attributes["error.type"] == error
    assert seen.span.status.status_code is StatusCode.ERROR


def test_leaving_with_zero_is_no_error(observed: Observe) -> None:
    """`ctx.exit(0)` is an exception by its form only."""
    with observed("click") as seen:
        assert invoke(group(), "leave", "0").exit_code == 0
    assert seen.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in seen.span.attributes


def test_spans_of_a_command_are_its_children(observed: Observe) -> None:
    """As long as it doesn't serve."""

    @click.command()
    def work() -> None:
        with seen.tracer.start_as_current_span("inner"):
            pass

    with observed("click") as seen:
        invoke(work)
    assert seen.named("inner").parent.span_id == seen.named("shop").context.span_id


def test_commands_that_are_known_to_serve_get_no_span(observed: Observe) -> None:
    """uvicorn's and flask's own; those with a telling name; those that the option names."""
    uvicorn = pytest.importorskip("uvicorn")
    flask_cli = pytest.importorskip("flask.cli")
    with observed("click", serving_commands=("listen",)) as seen:
        for known in (uvicorn.main, flask_cli.run_command):
            made = click.Command("x", callback=lambda: None)
            made.callback.__module__ = known.callback.__module__
            made.callback.__name__ = known.callback.__name__
            assert invoke(made).exit_code == 0
        for name in ("serve", "worker", "listen"):
            assert invoke(click.Command(name, callback=lambda: None)).exit_code == 0
    assert seen.spans == []


def test_the_span_of_a_command_ends_where_it_begins_to_serve(observed: Observe) -> None:
    """A name that says nothing: what the loop does begins a trace of its own, and the span is the start alone."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    found: list[Any] = []

    @click.command()
    def go() -> None:
        def look() -> None:
            found.append((trace.get_current_span().get_span_context().is_valid, [span.name for span in seen.spans]))
            threading.Thread(target=server.shutdown).start()

        server.service_actions = look  # type: ignore[method-assign]
        server.serve_forever(0.01)

    with observed("click") as seen:
        assert invoke(go).exit_code == 0
    server.server_close()
    assert found[0] == (False, ["shop"])
    assert [span.name for span in seen.spans] == ["shop"]


def test_an_asyncio_server_ends_it_too(observed: Observe) -> None:
    """The task that serves is without a trace; so is each that it starts."""
    found: list[bool] = []

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        found.append(seen.span.name == "shop")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    @click.command()
    def go() -> None:
        asyncio.run(main())

    with observed("click") as seen:
        assert invoke(go).exit_code == 0
    assert found == [True]


def test_a_server_beside_a_command_leaves_its_span_alone(observed: Observe) -> None:
    """A thread that shows metrics while the command works is not the command."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    ended: list[int] = []

    @click.command()
    def work() -> None:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.shutdown()
        thread.join()
        ended.append(len(seen.spans))

    with observed("click", "threading") as seen:
        assert invoke(work).exit_code == 0
    server.server_close()
    assert ended == [0]
    assert seen.span.name == "shop"


def test_what_serves_without_a_command_serves_as_ever(observed: Observe) -> None:
    """Its result, and what it raises, are its own."""

    class Loop(HTTPServer):
        def service_actions(self) -> None:
            raise LookupError("theirs")

    with (
        observed("click") as seen,
        Loop(("127.0.0.1", 0), BaseHTTPRequestHandler) as server,
        seen.tracer.start_as_current_span("own") as own,
    ):
        with pytest.raises(LookupError):
            server.serve_forever(0.01)
        assert trace.get_current_span() is own
        assert own.is_recording()


# ---- whole programs --------------------------------------------------------------------------------------

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        with noops_agent.span("inner"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""

PROGRAMS = {
    "python -m uvicorn": (
        "import noops_agent\n" + ASGI,
        ("-m", "uvicorn", "program:app", "--port", "{port}", "--log-level", "critical"),
    ),
    "a command of one's own": (
        """
import click, noops_agent, uvicorn
"""
        + ASGI
        + """
@click.command()
@click.argument("port", type=int)
def go(port):
    uvicorn.run(app, port=port, log_level="critical")

if __name__ == "__main__":
    go()
""",
        ("program.py", "{port}"),
    ),
    "flask run": (
        """
import flask, noops_agent

app = flask.Flask("shop")

@app.get("/")
def show():
    with noops_agent.span("inner"):
        return ""
""",
        ("-m", "flask", "--app", "program", "run", "--port", "{port}"),
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_request_to_a_server_on_the_command_line_is_a_trace(program: str, tmp_path: Path) -> None:
    """And no span is around the server: it would be told of when the server stops, and be the parent of everything."""
    for name in ("uvicorn", "flask"):
        pytest.importorskip(name)
    code, words = PROGRAMS[program]
    (tmp_path / "program.py").write_text(code)
    collector, port = Collector(), free_port()
    started = subprocess.Popen(
        [sys.executable, "-m", "noops_agent", "run", sys.executable, *(word.format(port=port) for word in words)],
        cwd=tmp_path,
        env={**os.environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint, "NOOPS_EXPORT_INTERVAL": "50ms"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(2):
            ask(port, started)
        assert collector.wait_until(lambda: len(roots_of(collector)) >= 2 and len(collector.spans) >= 4)
        started.terminate()
        started.wait(30)
    finally:
        started.kill()
        started.wait()
        collector.close()
    spans = collector.spans
    begun = [span for span in spans if span.name == "program.py"]  # the start of a command that nobody knew to serve
    assert len(begun) == (program == "a command of one's own")
    requests = [span for span in spans if span not in begun]
    assert len({span.trace_id for span in requests}) == 2
    assert sorted(bool(span.parent_span_id) for span in requests) == [False, False, True, True]


def roots_of(collector: Collector) -> list[Any]:
    return [span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER]


def ask(port: int, server: subprocess.Popen[bytes]) -> None:
    """Ask a server that may be starting still."""
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
            return
        except ConnectionRefusedError:
            assert server.poll() is None, "the server ended while it was starting"
            assert time.monotonic() < deadline
            time.sleep(0.05)
