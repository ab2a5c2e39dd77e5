"""Starts the four services of the shop, each in a process of its own under the agent, and stops them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .jobs import READY as WORKER_READY
from .jobs import Jobs

EXAMPLES = Path(__file__).resolve().parent.parent
AGENT = (sys.executable, "-m", "noops_agent", "run")
SERVICES = ("payments", "orders", "worker", "gateway")  # each after those that it asks
HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0  # a small machine that compiles all of it for the first time
STOP_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 5.0
POLL_S = 0.05
TAIL_LINES = 25


class ServiceFailed(Exception):
    """A service that ended, or wasn't ready in time, while it was starting; the text ends with its output."""


class Service(NamedTuple):
    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def tail(self) -> str:
        """The end of what the service wrote."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-TAIL_LINES:])


class Stage:
    """The running shop: `with Stage() as stage:`.

    Args:
        under: The command that each service is started with; the agent by default.
        environ: Variables for the services, over those of this process.
    """

    def __init__(self, under: Sequence[str] = AGENT, environ: Mapping[str, str] | None = None) -> None:
        self.under = tuple(under)
        self.environ = dict(environ or {})
        self.services: list[Service] = []
        self.ports = dict(zip(("gateway", "orders", "payments"), free_ports(3), strict=True))

    def __enter__(self) -> Stage:
        self.folder = tempfile.TemporaryDirectory(prefix="noops-shop-")
        try:
            for name in SERVICES:
                self.services.append(self.start(name))
            for service in self.services:
                self.await_ready(service)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        try:
            self.stop(drain=error is None)
        finally:
            self.kill()
            self.folder.cleanup()

    def start(self, name: str) -> Service:
        """Start one service, away from the terminal's Ctrl-C: it is stopped by us, in order."""
        output = Path(self.folder.name, f"{name}.log")
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*self.under, sys.executable, "-m", f"shop.{name}"],
                env=self.service_environ(name),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Service(name, process, output)

    def service_environ(self, name: str) -> dict[str, str]:
        paths = [str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]
        ports = {f"SHOP_{service.upper()}_PORT": str(port) for service, port in self.ports.items()}
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OTEL_SERVICE_NAME": f"shop-{name}",
            "SHOP_HOST": HOST,
            "SHOP_FOLDER": self.folder.name,
            **ports,
            **self.environ,
        }

    def await_ready(self, service: Service) -> None:
        """Wait until *service* takes connections, or, for the worker, says that it waits for jobs.

        Raises:
            ServiceFailed: It ended or took too long.
        """

        def ready() -> bool:
            if service.process.poll() is not None:
                code = service.process.returncode
                raise ServiceFailed(f"{service.name} ended with {code} while starting:\n{service.tail()}")
            if service.name in self.ports:
                return accepts(self.ports[service.name])
            return WORKER_READY in service.tail()

        if not wait_for(ready, START_TIMEOUT_S):
            raise ServiceFailed(f"{service.name} isn't ready in {START_TIMEOUT_S:.0f} s:\n{service.tail()}")

    def stop(self, drain: bool = True) -> None:
        """Close the door, let the worker finish what waits, then end the others; each by SIGTERM."""
        for service in reversed(self.services):
            if drain and service.name == "worker" and service.process.poll() is None:
                self.drain()
            service.process.terminate()
            try:
                service.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                service.process.kill()

    def drain(self) -> bool:
        """Wait until no job is left; False where that takes too long."""
        jobs = Jobs(str(Path(self.folder.name, "jobs")))
        return wait_for(lambda: jobs.count() == 0, DRAIN_TIMEOUT_S)

    def kill(self) -> None:
        """End by SIGKILL, at once, what still runs."""
        for service in self.services:
            service.process.kill()
            service.process.wait()


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on; they are held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind((HOST, 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()


def accepts(port: int) -> bool:
    """Whether something listens on *port*. No request is sent, so no span comes of it."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask *condition* again and again until it holds; False where it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
