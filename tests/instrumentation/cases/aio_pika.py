"""aio-pika: sending through an exchange, without a broker: a connection lives no longer than its event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case


class Channel:
    """An open channel that takes everything."""

    is_closed = False

    async def get_underlay_channel(self) -> Channel:
        """Give itself."""
        return self

    async def basic_publish(self, body: bytes, **options: Any) -> None:
        """Take a message."""


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Calls of one exchange."""
    aio_pika = pytest.importorskip("aio_pika")
    exchange = aio_pika.exchange.Exchange(Channel(), "cases")
    internal = aio_pika.exchange.Exchange(Channel(), "cases", internal=True)

    async def publish() -> Any:
        await exchange.publish(aio_pika.Message(b"x"), "nobody-listens-here")

    def fails() -> None:
        internal.publish(aio_pika.Message(b"x"), "nobody-listens-here").send(None)

    yield [Case("aio_pika", acall=publish, fails=fails)]
