"""A MongoDB on the loopback: as much of its protocol and of its commands as a driver's tests need.

Source: MongoDB wire protocol, OP_MSG (2013), and OP_QUERY (2004) that drivers still say hello with.
"""

from __future__ import annotations

import itertools
import socketserver
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bson
from pymongo import common

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
Document = dict[str, Any]


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Answer requests until the driver goes away."""
        try:
            while head := self.read(16):
                length, request, _, kind = struct.unpack("<iiii", head)
                self.answer(request, kind, self.read(length - 16))
        except OSError:
            pass

    def read(self, size: int) -> bytes:
        """Read so many bytes; none where the driver has gone."""
        data = b""
        while len(data) < size:
            piece = self.request.recv(size - len(data))
            if not piece:
                return b""
            data += piece
        return data

    def answer(self, request: int, kind: int, body: bytes) -> None:
        """Run a request, and send what it gives."""
        if kind == OP_QUERY:
            start = body.index(b"\0", 4) + 9
            reply = bson.encode(self.server.run(bson.decode(body[start:])))
            self.send(request, OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + reply)
            return
        flags, command = unpacked(body)
        reply = bson.encode(self.server.run(command))
        if not flags & MORE_TO_COME:
            self.send(request, OP_MSG, struct.pack("<I", 0) + b"\0" + reply)

    def send(self, request: int, kind: int, body: bytes) -> None:
        """Send a message."""
        self.request.sendall(struct.pack("<iiii", 16 + len(body), 0, request, kind) + body)


def unpacked(body: bytes) -> tuple[int, Document]:
    """Read the flags and the command of an OP_MSG, its sequences of documents put into it."""
    (flags,) = struct.unpack_from("<I", body)
    at, command, sequences = 4, {}, {}
    while at < len(body):
        section, (size,) = body[at], struct.unpack_from("<i", body, at + 1)
        at += 1
        if section == 0:
            command = bson.decode(body[at : at + size])
        else:
            end = body.index(b"\0", at + 4)
            sequences[body[at + 4 : end].decode()] = bson.decode_all(body[end + 1 : at + size])
        at += size
    return flags, command | sequences


class Server(socketserver.ThreadingTCPServer):
    """The database. `commands` are the last that it was given, without the driver's greetings."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commands: deque[Document] = deque(maxlen=16)
        self.collections: dict[str, list[Document]] = {}
        self.cursors: dict[int, list[Document]] = {}
        self.numbers = itertools.count(1000)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mongodb://127.0.0.1:{self.server_address[1]}/?directConnection=true"

    def run(self, command: Document) -> Document:
        """Run a command."""
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            return HELLO
        self.commands.append(command)
        method = getattr(self, f"do_{name}", None)
        if method is None:
            return {"ok": 0, "errmsg": f"no such command: '{name}'", "code": 59, "codeName": "CommandNotFound"}
        done: Document = method(command)
        return {"ok": 1, **done}

    def do_ping(self, command: Document) -> Document:
        """Nothing."""
        return {}

    do_endSessions = do_ping
    do_create = do_ping
    do_drop = do_ping

    def do_insert(self, command: Document) -> Document:
        """Add documents, and refuse those that there are."""
        there = self.collections.setdefault(command["insert"], [])
        errors = []
        for index, document in enumerate(command["documents"]):
            if any(known["_id"] == document["_id"] for known in there):
                errors.append({"index": index, "code": 11000, "errmsg": "E11000 duplicate key"})
            else:
                there.append(document)
        done: Document = {"n": len(command["documents"]) - len(errors)}
        return done | {"writeErrors": errors} if errors else done

    def do_update(self, command: Document) -> Document:
        """Change nothing, and say so."""
        return {"n": 0, "nModified": 0}

    def do_delete(self, command: Document) -> Document:
        """Forget the collection."""
        return {"n": len(self.collections.pop(command["delete"], []))}

    def do_find(self, command: Document) -> Document:
        """Give the documents, in batches."""
        return self.batch(command["find"], list(self.collections.get(command["find"], [])), command)

    def do_aggregate(self, command: Document) -> Document:
        """The same."""
        return self.batch(str(command["aggregate"]), list(self.collections.get(command["aggregate"], [])), command)

    def batch(self, name: str, found: list[Document], command: Document) -> Document:
        """Give the first documents, and a cursor for the rest."""
        size = command.get("batchSize") or 101
        number = next(self.numbers) if len(found) > size else 0
        if number:
            self.cursors[number] = found[size:]
        return {"cursor": {"id": bson.Int64(number), "ns": f"{command['$db']}.{name}", "firstBatch": found[:size]}}

    def do_getMore(self, command: Document) -> Document:
        """Give more of them."""
        rest = self.cursors.pop(command["getMore"])
        size = command.get("batchSize") or 101
        number = command["getMore"] if len(rest) > size else 0
        if number:
            self.cursors[number] = rest[size:]
        name = f"{command['$db']}.{command['collection']}"
        return {"cursor": {"id": bson.Int64(number), "ns": name, "nextBatch": rest[:size]}}

    def do_killCursors(self, command: Document) -> Document:
        """Forget cursors."""
        for number in command["cursors"]:
            self.cursors.pop(number, None)
        return {"cursorsKilled": command["cursors"]}

    def do_findAndModify(self, command: Document) -> Document:
        """Find nothing, and refuse to make what there might be."""
        if command.get("upsert"):
            known = {"name": command["query"]["name"]}
            text = f"E11000 duplicate key error collection: shop.users index: name dup key: {known}"
            return {"ok": 0, "errmsg": text, "code": 11000, "codeName": "DuplicateKey", "keyValue": known}
        return {"value": None}

    def do_distinct(self, command: Document) -> Document:
        """Give all values of a field."""
        there = self.collections.get(command["distinct"], [])
        return {"values": [document[command["key"]] for document in there]}


HELLO: Document = {
    "ok": 1,
    "helloOk": True,
    "ismaster": True,
    "isWritablePrimary": True,
    "maxBsonObjectSize": 16777216,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
    "minWireVersion": 0,
    "maxWireVersion": common.MAX_SUPPORTED_WIRE_VERSION,
    "logicalSessionTimeoutMinutes": 30,
    "readOnly": False,
}


@contextmanager
def serving() -> Iterator[Server]:
    """Run the database for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
