"""The command line: `noops-agent`, and `python -m noops_agent`."""

from __future__ import annotations

import os
import sys

from ._version import VERSION

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "run": "run a command with the agent in it, and in every Python program that it starts",
    "show": "show the newest traces recorded on this machine",
    "doctor": "check what is on, where it goes and whether it arrives",
    "config": "show every setting, its value and where that comes from",
}
FAILED, MISUSED, INTERRUPTED, UNREAD = 1, 2, 130, 141
"""Exit statuses; the last two are those that shells have for SIGINT and SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["run"]:  # it comes before every start of a program: no parser, nothing else either
            from ._commands import run

            status = run.main(words[1:])
        else:
            status = run_command(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `noops-agent show | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def run_command(words: list[str]) -> int:
    """Read the command line and run the command that it names."""
    import argparse
    import importlib

    parser = argparse.ArgumentParser(prog="noops-agent", description="Observability agent that can be left on.")
    parser.add_argument("-V", "--version", action="version", version=f"noops-agent {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if [name] == words[:1]:
            try:
                module = importlib.import_module(f"._commands.{name}", __package__)
            except ImportError as error:
                print(f"noops-agent: `{name}` can't be loaded: {error}", file=sys.stderr)
                return FAILED
            module.add_arguments(command)
    arguments = parser.parse_args(words)
    if not arguments.command:
        parser.print_help(sys.stderr)
        return MISUSED
    return int(module.execute(arguments))


if __name__ == "__main__":
    sys.exit(main())
