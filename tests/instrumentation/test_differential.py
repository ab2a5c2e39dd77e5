"""What clients and servers see of an application is the same with the agent and without."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator

import pytest

from . import differential
from .conftest import Observe

FRAMEWORKS = sorted(module.name for module in pkgutil.iter_modules(differential.__path__))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Frameworks log the failures that are asked for."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_answers_exceptions_and_cancellation_are_the_same(observed: Observe, framework: str) -> None:
    """Byte by byte; and once more when the agent has gone."""
    pytest.importorskip(framework if framework not in ("wsgi", "asgi") else "uvicorn")
    module = importlib.import_module(f"{differential.__name__}.{framework}")
    requests = module.requests()
    before = {name: differential.outcome(request) for name, request in requests.items()}
    with observed(*module.LIBRARIES) as seen:
        for name, request in requests.items():
            seen.clear()
            assert differential.outcome(request) == before[name], name
            assert len([span for span in seen.spans if not span.name.startswith("background")]) == 1, name
    for name, request in requests.items():
        assert differential.outcome(request) == before[name], name
