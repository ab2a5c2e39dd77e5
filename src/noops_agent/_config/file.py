"""Finds and reads the settings file: `noops.toml`, or `[tool.noops_agent]` of pyproject.toml."""

from __future__ import annotations

import os
import stat
from typing import Any

from .._diagnostics import say

SECTION = "noops_agent"


def read_file(folder: str | None) -> tuple[dict[str, Any], str]:
    """Read the nearest settings file from *folder* upwards, to the root of the repository or the home folder.

    Returns:
        What it holds, and its name; both are empty where there is none.
    """
    try:
        place = os.path.abspath(folder or os.getcwd())
    except OSError:  # the working folder was deleted
        return {}, ""
    home = os.path.expanduser("~")
    while True:
        for name in ("noops.toml", "pyproject.toml"):
            found = read_candidate(place, name)
            if found is not None:
                return found, name
        parent = os.path.dirname(place)
        if parent == place or place == home or os.path.exists(os.path.join(place, ".git")):
            return {}, ""
        place = parent


def read_candidate(folder: str, name: str) -> dict[str, Any] | None:
    """Give the settings of one file; None where it isn't there or is about other things."""
    path = os.path.join(folder, name)
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            content = file.read()
        if name == "pyproject.toml" and not mentions_us(content):
            return None
        if not trusted(folder, path):
            say("setting.untrusted", key=path, path=path)
            return None
        read = parse(content)
        found = read if name == "noops.toml" else read.get("tool", {}).get(SECTION)
        if found is not None and not isinstance(found, dict):
            raise ValueError(f"{SECTION} is no table")
        return found
    except Exception as error:
        say("setting.file", key=path, path=path, error=str(error) or repr(error))
        return {}


def mentions_us(content: bytes) -> bool:
    """Whether a pyproject.toml may have our section; dependencies name us too, and the parser is slow."""
    ours = SECTION.encode()
    lines = (line.lstrip() for line in content.splitlines() if ours in line)
    return any(line.startswith((b"[", b"tool", ours)) for line in lines)


def trusted(folder: str, path: str) -> bool:
    """Whether a file wasn't planted: in a folder that all users write to it must be this user's or root's."""
    everybody = stat.S_IWOTH | stat.S_ISVTX
    if os.stat(folder).st_mode & everybody != everybody:
        return True
    return os.stat(path).st_uid in (0, os.geteuid())


def parse(content: bytes) -> dict[str, Any]:
    """Parse TOML."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[no-redef, import-not-found, unused-ignore]
        except ImportError:
            raise ValueError("this Python has no TOML parser; install the package tomli") from None
    return tomllib.loads(content.decode("utf-8"))
