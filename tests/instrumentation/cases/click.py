"""A command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """One that does nothing, and one that fails."""
    click = pytest.importorskip("click")

    def refuse() -> None:
        raise click.UsageError("not like this")

    work = click.Command("work", callback=lambda: None)
    fail = click.Command("fail", callback=refuse)
    yield [
        Case(
            "click",
            lambda: work.main([], "work", standalone_mode=False),
            fails=lambda: fail.main([], "fail", standalone_mode=False),
        )
    ]
