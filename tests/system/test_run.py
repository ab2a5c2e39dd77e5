"""`noops-agent run`: programs of all kinds, with the agent in them and otherwise as without it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from noops_agent._commands.run import INJECT, SETTINGS
from noops_agent._commands.traces import Query, Span, find_traces
from noops_agent._config.table import BY_NAME

PYTHON = sys.executable
RUN = (PYTHON, "-I", "-m", "noops_agent", "run")
"""Isolated: this interpreter, which becomes the command, would run a sitecustomize of the test too."""
LIMIT_S = 60.0
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"

SPAN = "from opentelemetry import trace; trace.get_tracer('test').start_span('work').end()"
LOADED = "import sys; print('noops_agent._lifecycle' in sys.modules)"

APP = """
import os
from opentelemetry import trace

def span(name):
    with trace.get_tracer("app").start_as_current_span(name) as made:
        made.set_attribute("pid", os.getpid())

def wsgi(environ, respond):
    span("request")
    respond("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    span("request")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


def run(*words: str, under: Sequence[str] = RUN, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, under the agent unless *under* says otherwise."""
    return subprocess.run([*under, *words], capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)


def bare(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without the agent."""
    return run(*words, under=(), **options)


def recorded() -> list[Span]:
    """All spans in the state folder of this test."""
    found = find_traces(os.environ["NOOPS_STATE_DIR"], Query())
    return [span for trace in found.traces for span in trace.ordered()]


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """What somebody sees of a program."""
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with the module `app`."""
    folder = tmp_path / "app folder"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


def customize(folder: Path, code: str) -> Path:
    """Put a sitecustomize into a new folder."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return folder


# ---- the command -----------------------------------------------------------------------------------------


def test_a_program_is_traced_without_a_line_of_code() -> None:
    """A span made through the OpenTelemetry API alone is recorded, with the name of the service."""
    assert run("--service-name", "shop", PYTHON, "-c", SPAN).returncode == 0
    (span,) = recorded()
    assert (span.name, span.source.service) == ("work", "shop")


def test_a_file_of_python_is_run_with_this_python(tmp_path: Path) -> None:
    """A .py file that can't be run by itself is convenient to name; its arguments are left as they are."""
    (tmp_path / "app.py").write_text("import sys; print(sys.executable, sys.argv)")
    done = run("app.py", "--service-name", "--", cwd=tmp_path)
    assert done.stdout == f"{PYTHON} {['app.py', '--service-name', '--']}\n"


def test_a_file_that_can_be_run_is_run_as_it_says(tmp_path: Path) -> None:
    """A first line with an interpreter counts, whatever the file is called."""
    program = tmp_path / "app.py"
    program.write_text("#!/bin/sh\necho shell\n")
    program.chmod(0o755)
    assert run(str(program)).stdout == "shell\n"


def test_a_script_without_a_first_line_is_one_of_the_shell(tmp_path: Path) -> None:
    """As `env` and `execvp` have it."""
    program = tmp_path / "program"
    program.write_text('echo "$@"; exit 5')
    program.chmod(0o755)
    done = run("program", "a  b", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stdout) == (5, "a  b\n")


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [
        ("no-such-command", 127, "no-such-command: command not found"),
        ("./no-such-file", 127, "./no-such-file: No such file or directory"),
        ("/etc/passwd", 126, "/etc/passwd: Permission denied"),
        ("/etc", 126, "/etc: Is a directory"),
    ],
)
def test_what_cannot_be_started_ends_as_in_a_shell(word: str, status: int, said: str) -> None:
    """Scripts tell a missing command from one that fails by the status."""
    assert outcome(run(word)) == (status, "", f"noops-agent: {said}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "sample_bugdet=1", "true"], "there is no setting 'sample_bugdet', did you mean 'sample_budget'?"),
        (["--set", "sample_budget", "true"], "--set takes NAME=VALUE"),
        (["--servicename", "x", "true"], "there is no option --servicename"),
        (["--endpoint"], "--endpoint needs a value"),
        (["--endpoint", "http://x"], "there is no command to run"),
    ],
)
def test_a_misspelt_option_is_said(words: list[str], said: str) -> None:
    """Nothing is run: whoever typed it is still there."""
    assert outcome(run(*words)) == (2, "", f"noops-agent: {said}; see noops-agent run --help\n")


