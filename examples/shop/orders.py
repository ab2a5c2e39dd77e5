"""Products, stock and orders (Flask, SQLAlchemy): takes an order, has it paid, and hands it to the worker.

Two faults are here on purpose, since real services have them and a trace should show them: the list of
products asks the database once more for each product, and nobody thought of an order with nothing to weigh.
"""

from typing import Any

import requests
from flask import Flask, abort, request
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from .jobs import Jobs
from .models import Order, OrderLine, Product, open_database
from .settings import DATABASE_URL, HOST, JOBS_PATH, ORDERS_PORT, PAYMENTS_URL

app = Flask("shop.orders")
sessions = open_database(DATABASE_URL)
jobs = Jobs(JOBS_PATH)


@app.get("/products")
def list_products() -> Any:
    with sessions() as session:
        products = session.scalars(select(Product).order_by(Product.id)).all()
        return [{**described(product), "stars": average_stars(product)} for product in products]


@app.get("/products/<int:product_id>")
def show_product(product_id: int) -> Any:
    with sessions() as session:
        return described(session.get(Product, product_id) or abort(404, "no such product"))


@app.post("/orders")
def place_order() -> Any:
    """Reserve the goods, have them paid, leave the packing to the worker."""
    basket = request.get_json()
    with sessions.begin() as session:
        order = reserve(session, basket)
        order_id, weight_g, total_cents = order.id, parcel_weight_g(order), order_total_cents(order)
    wanted = {"card": basket["card"], "amount_cents": total_cents}
    payment = requests.post(f"{PAYMENTS_URL}/authorisations", json=wanted, timeout=10)
    if payment.status_code == 402:
        cancel(order_id)
        return {"error": payment.json()["error"]}, 402
    payment.raise_for_status()
    set_status(order_id, "paid")
    jobs.put("pack", {"order": order_id, "weight_g": weight_g, "authorisation": payment.json()["id"]})
    return {"id": order_id, "status": "paid", "total_cents": total_cents}, 201


@app.get("/orders/<int:order_id>")
def show_order(order_id: int) -> Any:
    with sessions() as session:
        order = session.get(Order, order_id) or abort(404, "no such order")
        return {"id": order.id, "status": order.status, "parcel": order.parcel}


@app.post("/orders/<int:order_id>/shipment")
def ship_order(order_id: int) -> Any:
    set_status(order_id, "shipped", parcel=request.get_json()["parcel"])
    return {"id": order_id, "status": "shipped"}


def reserve(session: Session, basket: dict[str, Any]) -> Order:
    """Write the order down and take its goods off the shelf; 409 where there are too few of them."""
    order = Order(customer=basket["customer"])
    # Everybody takes rows in the same order: else two orders could wait for each other for ever.
    for line in sorted(basket["lines"], key=lambda line: line["product_id"]):
        taken = session.execute(
            update(Product)
            .where(Product.id == line["product_id"], Product.stock >= line["quantity"])
            .values(stock=Product.stock - line["quantity"])
        )
        if not taken.rowcount:
            abort(409, f"product {line['product_id']} is sold out")
        order.lines.append(OrderLine(product_id=line["product_id"], quantity=line["quantity"]))
    session.add(order)
    session.flush()
    return order


def cancel(order_id: int) -> None:
    """Put the goods of an order that wasn't paid back on the shelf."""
    with sessions.begin() as session:
        order = session.get_one(Order, order_id)
        order.status = "declined"
        for line in order.lines:
            line.product.stock += line.quantity


def set_status(order_id: int, status: str, parcel: str | None = None) -> None:
    with sessions.begin() as session:
        session.execute(update(Order).where(Order.id == order_id).values(status=status, parcel=parcel))


def order_total_cents(order: Order) -> int:
    return sum(line.product.price_cents * line.quantity for line in order.lines)


def parcel_weight_g(order: Order) -> int:
    return sum(line.product.weight_g * line.quantity for line in order.lines)  # a gift card has no weight


def average_stars(product: Product) -> float:
    return sum(review.stars for review in product.reviews) / len(product.reviews)  # a query for each product


def described(product: Product) -> dict[str, Any]:
    price_cents, stock = product.price_cents, product.stock
    return {"id": product.id, "name": product.name, "price_cents": price_cents, "stock": stock}


@app.errorhandler(HTTPException)
def say_why(error: HTTPException) -> Any:
    return {"error": error.description}, error.code


if __name__ == "__main__":
    app.run(HOST, ORDERS_PORT, threaded=True)
