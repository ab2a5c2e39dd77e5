"""`noops-agent config`: each setting, its value and where that comes from; writes the reference pages too."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from .._config import Row, Settings, load, masked
from . import pages
from .pages import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--changed", action="store_true", help="only settings that differ from their default")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="print the reference of all settings, or write all reference pages into FOLDER",
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


def write_pages(folder: str) -> int:
    """Write the reference pages into a folder; without one print that of the settings."""
    if not folder:
        print(pages.settings(), end="")
        return 0
    for name, page in pages.all_of_them().items():
        try:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(page)
        except OSError as error:
            print(f"noops-agent config: {error}", file=sys.stderr)
            return 1
    return 0
