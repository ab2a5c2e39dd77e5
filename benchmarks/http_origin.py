"""A server on loopback that answers every request alike, in as few steps as Python can, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def start() -> int:
    """Serve for as long as this process lives; gives the port."""
    server = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return int(server.stdout.readline())


def answer(connection: socket.socket) -> None:
    """Answer what comes over one connection: requests without a body, each in one packet."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while connection.recv(65536):
        connection.sendall(ANSWER)


def serve(listener: socket.socket) -> None:
    """Answer every connection on a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(listening,), daemon=True).start()
    sys.stdin.read()  # its end is that of the process that asked for us
