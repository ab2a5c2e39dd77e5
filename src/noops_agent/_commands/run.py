"""`noops-agent run`: put our `sitecustomize` on the path and become the command.

This comes before every start of the program, so it loads nothing that it can do without: no parser, no settings.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

HELP = """usage: noops-agent run [options] [--] COMMAND [ARGUMENT ...]

Runs a command with the agent in it, and in every Python program that it starts. A file that ends
with .py is run with this Python.

options:
  --service-name NAME   name of the service
  --endpoint URL        OTLP endpoint to send to; without one everything stays on this machine
  --exporter NAMES      otlp, console, local, none; several with commas
  --set NAME=VALUE      any setting of `noops-agent config`; may be given several times
  -h, --help            this text

examples:
  noops-agent run --service-name shop gunicorn shop:app
  noops-agent run --set sample_budget=50 --set keep=errors,slow python -m shop"""

INJECT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_inject")
SETTINGS = {"--service-name": "service_name", "--endpoint": "endpoint", "--exporter": "exporters"}
NOT_FOUND, NOT_RUNNABLE, MISUSED = 127, 126, 2
"""Exit statuses, as shells have them."""


class Misuse(Exception):
    """The words of the command line are off."""


def main(words: Sequence[str]) -> int:
    """Replace this process by the command; gives an exit status where that can't be done."""
    if len(words) == 0 or words[0] in ("-h", "--help"):
        print(HELP, file=sys.stdout if words else sys.stderr)
        return 0 if words else MISUSED
    try:
        variables, command = split(list(words))
    except Misuse as error:
        return fail(MISUSED, f"{error}; see noops-agent run --help")
    command = with_interpreter(command)
    environ = environment(variables)
    restore_signals()
    sys.stdout.flush()
    try:
        become(command, environ)
    except (OSError, ValueError) as error:
        return explain(command[0], error)


def split(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split the words into variables to set, and the command as it was given.

    Raises:
        Misuse: An option that isn't there, lacks its value or can't take it; no command.
    """
    variables: dict[str, str] = {}
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        option, separator, value = word.partition("=")
        if option not in SETTINGS and option != "--set":
            raise Misuse(f"there is no option {word}")
        if not separator:
            if not words:
                raise Misuse(f"{option} needs a value")
            value = words.pop(0)
        name = SETTINGS.get(option)
        if name is None:
            name, separator, value = value.partition("=")
            check(name, separator)
        variables["NOOPS_" + name.removesuffix("_s").upper()] = value
    if not words:
        raise Misuse("there is no command to run")
    return variables, words


def check(name: str, separator: str) -> None:
    """Refuse what is no setting: the person is still here to correct it."""
    if not separator:
        raise Misuse("--set takes NAME=VALUE")
    from .._config.table import BY_NAME

    if name not in BY_NAME:
        from difflib import get_close_matches

        close = get_close_matches(name, BY_NAME, 1)
        raise Misuse(f"there is no setting {name!r}" + (f", did you mean {close[0]!r}?" if close else ""))


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Give the environment of the command: ours, the variables of the options, our folder first on PYTHONPATH."""
    environ = {**os.environ, **variables, "NOOPS_RUN": "1"}
    restore_locale(environ)
    before = [place for place in environ.get("PYTHONPATH", "").split(os.pathsep) if place != INJECT]
    environ["PYTHONPATH"] = os.pathsep.join([INJECT, *before] if any(before) else [INJECT])
    return environ


def restore_locale(environ: dict[str, str]) -> None:
    """Take back what this interpreter did to LC_CTYPE when it started (PEP 538): the command must not inherit it."""
    if environ.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            began = file.read().split(b"\0")
    except OSError:
        return
    del environ["LC_CTYPE"]
    for variable in began:
        if variable.startswith(b"LC_CTYPE="):
            environ["LC_CTYPE"] = os.fsdecode(variable[9:])


def restore_signals() -> None:
    """Give back the signals that Python ignores for itself: a command inherits what is ignored."""
    import _signal  # type: ignore[import-not-found]  # `signal` would load enum and more

    for name in ("SIGPIPE", "SIGXFSZ"):
        number = getattr(_signal, name, None)
        if number is not None:
            _signal.signal(number, _signal.SIG_DFL)


def with_interpreter(command: list[str]) -> list[str]:
    """Put this Python before a file that ends with .py and can't be run by itself."""
    name = command[0]
    if not name.endswith(".py") or not os.path.isfile(name):
        return command
    if os.access(name, os.X_OK) if os.sep in name else on_path(name):
        return command
    return [sys.executable, *command]


def on_path(name: str) -> bool:
    """Whether a shell would find a command of that name."""
    return any(os.access(os.path.join(place, name), os.X_OK) for place in os.get_exec_path())


def become(command: list[str], environ: dict[str, str]) -> NoReturn:
    """Replace this process, as `execvp` of C does: a file that no system call can start is a shell's script.

    Raises:
        OSError: The command can't be started.
        ValueError: A word of it can't be passed on.
    """
    try:
        os.execvpe(command[0], command, environ)
    except OSError as error:
        import errno

        if error.errno != errno.ENOEXEC:
            raise
    name = command[0]
    places = [name] if os.sep in name else [os.path.join(place, name) for place in os.get_exec_path(environ)]
    script = next(place for place in places if os.access(place, os.X_OK))
    os.execve("/bin/sh", ["sh", script, *command[1:]], environ)


def explain(name: str, error: Exception) -> int:
    """Say why a command can't be started in the words of a shell; gives a shell's exit status."""
    if isinstance(error, FileNotFoundError):
        if os.sep not in name:
            return fail(NOT_FOUND, f"{name}: command not found")
        if os.path.exists(name):
            return fail(NOT_FOUND, f"{name}: cannot execute: required file not found")
        return fail(NOT_FOUND, f"{name}: No such file or directory")
    if os.path.isdir(name) and os.sep in name:
        return fail(NOT_RUNNABLE, f"{name}: Is a directory")
    return fail(NOT_RUNNABLE, f"{name}: {getattr(error, 'strerror', None) or error}")


def fail(status: int, text: str) -> int:
    """Print an error; gives the exit status."""
    print(f"noops-agent: {text}", file=sys.stderr)
    return status
