"""Fixtures of the contract tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.contract.recorded import Recorded, Sink


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A provider that records."""
    made = Recorded()
    yield made
    made.provider.shutdown()
    made.recorder.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A server that takes everything."""
    made = Sink()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
