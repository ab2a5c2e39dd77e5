"""Programs that the driver runs: workers in the peers' environments, and the sink."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from environments import FOLDER, python, variables
from peers import PEERS

HERE = Path(__file__).resolve().parent


def command(peer: str, program: str, *arguments: object) -> list[str]:
    """Command line of a worker."""
    return [python(PEERS[peer].environment), str(HERE / program), "--peer", peer, *map(str, arguments)]


def run(peer: str, program: str, *arguments: object, **more: str) -> dict[str, Any]:
    """Run a worker to its end, with *more* variables, and read its one line of JSON.

    Raises:
        RuntimeError: it failed; with what it wrote to stderr.
    """
    known = PEERS[peer]
    ran = subprocess.run(
        command(peer, program, *arguments),
        capture_output=True,
        text=True,
        cwd=FOLDER,
        env=variables(known.environment, **known.variables, **more),
        timeout=120,
    )
    if ran.returncode or not ran.stdout.strip():
        raise RuntimeError(f"{program} for {peer} ended with {ran.returncode}:\n{ran.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


class Worker:
    """A worker that waits for requests, so that peers can be driven in turn, batch by batch."""

    def __init__(self, peer: str, program: str, *arguments: object) -> None:
        known = PEERS[peer]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        self.process = subprocess.Popen(
            command(peer, program, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            cwd=FOLDER,
            env=variables(known.environment, **known.variables),
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        self.said.close()

    def ask(self, longest_s: float = 120, **request: Any) -> dict[str, Any]:
        """Send a request, wait for its answer.

        Raises:
            RuntimeError: The worker ended, or gave no answer for so long.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], longest_s)
        if not ready:
            self.process.kill()
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            raise RuntimeError(f"a worker ended early: {self.said.read()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Sink:
    """The sink, as the driver sees it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> dict[str, int]:
        """Ask the sink something."""
        with urllib.request.urlopen(f"{self.url}/bench/{path}", timeout=60) as answer:
            read: dict[str, int] = json.load(answer)
        return read

    def count(self) -> dict[str, int]:
        """Requests, bytes and spans since the last reset."""
        return self.get("count")

    def reset(self) -> None:
        """Forget what came so far."""
        self.get("reset")


@contextmanager
def running_sink(interpreter: str | None = None) -> Iterator[Sink]:
    """Run the sink in a process of its own."""
    process = subprocess.Popen(
        [interpreter or python("sink"), str(HERE / "sink.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables("sink"),
    )
    assert process.stdout is not None
    try:
        yield Sink(int(process.stdout.readline()))
    finally:
        process.communicate(timeout=10)
