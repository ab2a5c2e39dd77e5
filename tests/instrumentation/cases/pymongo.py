"""pymongo: a command in both flavours, against a server that speaks MongoDB's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a search, and a command that the server does not know."""
    pymongo = pytest.importorskip("pymongo")
    from tests.instrumentation.fake_mongo import serving

    with serving() as server, pymongo.MongoClient(server.url) as client:

        def find() -> None:
            client.shop.users.find_one({"name": "somebody"})

        async def afind() -> None:
            async with pymongo.AsyncMongoClient(server.url) as other:
                await other.shop.users.find_one({"name": "somebody"})

        def refused() -> None:
            client.shop.command("nonsense")

        yield [Case("pymongo", call=find, acall=afind, fails=refused, many=1000)]
