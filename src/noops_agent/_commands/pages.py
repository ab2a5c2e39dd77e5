"""The reference pages, written from the tables that the agent itself reads."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import noops_instrumentation

from .. import _diagnostics
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

LIBRARIES_HEAD = """# Libraries that are instrumented

Generated from the files in `instrumentation/noops_instrumentation` by `noops-agent config --markdown docs`.

Each library is instrumented when a program imports it, under `noops-agent run` and after `noops_agent.init()`;
`noops-agent doctor` tells what is patched in this environment. `NOOPS_INSTRUMENT=flask,redis` instruments these
alone, `NOOPS_DISABLE=redis` leaves one out; the names that OpenTelemetry's instrumentors have are understood too.
In code, `noops_agent.instrument.enable("flask", **options)` gives a handle whose `disable()` undoes exactly that.

All take the options `excluded_urls`, `request_hook(span, request)`, `response_hook(span, request, response)`,
`request_headers`, `response_headers`, `semconv_opt_in`, `tracer_provider` and `meter_provider`; the table names those
that a library has beside them. Newer versions than those that were tried are taken on trust: each target is looked
for, and what is missing is left out and told.

| name | versions | what is told | options |
|---|---|---|---|
"""


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


# ---- pages -----------------------------------------------------------------------------------------------


def all_of_them() -> dict[str, str]:
    """Give each page by the name of its file."""
    return {"settings.md": settings(), "messages.md": messages(), "instrumentation.md": libraries()}


def settings() -> str:
    """Write docs/settings.md."""
    rows = []
    for setting in TABLE:
        variables = "<br>".join(f"`{name}`" for name in setting.variables)
        default = plain(setting.default)
        shown = setting.default_doc or ("none" if default == "-" else f"`{default}`")
        rows.append(f"| `{setting.name}` | {variables} | {shown} | {setting.doc} |\n")
    return SETTINGS_HEAD + "".join(rows)


def messages() -> str:
    """Write docs/messages.md."""
    levels = {_diagnostics.DEBUG: "debug", _diagnostics.INFO: "info", _diagnostics.WARNING: "warning"}
    rows = [f"| `{slug}` | {levels[level]} | {text} |\n" for slug, (level, text) in _diagnostics.MESSAGES.items()]
    return MESSAGES_HEAD + "".join(rows)


class Described(NamedTuple):
    """What the file of an integration says of its library."""

    name: str
    versions: str
    text: str
    options: tuple[str, ...]


def libraries() -> str:
    """Write docs/instrumentation.md."""
    rows = []
    for found in described():
        options = ", ".join(f"`{name}`" for name in found.options)
        rows.append(f"| `{found.name}` | {found.versions} | {found.text} | {options} |\n")
    return LIBRARIES_HEAD + "".join(rows)


def described() -> Iterator[Described]:
    """Read the files of all integrations, without importing them or their libraries."""
    folder = os.path.dirname(str(noops_instrumentation.__file__))
    for name, triggers in sorted(noops_instrumentation.LIBRARIES.items()):
        with open(os.path.join(folder, f"{name}.py"), encoding="utf-8") as file:
            tree = ast.parse(file.read())
        paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(tree) or "").split("\n\n")]
        text = " ".join(part for part in paragraphs if not part.startswith("Source:"))
        known = declared(tree)
        standard = all(trigger.partition(".")[0] in sys.stdlib_module_names for trigger in triggers)
        versions = known.get("versions") or ("of the standard library" if standard else "any")
        yield Described(name, versions, text.replace("|", "\\|"), known.get("options", ()))


def declared(tree: ast.Module) -> dict[str, Any]:
    """Read the literal arguments of the `Instrumentation` that a file declares."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Instrumentation":
            words = {str(word.arg): word.value for word in node.keywords}
            return {name: ast.literal_eval(words[name]) for name in ("versions", "options") if name in words}
    return {}
