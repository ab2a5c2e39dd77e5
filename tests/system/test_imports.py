"""What a program loads on our account: start-up is a budget, and some modules must not be there before gevent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = (
    "ssl",
    "socket",
    "urllib3",
    "queue",
    "asyncio",
    "concurrent.futures",
    "subprocess",
    "importlib.metadata",
    "google.protobuf",
    "grpc",
    "requests",
    "opentelemetry.sdk",
)
if sys.version_info < (3, 11):  # there uuid, which opentelemetry-api imports, loads it
    FORBIDDEN = tuple(name for name in FORBIDDEN if name != "subprocess")

REPORT = """
sys.stdout.write(json.dumps(sorted(set(sys.modules) - before)))
sys.stdout.flush()
os._exit(0)
"""


def loaded(program: str, **variables: str) -> set[str]:
    """Modules that a program in a fresh interpreter has loaded beyond those of the bare interpreter."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NOOPS_"))}
    program = f"import json, os, sys\nbefore = set(sys.modules)\n{program}\n{REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def forbidden(names: set[str]) -> set[str]:
    """Those of the modules that must not be there."""
    return {name for name in names if name.startswith(tuple(f"{part}." for part in FORBIDDEN)) or name in FORBIDDEN}


STARTED = """
import _thread
# The shipper thread may load what it needs to send, when it first sends; here it stays out of the way.
import noops_agent._env
noops_agent._env.start_thread = lambda body: None
import noops_agent
noops_agent.init({settings})
with noops_agent.span("first", x=1) as span:
    span.add_event("e", {{"k": [1, 2]}})
    span.record_exception(ValueError("x"))
assert noops_agent.status()["running"]
assert noops_agent.stats()["otel.sdk.span.ended"] == 1
"""


def test_importing_the_package_loads_the_package_alone() -> None:
    """A name loads its room when it is first used."""
    names = loaded("import noops_agent")
    assert names - loaded("import importlib, typing") <= {"noops_agent", "noops_agent._version"}


@pytest.mark.parametrize("core", ["native", "python"])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "otlp,console"},
        {"NOOPS_SAMPLE_RULES": "GET /pay/*=1,*=0.1", "NOOPS_KEEP": "errors,slow"},
    ],
    ids=["local", "otlp", "grpc", "otlp and console", "sampling"],
)
def test_the_application_thread_loads_nothing_heavy(core: str, variables: dict[str, str], tmp_path: Path) -> None:
    """Not for `init`, and not for the first span, wherever it goes."""
    if core == "native":
        pytest.importorskip("noops_agent._core.native")
    names = loaded(STARTED.format(settings=""), NOOPS_CORE=core, NOOPS_STATE_DIR=str(tmp_path), **variables)
    if "NOOPS_KEEP" not in variables:
        assert f"noops_agent._core.{core}" in names
    assert forbidden(names) == set()


def test_the_shipper_of_the_local_store_loads_nothing_heavy(tmp_path: Path) -> None:
    """There is nothing to send."""
    program = """
import noops_agent
noops_agent.init()
noops_agent.span("first").__enter__().end()
assert noops_agent.flush(20)
noops_agent.shutdown()
"""
    assert forbidden(loaded(program, NOOPS_STATE_DIR=str(tmp_path))) == set()


def test_the_drop_in_loads_nothing_heavy() -> None:
    """A provider of its own needs the SDK only where one of the SDK's objects is given to it."""
    program = """
from noops_agent import sdk
sdk.TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s").end()
"""
    assert forbidden(loaded(program)) == set()
