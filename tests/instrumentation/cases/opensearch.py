"""OpenSearch's client: a search in both flavours, against a server that speaks its API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.instrumentation.fake_search import serving

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a search, and one in an index that isn't there."""
    opensearchpy = pytest.importorskip("opensearchpy")
    with serving() as server, closing(opensearchpy.OpenSearch(server.url, max_retries=0)) as client:

        def search() -> None:
            client.search(index="products")

        async def asearch() -> None:
            async with opensearchpy.AsyncOpenSearch(server.url) as other:
                await other.search(index="products")

        def refused() -> None:
            client.search(index="missing")

        yield [Case("opensearch", call=search, acall=asearch, fails=refused, many=500)]
