"""What a terminal can show: its width, its colours, and text that is safe to print there."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from typing import NamedTuple

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
PLAIN = ""
UNKNOWN_WIDTH = 120
NARROWEST, WIDEST = 40, 200


class Terminal(NamedTuple):
    """What standard output can take: columns, whether colours are wanted, whether it has more than ASCII."""

    width: int
    colours: bool
    unicode: bool

    def paint(self, text: str, style: str) -> str:
        """Give text in a style; the text as it is where colours are not wanted."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.colours and style and text else text


def open_terminal() -> Terminal:
    """Look at standard output and at the variables that people set for it (NO_COLOR, COLUMNS)."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return Terminal(min(max(width, NARROWEST), WIDEST), colours, encoding.startswith("utf"))


def cells(text: str) -> int:
    """Count the columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, room: int) -> str:
    """Shorten a text to so many columns; an ellipsis stands for what is missing."""
    if cells(text) <= room:
        return text
    kept, used = [], 1
    for character in text:
        used += _width(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…" if room > 0 else ""


def clean(text: str) -> str:
    """Make one line of a text from elsewhere, without anything that a terminal would obey."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "�" for c in line)


def to_ascii(text: str) -> str:
    """Write what we draw in ASCII; other characters are escaped when they are printed."""
    return text.translate(IN_ASCII)


IN_ASCII = str.maketrans("├└─│█▐▕▏▎▍▌▋▊▉·×…µ✗✓●–�", "++-|##########-x~ux+*-?")


def duration(ns: float) -> str:
    """Write a duration with about three digits."""
    if ns >= 60e9:
        minutes, seconds = divmod(round(ns / 1e9), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {seconds:02} s"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size * 0.9995:
            value = ns / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{max(ns, 0):.0f} ns"
