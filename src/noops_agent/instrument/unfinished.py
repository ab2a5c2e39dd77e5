"""Modules that are still being imported: what is to be patched in them may not be there yet.

An integration comes in once a module of its library is imported, and that may be in the midst of the import of another
one: Django's `handlers.wsgi` begins with the import of `handlers.base`. `importlib` tells the end of an import by an
attribute of the module's spec, and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Then = Callable[[Any], object]


class Unfinished(ModuleSpec):
    """The class of a spec until the import of its module ends."""

    def __setattr__(self, name: str, value: object) -> None:
        """Take note of the end of the import."""
        super().__setattr__(name, value)
        if name == "_initializing" and not value:
            waiting: list[Then] = self.__dict__.pop("noops_waiting", [])
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            module = sys.modules.get(self.name)
            if module is not None:  # else the import has failed
                for then in waiting:
                    then(module)


def postponed(module: ModuleType, then: Then) -> bool:
    """Have *then* called with a module once its import has ended; False: it has, so do it now.

    Args:
        module: Of `sys.modules`.
        then: Must not raise: it runs inside the application's import.
    """
    spec: Any = getattr(module, "__spec__", None)
    if not getattr(spec, "_initializing", False) or type(spec) not in (ModuleSpec, Unfinished):
        return False
    spec.__class__ = Unfinished
    spec.__dict__.setdefault("noops_waiting", []).append(then)
    return True
