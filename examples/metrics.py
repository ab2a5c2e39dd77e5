"""Metrics of one's own: lines read from a file, and the sizes of images that came in.

    noops-agent run python examples/metrics.py
    python examples/metrics.py access.log photos/

Without a file and a folder it reads itself, and takes in some made-up images. Where nothing exports metrics, counting
costs next to nothing and changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import noops_agent

LINES = noops_agent.counter("lines.read", unit="{line}", description="Lines read from files.")
SIZES = noops_agent.histogram(
    "image.size",
    unit="By",
    description="Sizes of the images that came in.",
    boundaries=[1 << power for power in range(10, 25, 2)],
)
IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}


@noops_agent.timed("file.read.duration")
def count_lines(path: Path) -> int:
    """Read a file, and count its lines while they come."""
    read = LINES.bind({"file.name": path.name})
    number = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for _ in file:
            read.add(1)
            number += 1
    return number


def images_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give format and content of the images in a folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGES:
            yield IMAGES[path.suffix.lower()], path.read_bytes()


def made_up_images() -> Iterator[tuple[str, bytes]]:
    """Give some images that are none."""
    for number in range(1, 21):
        yield ("png" if number % 3 else "jpeg"), bytes(number * number * 1000)


def take_in(images: Iterator[tuple[str, bytes]]) -> int:
    """Note the size of each image that comes in."""
    number = 0
    for kind, content in images:
        SIZES.record(len(content), format=kind)
        number += 1
    return number


def main(arguments: list[str]) -> None:
    """Count the lines of a file and the images of a folder."""
    noops_agent.init()
    file = Path(arguments[0] if arguments else __file__)
    images = images_of(Path(arguments[1])) if len(arguments) > 1 else made_up_images()
    print(f"{count_lines(file)} lines of {file.name}, {take_in(images)} images")


if __name__ == "__main__":
    main(sys.argv[1:])
