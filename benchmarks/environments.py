"""The virtual environment of each peer, in `.bench/`, made when missing or when its contents change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "noops": ("flask",),
    "sdk": (
        "opentelemetry-sdk==1.45.*",
        "opentelemetry-exporter-otlp-proto-http==1.45.*",
        "opentelemetry-distro",
        "opentelemetry-instrumentation-flask",
        "flask",
    ),
    "ddtrace": ("ddtrace==4.16.*", "flask"),
    "api": ("opentelemetry-api==1.45.*",),
    "sink": ("opentelemetry-proto==1.45.*", "msgpack"),
}
"""What each environment holds."""

UNRESOLVED: dict[str, tuple[str, ...]] = {}
"""What is added without its dependencies."""

OURS = ("noops", "calls")
"""Those that hold this repository besides, installed as a user would have it."""

SHOWN = (
    "noops_agent",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation",
    "ddtrace",
    "flask",
)
"""Distributions whose versions the report names."""


def python(name: str) -> str:
    """Path of an environment's interpreter."""
    return str(FOLDER / name / "bin" / "python")


def prepare(name: str) -> None:
    """Make an environment, unless it is there; install this repository anew where its sources changed.

    Raises:
        subprocess.CalledProcessError: an installation failed; pip has said why.
    """
    once(name, "made-from", digest(REQUIREMENTS[name], UNRESOLVED.get(name)), lambda: make(name))
    if name in OURS:
        once(name, "sources", digest(*(path.read_bytes() for path in sources())), lambda: install_ours(name))


def once(name: str, stamp: str, wanted: str, action: Callable[[], None]) -> None:
    """Do what a stamp in the environment says has not been done."""
    path = FOLDER / name / stamp
    if not path.exists() or path.read_text() != wanted:
        action()
        path.write_text(wanted)


def make(name: str) -> None:
    """Make an environment with its requirements; ours come with those of this repository."""
    print(f"making .bench/{name} ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER / name], check=True)
    if name in OURS:
        install_ours(name, *REQUIREMENTS[name])
    else:
        install(name, *REQUIREMENTS[name])
    if name in UNRESOLVED:
        install(name, "--no-deps", *UNRESOLVED[name])


def digest(*what: object) -> str:
    """Digest of what an environment is made from."""
    return hashlib.sha256(repr((sys.version, what)).encode()).hexdigest()


def sources() -> list[Path]:
    """Files that our distribution is built from; what Cython or a compiler made is left out."""
    kinds = (".py", ".pyx", ".pxi", ".pyi", ".pxd", ".c", ".h", ".typed")
    found = [ROOT / "pyproject.toml"]
    for folder in ("src", "instrumentation"):
        found += sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in kinds)
    return [path for path in found if path.is_file() and path.name not in ("native.c", "metrics.c")]


def install_ours(name: str, *more: str) -> None:
    """Install this repository from a copy, so that the build leaves nothing in the tree that is worked in."""
    with tempfile.TemporaryDirectory() as copy:
        for path in [*sources(), ROOT / "README.md"]:
            target = Path(copy) / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        install(name, *(more or ("--force-reinstall", "--no-deps")), copy)


def install(name: str, *what: str) -> None:
    """Install distributions into an environment, all in one resolution."""
    command = [python(name), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what]
    subprocess.run(command, check=True, stdout=sys.stderr)


def versions(name: str) -> dict[str, str]:
    """Versions of the distributions in an environment that the report names."""
    program = (
        "import json, sys\nfrom importlib.metadata import version, PackageNotFoundError\nfound = {}\n"
        "for name in sys.argv[1:]:\n    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    output = subprocess.run(
        [python(name), "-I", "-c", program, *SHOWN], check=True, capture_output=True
    ).stdout
    found: dict[str, str] = json.loads(output)
    return found


def variables(name: str, **more: str) -> dict[str, str]:
    """Variables for a program of an environment: this process's, without any that steer an agent."""
    steering = ("OTEL_", "NOOPS_", "DD_", "PYTHON", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(steering)}
    kept["PATH"] = f"{FOLDER / name / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **more}
