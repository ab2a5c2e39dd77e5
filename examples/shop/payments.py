"""Payments (aiohttp): asks a bank that is slow now and then, declines some cards and is busy at times."""

import asyncio
import itertools
import random

from aiohttp import web

from .settings import BUSY_SHARE, HOST, PAYMENTS_PORT, SLOW_SHARE

RATES = {"EUR": 1.0, "USD": 1.09, "GBP": 0.85, "JPY": 163.2}
LIMIT_CENTS = 25_000

routes = web.RouteTableDef()
numbers = itertools.count(1)
authorised: set[str] = set()


@routes.get("/rates/{currency}")
async def show_rate(request: web.Request) -> web.Response:
    currency = request.match_info["currency"]
    if currency not in RATES:
        return web.json_response({"error": f"no rate for {currency}"}, status=404)
    return web.json_response({"currency": currency, "rate": RATES[currency]})


@routes.post("/authorisations")
async def authorise(request: web.Request) -> web.Response:
    """Ask the bank whether the card is good for the amount; 402 when it isn't."""
    wanted = await request.json()
    await wait_for_bank()
    if wanted["card"].endswith("0"):
        return web.json_response({"error": "card declined: blocked"}, status=402)
    if wanted["amount_cents"] > LIMIT_CENTS:
        return web.json_response({"error": "card declined: over its limit"}, status=402)
    authorisation = f"auth-{next(numbers)}"
    authorised.add(authorisation)
    return web.json_response({"id": authorisation})


@routes.post("/captures")
async def capture(request: web.Request) -> web.Response:
    """Take the money that was authorised; 503 when the bank asks to come back later."""
    authorisation = (await request.json())["authorisation"]
    if authorisation not in authorised:
        return web.json_response({"error": "not authorised"}, status=404)
    if random.random() < BUSY_SHARE:
        return web.json_response({"error": "the bank is busy"}, status=503)
    await wait_for_bank()
    return web.json_response({"captured": authorisation})


async def wait_for_bank() -> None:
    """Take as long as the bank does: mostly 5 to 30 ms, now and then most of a second."""
    slow = random.random() < SLOW_SHARE
    await asyncio.sleep(random.uniform(0.4, 0.9) if slow else random.uniform(0.005, 0.03))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host=HOST, port=PAYMENTS_PORT, print=None)