def test_options_become_variables() -> None:
    """Each option is the variable of a setting, so child processes have it too."""
    options = ["--service-name=a=b", "--endpoint", "http://x", "--exporter=none", "--set", "export_interval_s=1s"]
    found = dict(line.split("=", 1) for line in run(*options, "env").stdout.splitlines())
    assert found["NOOPS_SERVICE_NAME"] == "a=b"
    assert found["NOOPS_ENDPOINT"] == "http://x"
    assert found["NOOPS_EXPORTERS"] == "none"
    assert found["NOOPS_EXPORT_INTERVAL"] == "1s"


def test_options_are_named_as_the_settings_are() -> None:
    """The names in `run` are a copy, as it loads no table: they must be in it."""
    assert set(SETTINGS.values()) <= set(BY_NAME)
    assert all(BY_NAME[name].variable == "NOOPS_" + name.upper() for name in SETTINGS.values())


def test_nothing_else_of_the_environment_changes() -> None:
    """What this interpreter sets for itself (LC_CTYPE, in the C locale) is not handed on."""
    environ = {"PATH": os.environ["PATH"], "LANG": "C", "PYTHONPATH": "/one::/two"}
    before = set(bare("env", env=environ).stdout.splitlines())
    after = set(run("env", env=environ).stdout.splitlines())
    assert after - before == {"NOOPS_RUN=1", f"PYTHONPATH={INJECT}:/one::/two"}
    assert before - after == {"PYTHONPATH=/one::/two"}


def test_run_in_run_names_the_folder_once() -> None:
    """A start script that has `noops-agent run` in it may be run under it."""
    places = run(*RUN, "sh", "-c", "echo $PYTHONPATH").stdout.strip().split(":")
    assert places.count(INJECT) == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_the_command_has_the_signals_that_it_would_have() -> None:
    """Python ignores SIGPIPE for itself; a command that inherited that would not end with its reader."""
    command = ("sh", "-c", "grep Sig /proc/self/status")
    without = [line for line in bare(*command).stdout.splitlines() if not line.startswith("SigQ")]
    under = [line for line in run(*command).stdout.splitlines() if not line.startswith("SigQ")]
    assert under == without


def test_the_wrapper_loads_no_parser_and_no_telemetry() -> None:
    """It comes before every start of the program."""
    code = (
        "import sys; before = set(sys.modules); from noops_agent.__main__ import main\n"
        "import os; os.execvpe = lambda *_: print(sorted(set(sys.modules) - before)) or sys.exit()\n"
        "main(['run', 'true'])"
    )
    loaded = set(json.loads(bare(PYTHON, "-c", code).stdout.replace("'", '"')))
    assert not {name.partition(".")[0] for name in loaded} & {"argparse", "opentelemetry", "logging", "re", "signal"}
    assert not any(name.startswith(("noops_agent._config", "noops_agent._lifecycle")) for name in loaded)


# ---- the program is left as it is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import sys; print(sys.argv, sys.path, sys.orig_argv[1:], sys.flags)",
        "import sys; sys.exit(3)",
        "import os; os._exit(4)",
        "raise RuntimeError('no')",
        "import sys; print(sys.stdin.read().upper(), end=''); print('err', file=sys.stderr)",
        "import os; print(os.environ.get('LC_CTYPE'), os.getcwd())",
        "import signal; print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD)])",
        "import threading; print(threading.active_count())",
        "import warnings; print(warnings.filters); warnings.warn('seen', stacklevel=1)",
        "import logging; logging.warning('seen'); print(logging.root.handlers)",
    ],
)
def test_a_program_behaves_as_without_us(code: str) -> None:
    """Status, streams, paths, signals, threads, warnings and logging."""
    command = (PYTHON, "-c", code, "argument", "--option")
    without = outcome(bare(*command, input="some text\n"))
    assert outcome(run(*command, input="some text\n")) == without


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_program_ends_by_the_signal_that_it_gets(number: signal.Signals) -> None:
    """The status tells the signal, as without us, and the spans that had ended are there."""
    code = f"{SPAN}; import time; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([*RUN, PYTHON, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(number)
        assert program.wait(LIMIT_S) == -number
    assert [span.name for span in recorded()] == ["work"]


def test_the_applications_own_sitecustomize_runs_once(tmp_path: Path) -> None:
    """It is the module `sitecustomize`, and our folder is nowhere on the path."""
    code = "import sys, os\nsys.stderr.write('own %s %s %s\\n' % (__name__, __file__, __spec__.origin))\nMINE = 1\n"
    folder = customize(tmp_path / "own", code)
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    asking = "import sys, sitecustomize as own; print(own.MINE, own.__file__, sys.path)"
    without = outcome(bare(PYTHON, "-c", asking, env=environ))
    assert without[2].count("own sitecustomize") == 1
    assert outcome(run(PYTHON, "-c", asking, env=environ)) == without


