"""The ladder: what is done with a span, rung by rung, the same for every peer.

A body takes how many spans to make. Peers of the OpenTelemetry interface share one set of bodies; ddtrace's
say the same in its own interface.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from peers import Running

Body = Callable[[int], object]

THREADS = 8
TREE = 10
"""Spans of one trace on the rung `tree`: a root and its children."""

NINETEEN: dict[str, Any] = {f"shop.attribute.{n}": (f"value {n}", n, n / 2, True)[n % 4] for n in range(19)}


class Rung(NamedTuple):
    """One rung: the state that the peer is in, what is done, who can't do it."""

    title: str
    state: str
    body: str
    peers: tuple[str, ...]


SPANS = ("noops", "noops-python", "api", "sdk", "ddtrace")
STATES = ("noops", "noops-python", "sdk", "ddtrace")

LADDER = {
    "bare": Rung("no span, same attributes", "off", "bare", ("noops",)),
    "bare-asyncio": Rung("no span, asyncio", "off", "bare_asyncio", ("noops",)),
    "off": Rung("off", "off", "plain", STATES),
    "unsampled": Rung("sampled out, 5 attributes", "unsampled", "five", STATES),
    "plain": Rung("recorded, no attributes", "recorded", "plain", SPANS),
    "five": Rung("recorded, 5 attributes", "recorded", "five", SPANS),
    "own": Rung("the same by `noops_agent.span`", "recorded", "own", ("noops", "noops-python")),
    "twenty": Rung("recorded, 20 attributes", "recorded", "twenty", SPANS),
    "event": Rung("recorded, with an event", "recorded", "event", ("noops", "noops-python", "api", "sdk")),
    "exception": Rung("recorded, left by an exception", "recorded", "exception", SPANS),
    "tree": Rung("trace of 10 spans, 5 attributes", "recorded", "tree", SPANS),
    "threads": Rung("8 threads, 5 attributes", "recorded", "threads", SPANS),
    "asyncio": Rung("asyncio, 5 attributes", "recorded", "asyncio", SPANS),
}


def bodies(peer: Running) -> dict[str, Body]:
    """Give the bodies of the ladder for a peer at work."""
    made = {"otel": otel_bodies, "ddtrace": ddtrace_bodies, "bare": bare_bodies}[peer.family](peer.open_span)
    made |= {"bare": bare, "bare_asyncio": concurrent(bare_task)}
    made["threads"] = threaded(made["five"])
    if peer.own is not None:
        made["own"] = own_body(peer.own)
    return made


def five(number: int) -> dict[str, Any]:
    """Attributes of an ordinary request."""
    return {
        "http.request.method": "GET",
        "http.route": "/orders/{id}",
        "http.response.status_code": 200,
        "server.address": "shop.example",
        "order.id": number,
    }


def take(attributes: dict[str, Any]) -> None:
    """Stand where a span would be."""


def bare(number: int) -> None:
    """Build the attributes and make no span."""
    for n in range(number):
        take(five(n))


async def bare_task(number: int) -> None:
    """Switch tasks and make no span."""
    for n in range(number):
        take(five(n))
        await asyncio.sleep(0)


def bare_bodies(_: object) -> dict[str, Body]:
    """Bodies of a program without spans."""
    return {"five": bare, "tree": bare}


def otel_bodies(open_span: Callable[..., Any]) -> dict[str, Body]:
    """Bodies in the OpenTelemetry interface."""

    def plain(number: int) -> None:
        for _ in range(number):
            with open_span("work"):
                pass

    def with_five(number: int) -> None:
        for n in range(number):
            with open_span("work", attributes=five(n)):
                pass

    def twenty(number: int) -> None:
        for n in range(number):
            with open_span("work", attributes={**NINETEEN, "order.id": n}):
                pass

    def event(number: int) -> None:
        for n in range(number):
            with open_span("work") as span:
                span.add_event("cache.miss", {"order.id": n})

    def exception(number: int) -> None:
        for _ in range(number):
            try:
                with open_span("work"):
                    raise ValueError("no such order")
            except ValueError:
                pass

    def tree(number: int) -> None:
        for n in range(number // TREE):
            with open_span("root", attributes=five(n)):
                with_five(TREE - 1)

    async def task(number: int) -> None:
        for n in range(number):
            with open_span("work", attributes=five(n)):
                await asyncio.sleep(0)

    made: dict[str, Body] = {"plain": plain, "five": with_five, "twenty": twenty, "event": event}
    return made | {"exception": exception, "tree": tree, "asyncio": concurrent(task)}


def ddtrace_bodies(trace: Callable[..., Any]) -> dict[str, Body]:
    """Bodies in ddtrace's interface; it has no public way to add an event."""

    def plain(number: int) -> None:
        for _ in range(number):
            with trace("work"):
                pass

    def with_five(number: int) -> None:
        for n in range(number):
            with trace("work") as span:
                span.set_tags(five(n))

    def twenty(number: int) -> None:
        for n in range(number):
            with trace("work") as span:
                span.set_tags({**NINETEEN, "order.id": n})

    def exception(number: int) -> None:
        for _ in range(number):
            try:
                with trace("work"):
                    raise ValueError("no such order")
            except ValueError:
                pass

    def tree(number: int) -> None:
        for n in range(number // TREE):
            with trace("root") as span:
                span.set_tags(five(n))
                with_five(TREE - 1)

    async def task(number: int) -> None:
        for n in range(number):
            with trace("work") as span:
                span.set_tags(five(n))
                await asyncio.sleep(0)

    made: dict[str, Body] = {"plain": plain, "five": with_five, "twenty": twenty, "exception": exception}
    return made | {"tree": tree, "asyncio": concurrent(task)}


def own_body(span: Callable[..., Any]) -> Body:
    """Five attributes as keywords."""

    def own(number: int) -> None:
        for n in range(number):
            with span(
                "work", method="GET", route="/orders/{id}", status=200, address="shop.example", order=n
            ):
                pass

    return own


def threaded(body: Body) -> Body:
    """Share a body among threads that are there already, so that making them isn't measured."""
    begin, end = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    share = [0]
    started: list[threading.Thread] = []

    def work() -> None:
        while True:
            begin.wait()
            body(share[0])
            end.wait()

    def run(number: int) -> None:
        while len(started) < THREADS:
            started.append(threading.Thread(target=work, daemon=True))
            started[-1].start()
        share[0] = number // THREADS
        begin.wait()
        end.wait()

    return run


def concurrent(task: Callable[[int], Any]) -> Body:
    """Run a body in tasks of one event loop that is there already; they take turns after each span."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def all_tasks(number: int) -> None:
        await asyncio.gather(*(task(number // THREADS) for _ in range(THREADS)))

    def run(number: int) -> None:
        if not loops:
            loops.append(asyncio.new_event_loop())
        loops[0].run_until_complete(all_tasks(number))

    return run


def made(rung: Rung, number: int) -> int:
    """How many spans a body makes when it is asked for *number*."""
    share = {"tree": TREE, "threads": THREADS, "asyncio": THREADS, "bare_asyncio": THREADS}.get(rung.body, 1)
    return number // share * share
