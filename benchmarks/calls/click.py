"""One command that does nothing."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.click:ClickInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-click"
DDTRACE = None
REQUIRES = ("click",)


def prepare() -> Callable[[], object]:
    """The command, parsed already."""
    import click

    command = click.Command("work", callback=int)
    context = click.Context(command, info_name="work")
    return lambda: command.invoke(context)