def test_without_one_there_is_none() -> None:
    """Importing it fails in the program as it does without us."""
    asking = (
        "import sys; print('sitecustomize' in sys.modules)\n"
        "try: import sitecustomize\nexcept ImportError as error: print(error, error.name)"
    )
    assert outcome(run(PYTHON, "-c", asking)) == outcome(bare(PYTHON, "-c", asking))


@pytest.mark.parametrize("code", ["raise ValueError('own')", "import no_such_module", "def broken(:"])
def test_an_own_sitecustomize_that_fails_fails_as_ever(tmp_path: Path, code: str) -> None:
    """Python says so on stderr and goes on; so it does under the agent, which runs all the same."""
    environ = {**os.environ, "PYTHONPATH": str(customize(tmp_path / "own", code))}
    without = bare(PYTHON, "-c", "pass", env=environ)
    done = run(PYTHON, "-c", SPAN, env=environ)
    assert outcome(done) == outcome(without)
    assert without.stderr
    assert len(recorded()) == 1


def test_an_own_usercustomize_runs(tmp_path: Path) -> None:
    """It is not ours to touch."""
    environ = {**os.environ, "PYTHONUSERBASE": str(tmp_path)}
    asking = "import site; print(site.getusersitepackages())"
    real = str(Path(sys.base_prefix, "bin", Path(sys.executable).name))
    if not os.path.exists(real):
        pytest.skip("no interpreter outside a virtual environment")
    folder = Path(bare(real, "-c", asking, env=environ).stdout.strip())
    folder.mkdir(parents=True)
    (folder / "usercustomize.py").write_text("print('user')")
    assert run(real, "-c", "print('main')", env=environ).stdout == "user\nmain\n"


@pytest.mark.parametrize("option", ["-I", "-S", "-E", "-IS"])
def test_isolated_interpreters_are_left_alone(option: str) -> None:
    """Who asks for an interpreter without the environment gets one."""
    assert outcome(run(PYTHON, option, "-c", LOADED)) == (0, "False\n", "")


def test_an_agent_that_cannot_start_says_nothing(tmp_path: Path) -> None:
    """A program whose own opentelemetry is broken runs as it would without us."""
    (tmp_path / "opentelemetry.py").write_text("raise SystemExit('broken')")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    asking = "import sys; print(sys.path)"
    assert outcome(run(PYTHON, "-c", asking, env=environ)) == outcome(bare(PYTHON, "-c", asking, env=environ))


def test_warnings_that_are_errors_do_no_harm() -> None:
    """Neither to the program nor to the agent."""
    assert outcome(run(PYTHON, "-W", "error", "-c", SPAN)) == (0, "", "")
    assert len(recorded()) == 1


# ---- which programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "pip", "--version"],
        ["-Wignore", "-Bm", "pip", "--version"],
        ["-m", "noops_agent", "--version"],
        ["-m", "noops_agent", "config", "--changed"],
    ],
)
def test_tools_are_not_instrumented(words: list[str]) -> None:
    """They print what they print, and never load the agent's lifecycle."""
    done = run(PYTHON, "-X", "importtime", *words)
    assert done.returncode == 0
    assert done.stdout == bare(PYTHON, *words).stdout
    assert "noops_agent._lifecycle" not in done.stderr
    assert "noops_agent._lifecycle" in run(PYTHON, "-X", "importtime", "-c", "pass").stderr


