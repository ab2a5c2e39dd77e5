"""Elasticsearch's client: a search in both flavours, against a server that speaks its API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.instrumentation.fake_search import serving

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a search, and one in an index that isn't there."""
    elasticsearch = pytest.importorskip("elasticsearch")
    with serving() as server, elasticsearch.Elasticsearch(server.url, max_retries=0) as client:

        def search() -> None:
            client.search(index="products")

        async def asearch() -> None:
            async with elasticsearch.AsyncElasticsearch(server.url) as other:
                await other.search(index="products")

        def refused() -> None:
            client.search(index="missing")

        yield [Case("elasticsearch", call=search, acall=asearch, fails=refused, many=500)]
