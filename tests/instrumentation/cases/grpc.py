"""gRPC: a unary call and a stream, as a client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case

SERVICE = "noops.test.Cases"


def _echo(request: bytes, _: Any) -> bytes:
    return request


def _twice(request: bytes, _: Any) -> Iterator[bytes]:
    yield request
    yield request


def _refuse(request: bytes, servicer: Any) -> bytes:
    import grpc

    servicer.abort(grpc.StatusCode.NOT_FOUND, "nothing here")
    return b""


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a call of one answer and one of several, against a server that is itself not observed."""
    grpc = pytest.importorskip("grpc")
    from grpc import _server, aio

    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Twice": grpc.unary_stream_rpc_method_handler(_twice),
        "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
    }
    service = grpc.method_handlers_generic_handler(SERVICE, handlers)
    # Beneath `grpc.server`, which is what is patched: whether it is when a case is opened must make no difference.
    server = _server.create_server(futures.ThreadPoolExecutor(4), (service,), (), (), None, None, False)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    channel = grpc.insecure_channel(address)
    echo, twice = channel.unary_unary(f"/{SERVICE}/Echo"), channel.unary_stream(f"/{SERVICE}/Twice")
    refuse = channel.unary_unary(f"/{SERVICE}/Refuse")

    async def aecho() -> None:
        async with aio.insecure_channel(address) as other:
            await other.unary_unary(f"/{SERVICE}/Echo")(b"x")

    async def atwice() -> None:
        async with aio.insecure_channel(address) as other:
            assert [answer async for answer in other.unary_stream(f"/{SERVICE}/Twice")(b"x")] == [b"x", b"x"]

    try:
        yield [
            Case("grpc", call=lambda: echo(b"x"), acall=aecho, fails=lambda: refuse(b"x"), many=3000),
            Case("grpc", call=lambda: list(twice(b"x")), acall=atwice, name="stream", many=3000),
        ]
    finally:
        channel.close()
        server.stop(None).wait()
