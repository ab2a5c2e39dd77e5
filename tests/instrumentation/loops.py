"""An event loop on a thread, for servers that tests call from outside of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


class Loop:
    """A running loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def settle(self) -> None:
        """Wait until the loop has done what it was about to do."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(self.loop.call_soon, done.set)
        done.wait(10)

    def stop(self) -> None:
        """End the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@contextmanager
def looping() -> Iterator[Loop]:
    """Run a loop for as long as the context lasts."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.stop()
