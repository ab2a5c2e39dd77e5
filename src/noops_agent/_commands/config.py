"""`noops-agent config`: each setting, its value and where that comes from; writes the reference pages too."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .. import _diagnostics
from .._config import Row, Settings, load, masked
from .._config.table import TABLE

SETTINGS_HEAD = """# Settings

Generated from the table in `_config/table.py` by `noops-agent config --markdown docs`.

Each setting is a keyword of `init()`, a `NOOPS_*` variable and a key of `noops.toml` or of
`[tool.noops_agent]` in `pyproject.toml` (the nearest of them, from the working folder upwards to the root of
the repository); many have variables of the OpenTelemetry specification too. The first of keyword, `NOOPS_*`,
`OTEL_*`, file and default holds. An empty variable is unset. A value that can't be read is said and passed
over.

Durations are seconds or `500ms`, `5s`, `1m`; those of `OTEL_*` variables are milliseconds. Sizes are bytes or
`512k`, `64MiB`. Lists are separated by commas. Pairs are `key=value,key=value`, percent-encoded. Only `true`
is true.

| setting | variables | default | meaning |
|---|---|---|---|
"""

MESSAGES_HEAD = """# What the agent says

Generated from `_diagnostics.MESSAGES` by `noops-agent config --markdown docs`.

Each message is said once, or once for each thing that it is about, through the logger `noops_agent`.
`NOOPS_LOG_LEVEL=none` turns them off.

| slug | level | message |
|---|---|---|
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--changed", action="store_true", help="only settings that differ from their default")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="print the reference of all settings, or write settings.md and messages.md into FOLDER",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; give the exit status."""
    if arguments.markdown is not None:
        return write_pages(arguments.markdown)
    settings = load()
    rows = [row for row in settings.describe() if row.origin != "default" or not arguments.changed]
    if arguments.json:
        print(json.dumps([as_object(row) for row in rows], indent=2))
    else:
        print_table(rows)
        print(f"\n{destination(settings)}")
    return 0


def as_object(row: Row) -> dict[str, Any]:
    """Give a row as an object of JSON."""
    return {
        "name": row.name,
        "value": row.value,
        "origin": row.origin,
        "variables": row.variables,
        "meaning": row.doc,
    }


def print_table(rows: Sequence[Row]) -> None:
    """Print rows in aligned columns."""
    cells = [("setting", "value", "from"), *((row.name, plain(row.value), row.origin) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in (0, 1)]
    for name, value, origin in cells:
        print(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}")


def plain(value: Any) -> str:
    """Write a value as a variable would hold it; what would be empty is a dash."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, (tuple, list)):
        value = ",".join(map(str, value))
    text = "" if value is None else str(value)
    return text.encode(sys.stdout.encoding or "utf-8", "replace").decode(errors="replace") or "-"


def destination(settings: Settings) -> str:
    """Say in a sentence where spans go."""
    if not settings.enabled:
        return "The agent is switched off."
    if settings.exporters == ("none",):
        return "Spans are not exported."
    places = []
    for name in settings.exporters:
        if name == "otlp":
            target = settings.otlp_traces
            places.append(f"to {masked('endpoint', target.endpoint)} by OTLP ({target.protocol})")
        elif name == "local":
            places.append(f"to the store in {settings.state_dir}")
        else:
            places.append(f"to the exporter {name}")
    return f"Spans go {' and '.join(places)}."


# ---- reference pages -------------------------------------------------------------------------------------


def settings_page() -> str:
    """Write docs/settings.md."""
    rows = []
    for setting in TABLE:
        variables = "<br>".join(f"`{name}`" for name in setting.variables)
        default = plain(setting.default)
        shown = setting.default_doc or ("none" if default == "-" else f"`{default}`")
        rows.append(f"| `{setting.name}` | {variables} | {shown} | {setting.doc} |\n")
    return SETTINGS_HEAD + "".join(rows)


def messages_page() -> str:
    """Write docs/messages.md."""
    levels = {_diagnostics.DEBUG: "debug", _diagnostics.INFO: "info", _diagnostics.WARNING: "warning"}
    rows = [f"| `{slug}` | {levels[level]} | {text} |\n" for slug, (level, text) in _diagnostics.MESSAGES.items()]
    return MESSAGES_HEAD + "".join(rows)


def write_pages(folder: str) -> int:
    """Write both pages into a folder; without one print that of the settings."""
    if not folder:
        print(settings_page(), end="")
        return 0
    for name, page in (("settings.md", settings_page()), ("messages.md", messages_page())):
        try:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(page)
        except OSError as error:
            print(f"noops-agent config: {error}", file=sys.stderr)
            return 1
    return 0
