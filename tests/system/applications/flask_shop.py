"""Flask with SQLAlchemy on psycopg2, Redis and a Celery task."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from typing import Any

import metering
import redis
from celery import Celery
from flask import Blueprint, Flask, Response, abort, jsonify, request, send_file, stream_with_context
from sqlalchemy import create_engine, text

metering.measure()
BROKER = os.environ.get("BROKER", "redis://127.0.0.1:6379/9")
QUEUE = os.environ.get("QUEUE", "noops-applications")

app = Flask(__name__)
engine = create_engine(os.environ.get("DATABASE", "postgresql+psycopg2://postgres@127.0.0.1:5432/test"))
cache = redis.Redis(db=9)
celery = Celery("shop", broker=BROKER)
celery.conf.task_default_queue = QUEUE
celery.conf.broker_transport_options = {"global_keyprefix": QUEUE}
items = Blueprint("items", __name__, url_prefix="/api/v1/items")


@celery.task(name="shop.pack")
def pack(order: int) -> int:
    """Look the order up in the worker."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT CAST(:order AS int) + 1"), {"order": order}).scalar_one())


@app.get("/")
def index() -> str:
    """Answer at once."""
    return "ok"


@app.get("/orders/<int:order>")
def order(order: int) -> Any:
    """Ask the cache and the database."""
    key = f"{QUEUE}:{uuid.uuid4()}"
    cache.set(key, "secret-value", ex=60)
    cache.delete(key)
    with engine.begin() as connection:
        found = connection.execute(text("SELECT 'secret-literal', CAST(:order AS int)"), {"order": order}).all()
    return jsonify([list(row) for row in found])


@app.post("/orders/<int:order>/pack")
def enqueue(order: int) -> str:
    """Leave the work to a worker."""
    pack.delay(order)
    return "queued"


@app.get("/stream")
def stream() -> Response:
    """Ask the database in the midst of the body."""

    def rows() -> Iterator[str]:
        yield "first\n"
        with engine.connect() as connection:
            yield f"{connection.execute(text('SELECT 2')).scalar_one()}\n"
        yield "last\n"

    return Response(stream_with_context(rows()), mimetype="text/plain")


@app.get("/broken-stream")
def broken_stream() -> Response:
    """Fail in the midst of the body."""

    def rows() -> Iterator[str]:
        yield "first\n"
        raise RuntimeError("in the body")

    return Response(rows(), mimetype="text/plain")


@app.get("/download")
def download() -> Any:
    """Send a file."""
    return send_file(io.BytesIO(b"x" * 100_000), mimetype="application/octet-stream")


@app.get("/boom")
def boom() -> str:
    """Fail."""
    raise RuntimeError("boom")


@app.get("/bad-sql")
def bad_sql() -> str:
    """Fail in the database, and go on."""
    with engine.connect() as connection:
        try:
            connection.execute(text("SELECT nothing FROM nowhere"))
        except Exception as error:
            return type(error).__name__
    return "?"


@app.get("/abort/<int:code>")
def refuse(code: int) -> str:
    """Answer with any status."""
    abort(code)


@app.post("/echo")
def echo() -> bytes:
    """Answer with the body."""
    return request.get_data()


@items.get("/<path:name>")
def item(name: str) -> Response:
    """Answer with the name, and what a client would keep."""
    response = jsonify(name=name, query=request.args.to_dict())
    response.set_cookie("seen", "1")
    return response


app.register_blueprint(items)
