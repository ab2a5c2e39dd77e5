"""Layers of calls: of a framework and the client beneath it, the outer one speaks."""

from __future__ import annotations

from contextvars import ContextVar

LAYERS: ContextVar[int] = ContextVar("noops_layers", default=0)
"""Bits of the layers that have an operation running here."""

_bits: dict[str, int] = {"": 0}


def layer_bit(layer: str) -> int:
    """Give the bit of a layer."""
    return _bits.setdefault(layer, 1 << len(_bits))


HTTP = layer_bit("http")