@pytest.mark.parametrize("listed", ["migrate", "other, migrate ", "migrate.py"])
def test_commands_can_be_excluded(tmp_path: Path, listed: str) -> None:
    """NOOPS_EXCLUDE_COMMANDS names more."""
    (tmp_path / "migrate.py").write_text(LOADED)
    environ = {**os.environ, "NOOPS_EXCLUDE_COMMANDS": listed}
    assert run(PYTHON, "migrate.py", cwd=tmp_path, env=environ).stdout == "False\n"
    assert run(PYTHON, "-m", "migrate", cwd=tmp_path, env=environ).stdout == (
        "True\n" if ".py" in listed else "False\n"
    )
    assert run(PYTHON, "migrate.py", cwd=tmp_path).stdout == "True\n"


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names in our sitecustomize, loaded as a tool would load it."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pip"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = os.path.join(INJECT, "sitecustomize.py")
    names: dict[str, Any] = {"__file__": path, "__name__": "sitecustomize"}
    with contextlib.suppress(ImportError):  # at its end, as there is no other sitecustomize
        exec(compile(Path(path).read_text(), path, "exec"), names)
    return names


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        (["/venv/bin/pip", "install", "x"], True),
        (["/venv/bin/pip3.11", "install", "x"], True),
        (["/x/pip-24.0-py3-none-any.whl/pip", "install"], True),
        (["/x/site-packages/pip/__main__.py", "install"], True),
        (["/x/site-packages/pip/__pip-runner__.py", "install"], True),
        (["/x/pyproject_hooks/_in_process/_in_process.py", "build_wheel"], True),
        (["setup.py", "bdist_wheel"], True),
        (["-m", "pip"], True),
        (["-mpip"], True),
        (["-Im", "pip"], True),
        (["-W", "ignore", "-X", "dev", "-m", "mypy.dmypy"], True),
        (["--check-hash-based-pycs", "never", "-m", "ruff"], True),
        (["-c", "from multiprocessing.resource_tracker import main;main(5)"], True),
        (["/usr/bin/poetry", "run", "x"], True),
        (["/venv/bin/noops-agent", "show"], True),
        (["-c", "from multiprocessing.spawn import spawn_main; spawn_main()"], False),
        (["-c", "import pip"], False),
        (["-cimport pip"], False),
        (["build.py"], False),
        (["tools/black.py"], False),
        (["-m", "shop.pip"], False),
        (["-m", "shop", "-m", "pip"], False),
        (["app.py", "-m", "pip"], False),
        (["-u", "-W", "error", "app.py", "pip"], False),
        (["/venv/bin/gunicorn", "shop:app"], False),
        (["-"], False),
        (["-i"], False),
        (["-m"], False),
        ([], False),
    ],
)
def test_tools_are_known_by_what_they_were_started_as(
    bootstrap: Mapping[str, Any], words: list[str], tool: bool
) -> None:
    """The arguments of the interpreter tell; those of the program don't."""
    assert bootstrap["is_tool"](*bootstrap["named"](words), "") is tool


# ---- interpreters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8", "3.9"])
def test_an_unknown_interpreter_runs_unharmed(version: str, tmp_path: Path) -> None:
    """It reads our file, and behaves as without it: its own sitecustomize runs, nothing is printed."""
    python = interpreter(version)
    folder = customize(tmp_path / "own", "import sys; sys.stdout.write('own\\n')")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    command = (python, "-c", "import sys; print(sys.path, 'noops_agent' in sys.modules)")
    without = outcome(bare(*command, env=environ))
    assert without[1].startswith("own\n")
    assert outcome(run(*command, env=environ)) == without
    assert outcome(run(python, "-c", "import sitecustomize"))[0] == 1


