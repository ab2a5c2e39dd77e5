"""Starts the agent in each Python program under `noops-agent run`, then gives way to the program's own sitecustomize.

Any interpreter may meet this file, so it is written for old ones too (2.7, 3.6), and it lets nothing out: a
program that can't be instrumented runs as it would without us.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))

# Of installing and building; of checking and formatting; of the operating system; of looking at other programs.
TOOLS = frozenset(
    """
    pip pipx pipenv pip-compile pip-sync ensurepip setuptools easy_install build wheel twine virtualenv venv
    virtualenv-clone conda mamba poetry pdm uv uvx hatch hatchling flit rye pyenv cython cythonize meson ninja cmake
    scons f2py gyp compileall py_compile zipapp sysconfig pydoc
    tox nox pre-commit pre_commit ruff black isort yapf autopep8 flake8 pycodestyle pyflakes pylint mypy dmypy
    stubgen stubtest pyright basedpyright bandit vulture pylsp jedi-language-server
    lsb_release apport add-apt-repository unattended-upgrade command-not-found dnf yum
    py-spy opentelemetry-instrument opentelemetry-bootstrap ddtrace-run newrelic-admin noops-agent noops_agent
    """.split()  # noqa: SIM905 (words are read more easily)
)
"""Modules and console scripts that are tools; versions at the end (`pip3.11`) don't matter."""

TOOL_FILES = frozenset(
    ("setup.py", "get-pip.py", "_in_process.py", "__pip-runner__.py", "get_interpreter_info.py", "py_info.py")
)
"""Files that tools run; a program of somebody's own may be called build.py or black.py."""

TOOL_CODE = (
    "from multiprocessing.resource_tracker import",
    "from multiprocessing.semaphore_tracker import",
    "from joblib.externals.loky.backend.resource_tracker import",
    "import setuptools",
    "import sys, setuptools",
    "\nexec(compile('''\n# This is <pip-setuptools-caller>",
)
"""Beginnings of code that tools, and helpers of libraries, run with `-c`."""


def named(words):
    # type: (list[str]) -> tuple[str, str]
    """Find what an interpreter was told to run, in its arguments after the first.

    Returns:
        "m" and a module, "c" and code, "file" and a path; empty texts where it was told nothing.
    """
    while words:
        word, words = words[0], words[1:]
        if not word.startswith("-"):
            return "file", word
        if word == "--check-hash-based-pycs":
            words = words[1:]
        letters = "" if word.startswith("--") else word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "mcWX":
                value = letters or "".join(words[:1])
                if letter in "mc":
                    return letter, value
                words = words if letters else words[1:]
                break
    return "", ""


def is_tool(kind, value, more):
    # type: (str, str, str) -> bool
    """Whether a program is a tool that nobody wants spans of.

    Args:
        kind: As `named` gives it.
        value: As `named` gives it.
        more: Names of further tools, separated by commas.
    """
    if kind == "c":
        return value.startswith(TOOL_CODE)
    name = os.path.basename(value)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(value))
    names = {name, name.split(".")[0]}
    if not names.isdisjoint(word.strip() for word in more.split(",") if word.strip()):
        return True
    if kind == "file" and name.endswith(".py"):
        return name in TOOL_FILES
    return name.split(".")[0] in TOOLS or name.rstrip("0123456789.-") in TOOLS


def wanted():
    # type: () -> bool
    """Whether the agent knows this interpreter, and is of use to this program."""
    if sys.version_info < (3, 10) or sys.version_info >= (3, 16) or sys.implementation.name != "cpython":
        return False
    # sys.argv is not there yet; a server that embeds the interpreter may leave both empty.
    kind, value = named(list(getattr(sys, "orig_argv", ()))[1:])
    return not is_tool(kind, value, os.environ.get("NOOPS_EXCLUDE_COMMANDS", ""))


def reach():
    # type: () -> None
    """Let an interpreter that has no noops_agent of its own find ours, after everything else that it finds."""
    try:
        import noops_agent  # noqa: F401
    except ImportError:
        sys.path.append(os.path.dirname(os.path.dirname(FOLDER)))


def start():
    # type: () -> None
    """Start the agent where it is wanted; what goes wrong stays in here."""
    before = list(sys.path)
    try:
        if wanted():
            reach()
            import noops_agent._lifecycle

            noops_agent._lifecycle.start_injected()
    except (Exception, SystemExit):
        # Nothing can be said here: the streams belong to the program. `noops-agent doctor` finds the reason.
        sys.path[:] = before


def give_way():
    # type: () -> None
    """Leave the path and the table of modules as they are without us; PYTHONPATH stays, for child processes."""
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != FOLDER]
    sys.modules.pop("sitecustomize", None)


start()
give_way()

# The program's own module takes our place. Where there is none this raises as it does without us, and what it
# raises itself is told as ever: `site` handles both. (A statement could be put off by `-X lazy_imports=all`.)
__import__("sitecustomize")
