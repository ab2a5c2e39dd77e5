"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.adversity.recording import Recording


class Messages:
    """What the agent said since the test began, a text for each message."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __iter__(self) -> Iterator[str]:
        return iter([r.getMessage() for r in self._caplog.records if r.name == "noops_agent"])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, part: str) -> bool:
        return any(part in text for text in self)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Messages:
    """What the agent says during the test; `in` looks for a part of a message."""
    caplog.set_level(logging.INFO)
    return Messages(caplog)


Make = Callable[..., Recording]


@pytest.fixture
def make(core: ModuleType, tmp_path: Path) -> Iterator[Make]:
    """Makes recordings, and closes them."""
    made: list[Recording] = []

    def record(sinks: list[Any] | None = None, **settings: Any) -> Recording:
        settings.setdefault("exporters", ("otlp",))
        made.append(Recording(core, tmp_path / "state", sinks, **settings))
        return made[-1]

    yield record
    for recording in made:
        recording.close()
