"""The shop's front door (FastAPI): asks the orders and payments services, and joins their answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from .settings import GATEWAY_PORT, HOST, ORDERS_URL, PAYMENTS_URL


class Line(BaseModel):
    product_id: int
    quantity: int = Field(1, ge=1, le=10)


class Basket(BaseModel):
    customer: str
    card: str
    lines: list[Line] = Field(min_length=1)


@asynccontextmanager
async def one_client(app: FastAPI) -> AsyncIterator[None]:
    """Keep one pool of connections for as long as the gateway runs."""
    async with httpx.AsyncClient(timeout=10) as app.state.client:
        yield


app = FastAPI(title="shop", lifespan=one_client)


@app.get("/products")
async def list_products(request: Request) -> Any:
    return await ask(request, "GET", f"{ORDERS_URL}/products")


@app.get("/products/{product_id}")
async def show_product(request: Request, product_id: int, currency: str = "EUR") -> Any:
    """One product with its price in the visitor's currency; both services are asked at the same time."""
    product, rate = await asyncio.gather(
        ask(request, "GET", f"{ORDERS_URL}/products/{product_id}"),
        ask(request, "GET", f"{PAYMENTS_URL}/rates/{currency}"),
    )
    return {**product, "currency": currency, "price": round(product["price_cents"] * rate["rate"] / 100, 2)}


@app.post("/orders", status_code=201)
async def place_order(request: Request, basket: Basket) -> Any:
    return await ask(request, "POST", f"{ORDERS_URL}/orders", json=basket.model_dump())


@app.get("/orders/{order_id}")
async def show_order(request: Request, order_id: int) -> Any:
    return await ask(request, "GET", f"{ORDERS_URL}/orders/{order_id}")


async def ask(request: Request, method: str, url: str, **arguments: Any) -> Any:
    """Ask another service; its refusals are passed on, its failures become ours."""
    try:
        answer = await request.app.state.client.request(method, url, **arguments)
    except httpx.TransportError as error:
        raise HTTPException(503, f"{url} can't be reached: {error!r}") from error
    if answer.status_code >= 500:
        raise HTTPException(502, f"{url} failed with {answer.status_code}")
    if answer.status_code >= 400:
        raise HTTPException(answer.status_code, answer.json()["error"])
    return answer.json()


if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=GATEWAY_PORT, log_level="warning")
