"""Fixtures of the tests that start real programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import CORES
from .collector import Collector
from .launch import Launch


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts programs that send to a collector which takes everything, unless it is told otherwise."""
    collector = Collector()
    made = Launch(tmp_path, collector)
    yield made
    made.close()
    collector.close()


@pytest.fixture(params=[core.NAME for core in CORES])
def core_name(request: pytest.FixtureRequest) -> str:
    """The name of each core in turn, for NOOPS_CORE."""
    name: str = request.param
    return name
