"""Tornado: handlers, coroutines, a client."""

from __future__ import annotations

import asyncio
import signal
import sys

import metering
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, HTTPError, RequestHandler

metering.measure()


class Index(RequestHandler):
    """Answers at once."""

    def get(self) -> None:
        """Answer."""
        self.write("ok")


class User(RequestHandler):
    """Answers with the name."""

    async def get(self, user: str) -> None:
        """Answer after a while."""
        await asyncio.sleep(0)
        self.write({"user": user})


class Proxy(RequestHandler):
    """Asks this server itself."""

    async def get(self) -> None:
        """Ask."""
        answer = await AsyncHTTPClient().fetch(f"http://{self.request.host}/users/1")
        self.write(answer.body)


class Boom(RequestHandler):
    """Fails."""

    def get(self) -> None:
        """Fail."""
        raise RuntimeError("boom")


class Refuse(RequestHandler):
    """Refuses."""

    def get(self) -> None:
        """Refuse."""
        raise HTTPError(403)


async def main(port: int) -> None:
    """Serve until told to stop."""
    routes = [("/", Index), (r"/users/(?P<user>\w+)", User), ("/proxy", Proxy), ("/boom", Boom), ("/refuse", Refuse)]
    Application(routes).listen(port, "127.0.0.1")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
