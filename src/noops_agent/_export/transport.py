"""One HTTP connection whose requests end by a deadline. Loads urllib3; the HTTP sink loads this when it first sends.

A timeout of a socket starts anew at each byte, so a server that drips would hold the shipper for ever. Here
each read and each write gets what is left until the deadline of the request.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  the first name to be resolved would load it
import http.client
import io
import ssl
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util import Url, make_headers, parse_url

from .._env import original

MAX_RESPONSE_BYTES = 4 << 20
MAX_IDLE_S = 60.0


class Response:
    """Status, headers (names in lower case) and body of an answer; the body is empty where it can't be read."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Deadline(io.RawIOBase):
    """The reading end of a socket that gives up when the time of the request is over."""

    def __init__(self, connection: Any, sock: Any) -> None:
        self._connection = connection
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it until the deadline."""
        self._sock.settimeout(self._connection.left_s())
        size = self._raw.readinto(buffer) or 0
        self._connection.ended = not size
        return size

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _Source:
    """Stands for the socket where http.client wants a file to read from."""

    def __init__(self, connection: Any, sock: Any) -> None:
        self.connection, self.sock = connection, sock

    def makefile(self, mode: str) -> Any:
        return io.BufferedReader(Deadline(self.connection, self.sock))


class Timed:
    """The half of a connection that keeps to a deadline; mixed into the classes of urllib3."""

    sock: Any
    timeout: Any
    port: Any
    deadline = 0.0
    ended = False

    def left_s(self) -> float:
        """Seconds until the deadline; raises TimeoutError after it."""
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no complete answer in time")
        return left_s

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the response, as http.client asks for it."""
        return http.client.HTTPResponse(_Source(self, sock), *args, **kwargs)  # type: ignore[arg-type]

    def send(self, data: Any) -> None:
        """Send all of *data* within the deadline."""
        if self.sock is not None:
            self.sock.settimeout(self.left_s())
        super().send(data)  # type: ignore[misc]

    def _new_conn(self) -> Any:
        """Connect by the primitives that gevent and eventlet did not replace."""
        return connect(self._dns_host, self.port, self.left_s)  # type: ignore[attr-defined]

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is as we left it: not closed, and nothing unasked for has come."""
        poll = original("select", "poll")()
        poll.register(self.sock, 1)
        return not poll.poll(0)


class PlainConnection(Timed, HTTPConnection):  # type: ignore[misc]
    """A connection without TLS."""


class TlsConnection(Timed, HTTPSConnection):  # type: ignore[misc]
    """A connection with TLS."""


def connect(host: str, port: int, left_s: Callable[[], float]) -> Any:
    """Connect to the first address of a host that answers.

    Raises:
        OSError: None does, or the time is over.
    """
    failure: OSError | None = None
    make_socket = original("socket", "socket")
    for family, kind, protocol, _, address in original("socket", "getaddrinfo")(host.strip("[]"), port, 0, 1):
        sock = make_socket(family, kind, protocol)
        try:
            sock.setsockopt(6, 1, 1)  # TCP_NODELAY: a request is written in two pieces
            sock.settimeout(left_s())
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure or OSError("the host has no address")


class Channel:
    """A kept-alive way to one server, through a proxy where the environment names one."""

    def __init__(self, certificate: str | None, client_certificate: str | None, client_key: str | None) -> None:
        self._files = (certificate, client_certificate, client_key)
        self._tls: ssl.SSLContext | None = None
        self._connection: Any = None
        self._server: tuple[Any, ...] = ()
        self._used_at = 0.0

    def post(self, url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> Response:
        """Send a request and read its answer within *timeout_s* seconds.

        A connection that the server closed while it was idle is replaced once, without a word.

        Raises:
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: No answer.
        """
        deadline = time.monotonic() + timeout_s
        target = parse_url(url)
        reused = self._reusable(target)
        try:
            return self._exchange(target, body, headers, deadline, reused)
        except (ConnectionError, http.client.RemoteDisconnected):
            self.close()
            if not reused:
                raise
            return self._exchange(target, body, headers, deadline, False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _reusable(self, target: Url) -> bool:
        if self._connection is None or self._connection.sock is None:
            return False
        same = self._server == (target.scheme, target.host, target.port)
        return same and time.monotonic() - self._used_at < MAX_IDLE_S and self._connection.is_quiet

    def _exchange(self, target: Url, body: bytes, headers: dict[str, str], deadline: float, reuse: bool) -> Response:
        if not reuse:
            self.close()
            self._connection = self._open(target)
            self._server = (target.scheme, target.host, target.port)
        connection = self._connection
        connection.deadline = deadline
        connection.timeout = connection.left_s()
        if connection.sock is None:
            connection.connect()
        plain = target._replace(auth=None, fragment=None)
        path = plain.url if connection.proxy_is_forwarding else plain.request_uri
        try:
            connection.request("POST", path, body=body, headers=headers, preload_content=False, decode_content=False)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that has heard enough may have answered already
        # Not by urllib3, which would write to its log, and so to the program's, about a header that it dislikes.
        connection.ended = False
        response = http.client.HTTPConnection.getresponse(connection)
        if connection.ended:
            # http.client takes the end of the stream for the end of the header.
            raise http.client.RemoteDisconnected("the answer was cut off in its header")
        taken = self._read(response)
        if connection.sock is None:
            self.close()
        self._used_at = time.monotonic()
        return Response(response.status, {k.lower(): v for k, v in response.headers.items()}, taken)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read the body, so far as it is there: the status alone says what became of the records."""
        try:
            body = response.read(MAX_RESPONSE_BYTES + 1)
            if len(body) <= MAX_RESPONSE_BYTES and not response.length:
                return body
        except Exception:
            body = b""
        self.close()
        return body

    def _open(self, target: Url) -> Any:
        host, port = target.host or "localhost", target.port or (443 if target.scheme == "https" else 80)
        proxy = proxy_of(target)
        facts: dict[str, Any] = {}
        kind: Any = PlainConnection
        at = (host, port)
        if target.scheme == "https" or (proxy is not None and proxy.scheme == "https"):
            kind, facts["ssl_context"] = TlsConnection, self._context()
        if proxy is not None:
            at = (proxy.host or "localhost", proxy.port or (443 if proxy.scheme == "https" else 80))
            facts["proxy"], facts["proxy_config"] = proxy, ProxyConfig(facts.get("ssl_context"), False, None, None)
        connection = kind(at[0], at[1], **facts)
        if proxy is not None and target.scheme == "https":
            secret = make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else {}
            connection.set_tunnel(host, port, headers=secret, scheme=proxy.scheme or "http")
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            certificate, client_certificate, client_key = self._files
            context = ssl.create_default_context(cafile=certificate)
            if client_certificate:
                context.load_cert_chain(client_certificate, client_key)
            self._tls = context
        return self._tls


def proxy_of(target: Url) -> Url | None:
    """Find the proxy that the environment asks for (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, but for `NO_PROXY`)."""
    proxies = urllib.request.getproxies()
    at = proxies.get(target.scheme or "http") or proxies.get("all")
    host = target.host or "localhost"
    if not at or urllib.request.proxy_bypass(f"{host}:{target.port}" if target.port else host):
        return None
    proxy = parse_url(at if "://" in at else "http://" + at)
    return proxy if proxy.scheme in ("http", "https") else None
