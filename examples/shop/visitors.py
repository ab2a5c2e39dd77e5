"""Visitors of the shop: threads that look around and buy, as people do."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from typing import Any

GIFT_CARD = 8
PRODUCTS = range(1, 8)
CARDS = ("4111-7781", "4111-2216", "5500-9023", "5500-1347", "6011-4490")  # the last one is blocked
CURRENCIES = ("EUR", "USD", "GBP", "JPY")
GIFT_SHARE = 1 / 40


class Visitors:
    """*count* people in the shop at *port* of *host*. `done` counts answers by what they mean."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self.address = (host, port)
        self.done: Counter[str] = Counter()
        self.leaving = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(count)]

    def enter(self) -> None:
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Let everybody finish what they are asking for, then go."""
        self.leaving.set()
        deadline = time.monotonic() + 10
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def buy(self) -> None:
        """Place one more order that is good: the newest trace then goes through every service."""
        connection = http.client.HTTPConnection(*self.address, timeout=15)
        lines = [{"product_id": PRODUCTS[0], "quantity": 1}]
        try:
            order = {"customer": "last visitor", "card": CARDS[0], "lines": lines}
            self._ask(connection, "POST", "/orders", order)
        except (OSError, http.client.HTTPException):
            self._count("unanswered")
        finally:
            connection.close()

    def _visit(self) -> None:
        person = random.Random()
        connection = http.client.HTTPConnection(*self.address, timeout=15)
        while not self.leaving.is_set():
            try:
                self._walk(connection, person)
            except (OSError, http.client.HTTPException):
                connection.close()
                self._count("unanswered")
            self.leaving.wait(person.uniform(0.02, 0.15))
        connection.close()

    def _walk(self, connection: http.client.HTTPConnection, person: random.Random) -> None:
        """One walk through the shop: look at things, perhaps buy, perhaps look where the order is."""
        if person.random() < 0.4:
            self._ask(connection, "GET", "/products")
        product = person.choice(PRODUCTS)
        self._ask(connection, "GET", f"/products/{product}?currency={person.choice(CURRENCIES)}")
        if person.random() < 0.6:
            order = self._ask(connection, "POST", "/orders", basket(person, product))
            if "id" in order and person.random() < 0.5:
                self._ask(connection, "GET", f"/orders/{order['id']}")

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        self._count("requests")
        self._count(meaning(method, answer.status))
        return json.loads(text) if answer.status < 400 else {}

    def _count(self, name: str) -> None:
        with self._lock:
            self.done[name] += 1


def basket(person: random.Random, product: int) -> dict[str, Any]:
    """What somebody buys who looked at *product*; a gift card now and then."""
    lines = [{"product_id": product, "quantity": person.choice((1, 1, 1, 2))}]
    if person.random() < GIFT_SHARE:
        lines = [{"product_id": GIFT_CARD, "quantity": 1}]
    return {"customer": f"visitor {person.randrange(1000)}", "card": person.choice(CARDS), "lines": lines}


def meaning(method: str, status: int) -> str:
    """Name what an answer means to the shop."""
    if status >= 500:
        return "failed"
    if status == 402:
        return "declined"
    if status == 409:
        return "sold out"
    if status >= 400:
        return "refused"
    return "orders" if method == "POST" else "pages"
