"""One command that a server in this process answers at once."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.pymongo:PymongoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-pymongo"
DDTRACE = "pymongo"
REQUIRES = ("pymongo",)


def prepare() -> Callable[[], object]:
    """Give the call: a search of one document."""
    import pymongo
    from tests.instrumentation.fake_mongo import Server, serving

    running = serving()
    server: Server = running.__enter__()
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(server.url)
    users = client.shop.users

    def call(kept: object = running) -> object:
        server.commands.clear()
        return users.find_one({"name": "somebody"})

    return call
