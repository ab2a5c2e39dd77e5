"""Observability agent that can be left on.

    import noops_agent

    noops_agent.init()

    with noops_agent.span("checkout", cart_items=3):
        ...

Importing this package loads nothing; a name loads its room when it is first used.
"""

from __future__ import annotations

from ._version import VERSION as __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without loading typing: `noops-agent run` comes before every start

_HOMES = {
    "init": "._lifecycle",
    "shutdown": "._lifecycle",
    "flush": "._lifecycle",
    "status": "._lifecycle",
    "stats": "._lifecycle",
    "span": "._signals.span",
    "suppress": "._signals.context",
    "counter": "._signals.measure",
    "up_down_counter": "._signals.measure",
    "gauge": "._signals.measure",
    "histogram": "._signals.measure",
    "observe": "._signals.observe",
    "timed": "._signals.timed",
}

__all__ = [
    "__version__",
    "counter",
    "flush",
    "gauge",
    "histogram",
    "init",
    "observe",
    "sdk",
    "shutdown",
    "span",
    "stats",
    "status",
    "suppress",
    "timed",
    "up_down_counter",
]

if TYPE_CHECKING:
    from typing import Any

    from . import sdk
    from ._lifecycle import flush, init, shutdown, stats, status
    from ._signals.context import suppress
    from ._signals.measure import counter, gauge, histogram, up_down_counter
    from ._signals.observe import observe
    from ._signals.span import span
    from ._signals.timed import timed


def __getattr__(name: str) -> Any:
    import importlib

    if name == "sdk":
        return importlib.import_module(".sdk", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home, __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
