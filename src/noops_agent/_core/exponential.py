"""Base-2 exponential buckets, as `aggregate.h` has them.

Source: OpenTelemetry specification, metrics/data-model.md, "ExponentialHistogram".
"""

from __future__ import annotations

import math
import struct
import sys

from .measured import MIN_SCALE

_DOUBLE, _BITS = struct.Struct("<d"), struct.Struct("<Q")
_MANTISSA = (1 << 52) - 1
_FACTORS = [math.ldexp(1 / math.log(2), scale) for scale in range(64)]


def index_of(number: float, scale: int) -> int:
    """Give the index i of the bucket (base ** i, base ** (i + 1)] of a positive number, base = 2 ** (2 ** -scale).

    Numbers below the normal range share the bucket that ends at its lower end.
    """
    bits: int = _BITS.unpack(_DOUBLE.pack(number))[0]
    exponent = (bits >> 52 & 0x7FF) - 1023
    if scale <= 0:
        if number < sys.float_info.min:
            return (-1022 >> -scale) - (-scale < 2)
        return (exponent - (not bits & _MANTISSA)) >> -scale
    if number <= sys.float_info.min:
        return (-1022 << scale) - 1
    if not bits & _MANTISSA:
        return (exponent << scale) - 1
    return min(math.floor(math.log(number) * _FACTORS[scale]), (1024 << scale) - 1)


class Buckets:
    """Counts of the positive and of the negative numbers, at one scale."""

    __slots__ = ("max_size", "scale", "sides")

    def __init__(self, max_size: int, max_scale: int) -> None:
        self.max_size = max_size
        self.scale = max_scale
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def count(self, number: float, signed: bool) -> None:
        """Count a number other than 0; a range that would not fit takes a lower scale."""
        side = self.sides[number < 0 and signed]
        index = index_of(abs(number), self.scale)
        while side and self._coarsen(min(index, min(side)), max(index, max(side))):
            side = self.sides[number < 0 and signed]
            index = index_of(abs(number), self.scale)
        side[index] = side.get(index, 0) + 1

    def _coarsen(self, low: int, high: int) -> bool:
        change = 0
        while high - low >= self.max_size and self.scale - change > MIN_SCALE:
            low, high, change = low >> 1, high >> 1, change + 1
        if change:
            self.scale -= change
            self.sides = (_joined(self.sides[0], change), _joined(self.sides[1], change))
        return bool(change)

    def report(self, side: int) -> tuple[int, list[int]]:
        """Give the index of the first bucket of a side, and the counts from there on."""
        counts = self.sides[side]
        if not counts:
            return 0, []
        low, high = min(counts), max(counts)
        return low, [counts.get(index, 0) for index in range(low, high + 1)]


def _joined(counts: dict[int, int], change: int) -> dict[int, int]:
    joined: dict[int, int] = {}
    for index, count in counts.items():
        joined[index >> change] = joined.get(index >> change, 0) + count
    return joined