def test_a_program_continues_the_trace_that_its_environment_names() -> None:
    """The environment is a carrier: a job that a traced program starts is part of its trace."""
    environ = {**os.environ, "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert run(PYTHON, "-c", SPAN, env=environ).returncode == 0
    (span,) = recorded()
    assert (span.trace_id, span.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13", "3.14", "3.15"])
def test_another_interpreter_finds_the_agent_last(version: str, tmp_path: Path) -> None:
    """An interpreter of another environment gets our package, behind everything that it has itself."""
    python = interpreter(version)
    place = installation(tmp_path / "installation")
    environ = {**os.environ, "PYTHONPATH": str(place)}
    # -S: the wrapper itself finds the package in that place only.
    code = "import os; del os.environ['PYTHONPATH']; from noops_agent.__main__ import main; main()"
    words = ("run", python, "-c", f"{SPAN}; import sys; print(sys.path[-1])")
    done = run(*words, under=(PYTHON, "-S", "-c", code), env=environ, cwd=tmp_path)
    assert outcome(done) == (0, f"{place}\n", "")
    (span,) = recorded()
    assert str(span.source.resource["process.runtime.version"]).startswith(version)


def test_another_interpreter_that_lacks_what_we_need_runs_unharmed(tmp_path: Path) -> None:
    """Our folder is taken off its path again."""
    python = interpreter("3.12")
    place = installation(tmp_path / "installation")
    (place / "opentelemetry").unlink()
    asking = (python, "-c", "import sys; print(sys.path)")
    environ = {**os.environ, "PYTHONPATH": str(place / "noops_agent" / "_inject")}
    assert outcome(bare(*asking, env=environ)) == outcome(bare(*asking))


def interpreter(version: str) -> str:
    """Find an interpreter of a version, or skip the test."""
    for place in sorted(PYENV.glob(f"{version}.*")):
        if (place / "bin" / "python").exists():
            return str(place / "bin" / "python")
    pytest.skip(f"no Python {version} here")


def installation(folder: Path) -> Path:
    """Make a folder with the agent and what it depends on, as `pip install --target` does."""
    import wrapt

    import noops_agent
    import noops_instrumentation

    folder.mkdir()
    for package in (noops_agent, noops_instrumentation):
        (folder / package.__name__).symlink_to(Path(str(package.__file__)).parent)
    libraries = Path(wrapt.__file__).parents[1]
    for name in ("opentelemetry", "wrapt", "typing_extensions.py", "importlib_metadata", "zipp"):
        if (libraries / name).exists():
            (folder / name).symlink_to(libraries / name)
    return folder


# ---- child processes and servers -------------------------------------------------------------------------


def test_child_processes_are_traced() -> None:
    """Those of `subprocess` inherit the environment."""
    code = f"import subprocess, sys; {SPAN}; subprocess.run([sys.executable, '-c', {SPAN!r}], check=True)"
    assert run(PYTHON, "-c", code).returncode == 0
    spans = recorded()
    assert len(spans) == len({span.source.resource["process.pid"] for span in spans}) == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing_are_traced(app: Path, method: str) -> None:
    """Each with its own process.pid, however they are started."""
    (app / "main.py").write_text(
        "import multiprocessing, app\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    app.span('parent')\n"
        "    with context.Pool(2) as pool:\n"
        "        pool.map(app.span, ['child'] * 8, chunksize=1)\n"
        "        pool.close()\n"
        "        pool.join()\n"
    )
    done = run(PYTHON, "main.py", cwd=app)
    assert (done.returncode, done.stderr) == (0, "")
    spans = recorded()
    assert sorted(span.name for span in spans) == ["child"] * 8 + ["parent"]
    assert_pids(spans)


def test_a_module_is_traced(app: Path) -> None:
    """`python -m`."""
    (app / "__main__.py").write_text("import app; app.span('main')")
    (app / "package").mkdir()
    (app / "package" / "__main__.py").write_text("import app; app.span('module')")
    assert run(PYTHON, "-m", "package", cwd=app).returncode == 0
    assert run(PYTHON, str(app)).returncode == 0
    assert sorted(span.name for span in recorded()) == ["main", "module"]


@pytest.mark.parametrize(
    "server",
    [
        ["gunicorn", "app:wsgi", "--workers", "2", "--bind", "127.0.0.1:{port}"],
        ["gunicorn", "app:wsgi", "--workers", "2", "--preload", "--bind", "127.0.0.1:{port}"],
        ["uvicorn", "app:asgi", "--workers", "2", "--port", "{port}"],
    ],
    ids=["gunicorn", "gunicorn preload", "uvicorn"],
)
def test_the_workers_of_a_server_are_traced(server: list[str], app: Path) -> None:
    """Each worker's spans are recorded, under the pid of the worker, and the server ends as without us."""
    name, *options = server
    port = free_port()
    command = [*RUN, PYTHON, "-m", name, *(option.format(port=port) for option in options)]
    with serving(command, app, port) as program:
        answered = ask_until(f"http://127.0.0.1:{port}/", lambda answers: len(set(answers)) == 2)
        assert program.pid not in answered
    assert program.returncode in (0, -signal.SIGTERM)
    spans = recorded()
    own = [span for span in spans if "pid" in span.attributes]
    assert {span.attributes["pid"] for span in own} == set(answered)
    assert len(own) == len(answered)
    assert_pids(own)
    served = {span.span_id for span in spans if span.kind == "server"}
    assert len(served) == len(answered)
    assert {span.parent_id for span in own} == served


def assert_pids(spans: Sequence[Span]) -> None:
    """Each span is told of by the process that made it."""
    assert all(span.source.resource["process.pid"] == span.attributes["pid"] for span in spans)
    instances = {(s.source.resource["process.pid"], s.source.resource["service.instance.id"]) for s in spans}
    assert len({pid for pid, _ in instances}) == len({instance for _, instance in instances}) == len(instances)


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def serving(command: list[str], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the block lasts; its workers end with it."""
    output = folder / "output"
    with output.open("wb") as stream:
        program = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        await_until(lambda: program.poll() is not None or accepts(port))
        assert program.poll() is None, output.read_text()
        yield program
        program.terminate()
        program.wait(LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait(LIMIT_S)


def accepts(port: int) -> bool:
    """Whether something listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ask_until(url: str, condition: Callable[[list[int]], bool]) -> list[int]:
    """Send requests until their answers, the pids of workers, fulfil a condition."""
    answers: list[int] = []

    def ask() -> bool:
        with urllib.request.urlopen(url, timeout=10) as answer:
            answers.append(int(answer.read()))
        return condition(answers)

    await_until(ask)
    return answers


def await_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nobody announces."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
