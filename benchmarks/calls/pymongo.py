"""One search that a server in this process answers at once, with nothing found."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.pymongo:PymongoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-pymongo"
DDTRACE = "pymongo"
REQUIRES = ("pymongo",)

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


class Handler(socketserver.StreamRequestHandler):
    """Gives the same answer to everything: it is a greeting and an empty cursor at once."""

    answer = b""

    def handle(self) -> None:
        """Answer requests until the driver goes away."""
        while len(head := self.rfile.read(16)) == 16:
            length, request, _, kind = struct.unpack("<iiii", head)
            self.rfile.read(length - 16)
            body = struct.pack("<iqii", 8, 0, 0, 1) if kind == OP_QUERY else struct.pack("<IB", 0, 0)
            body += self.answer
            kind = OP_REPLY if kind == OP_QUERY else OP_MSG
            self.wfile.write(struct.pack("<iiii", 16 + len(body), 0, request, kind) + body)


def prepare() -> Callable[[], object]:
    """Give the call: a search of one document."""
    import bson
    import pymongo
    from pymongo import common

    Handler.answer = bson.encode(
        {
            "ok": 1,
            "helloOk": True,
            "ismaster": True,
            "isWritablePrimary": True,
            "minWireVersion": 0,
            "maxWireVersion": common.MAX_SUPPORTED_WIRE_VERSION,
            "cursor": {"id": bson.Int64(0), "ns": "shop.users", "firstBatch": []},
        }
    )
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"mongodb://127.0.0.1:{server.server_address[1]}/?directConnection=true&heartbeatFrequencyMS=60000"
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(url)
    users = client.shop.users
    return lambda: users.find_one({"name": "somebody"})
