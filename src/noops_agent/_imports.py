"""Acting once a module has been imported.

`wrapt` has such hooks too, but importing it loads asyncio, ssl and more, and costs more than the rest of our start.
"""

from __future__ import annotations

import _thread
import importlib
import sys
from collections.abc import Callable
from typing import Any

Then = Callable[[Any], object]


class Watch:
    """Finder that lets the others find a module, and acts once the module has run. It finds nothing by itself."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Then]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Give the spec that the finders behind this one have for a module that is waited for; None for all others."""
        if name not in self.waiting:
            return None
        rest = (finder for finder in list(sys.meta_path) if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in rest if hasattr(finder, "find_spec"))
        spec: Any = next((spec for spec in found if spec is not None), None)
        execute = getattr(getattr(spec, "loader", None), "exec_module", None)
        if execute is None:
            return spec

        def exec_module(module: Any) -> None:
            execute(module)
            self.act(name, module)

        try:
            spec.loader.exec_module = exec_module
        except AttributeError:  # a loader that can't be changed: the module is not watched
            pass
        return spec

    def act(self, name: str, module: Any) -> None:
        """Do what waits for a module, once."""
        for then in self.waiting.pop(name, []):
            then(module)
        self.settle()

    def settle(self) -> None:
        """Stand first among the finders while something is waited for, and not at all otherwise."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self.waiting:
            sys.meta_path.insert(0, self)


_watch = Watch()


def on_import(name: str, then: Then) -> Callable[[], None]:
    """Call *then* with a module once it has been imported, at once if it has been; gives what takes that back.

    Args:
        name: Full name of the module.
        then: Must not raise: it runs inside the application's import.
    """
    if name in sys.modules:
        then(sys.modules[name])
        return lambda: None
    _watch.waiting.setdefault(name, []).append(then)
    _watch.settle()

    def forget() -> None:
        waiting = _watch.waiting.get(name, [])
        if then in waiting:
            waiting.remove(then)
        if not waiting:
            _watch.waiting.pop(name, None)
        _watch.settle()

    return forget


def drop_unfinished() -> None:
    """Forget, in a forked child, the imports that other threads of the parent had under way.

    Those threads are not here, so the locks of their modules would never be released, and the modules never be
    finished; the next import of them begins anew.
    """
    try:
        locks = importlib._bootstrap._module_locks  # type: ignore[attr-defined]
        for name, reference in list(locks.items()):
            owner = getattr(reference(), "owner", None)
            if owner is not None and owner != _thread.get_ident():
                locks.pop(name, None)
                if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
                    sys.modules.pop(name, None)
    except Exception:  # an interpreter that keeps them elsewhere
        pass
