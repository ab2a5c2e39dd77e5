"""The example shop under `noops-agent run`: four real processes, one trace for each order."""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
import time
from collections import defaultdict
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from .conftest import Collector, Received

MISSING = [
    name
    for name in ("fastapi", "uvicorn", "flask", "sqlalchemy", "aiohttp", "httpx", "requests")
    if importlib.util.find_spec(name) is None
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the extra `shop` isn't installed: {', '.join(MISSING)}")

SERVICES = {"shop-gateway", "shop-orders", "shop-payments", "shop-worker"}
COFFEE, GIFT_CARD = 1, 8
AN_HOUR_MS = "3600000"


def open_shop(collector: Collector, export_interval_ms: str = "200") -> Any:
    """The shop with a bank in a good mood, exporting to *collector*."""
    from shop.stage import Stage

    return Stage(
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": export_interval_ms,
            "SHOP_SLOW_SHARE": "0",
            "SHOP_BUSY_SHARE": "0",
        }
    )


def buy(stage: Any, product_id: int) -> tuple[int, Any]:
    """Order one piece, then ask once more on the same connection: by then the span of the order has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.ports["gateway"], timeout=30)
    basket = {"customer": "test", "card": "4111-1", "lines": [{"product_id": product_id, "quantity": 1}]}
    connection.request("POST", "/orders", json.dumps(basket), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.request("GET", "/products")
    connection.getresponse().read()
    connection.close()
    return found


def traces(received: list[Received]) -> dict[bytes, list[Received]]:
    grouped: dict[bytes, list[Received]] = defaultdict(list)
    for item in received:
        grouped[item.span.trace_id].append(item)
    return grouped


def order_traces(received: list[Received]) -> list[list[Received]]:
    """Traces that begin with an order at the gateway."""
    return [trace for trace in traces(received).values() if any(is_order(item) for item in trace)]


def is_order(item: Received) -> bool:
    server = item.span.kind == Span.SPAN_KIND_SERVER
    return server and item.service == "shop-gateway" and item.span.name == "POST /orders"


def connected(trace: list[Received]) -> bool:
    """Whether there is one root, and the parent of every other span is there."""
    ids = {item.span.span_id for item in trace}
    parents = [item.span.parent_span_id for item in trace]
    return parents.count(b"") == 1 and all(parent in ids for parent in parents if parent)


def whole(trace: list[Received]) -> bool:
    """Whether an order's trace is connected and tells of all that happened, to the end of the job."""
    ended = {(item.service, item.span.name) for item in trace}
    return (
        connected(trace) and {item.service for item in trace} == SERVICES and ("shop-worker", "process pack") in ended
    )


def one_whole_order(received: list[Received]) -> bool:
    return [whole(trace) for trace in order_traces(received)] == [True]


ORDER = (
    "server shop-gateway POST /orders",
    [
        (
            "client shop-gateway POST",
            [
                (
                    "server shop-orders POST /orders",
                    [
                        ("client shop-orders UPDATE products", []),
                        ("client shop-orders INSERT orders", []),
                        ("client shop-orders INSERT order_lines", []),
                        ("client shop-orders SELECT products", []),
                        ("client shop-orders POST", [("server shop-payments POST /authorisations", [])]),
                        ("client shop-orders UPDATE orders", []),
                        (
                            "producer shop-orders send pack",
                            [
                                (
                                    "consumer shop-worker process pack",
                                    [
                                        ("client shop-worker POST", [("server shop-payments POST /captures", [])]),
                                        (
                                            "client shop-worker POST",
                                            [
                                                (
                                                    "server shop-orders POST /orders/<int:order_id>/shipment",
                                                    [("client shop-orders UPDATE orders", [])],
                                                )
                                            ],
                                        ),
                                    ],
                                )
                            ],
                        ),
                    ],
                )
            ],
        )
    ],
)
"""Every span of an order, under its parent, in the order of their beginnings."""


def tree(trace: list[Received]) -> Any:
    """A trace as nested pairs of what a span is, and its children."""
    children: dict[bytes, list[Received]] = defaultdict(list)
    for item in sorted(trace, key=lambda item: item.span.start_time_unix_nano):
        children[item.span.parent_span_id].append(item)

    def below(span_id: bytes) -> list[Any]:
        return [(told(item), below(item.span.span_id)) for item in children[span_id]]

    (root,) = below(b"")
    return root


def told(item: Received) -> str:
    """Kind, service and name of a span."""
    kind = Span.SpanKind.Name(item.span.kind).removeprefix("SPAN_KIND_").lower()
    return f"{kind} {item.service} {item.span.name}"


def test_an_order_is_one_tree_from_the_gateway_to_the_database(collector: Collector) -> None:
    """Over all four processes: through HTTP by httpx and requests, through SQLAlchemy, and through the queue.

    The services have no tracing code, and no instrumentation but ours is asked for: each span is there once.
    """
    with open_shop(collector) as stage:
        status, order = buy(stage, COFFEE)
        assert (status, order["status"]) == (201, "paid")
        assert collector.await_spans(one_whole_order), collector.received()
    (trace,) = order_traces(collector.received())
    assert tree(trace) == ORDER


def test_what_waits_for_work_makes_no_traces(collector: Collector) -> None:
    """Once the shop is open, each trace begins with a request of a visitor: none with a poll, a pool or a loop."""
    with open_shop(collector) as stage:
        opened_ns = time.time_ns()
        assert buy(stage, COFFEE)[0] == 201
        assert collector.await_spans(one_whole_order), collector.received()
    roots = {
        told(item)
        for item in collector.received()
        if not item.span.parent_span_id and item.span.start_time_unix_nano > opened_ns
    }
    assert roots == {"server shop-gateway POST /orders", "server shop-gateway GET /products"}


def test_a_bug_in_a_service_is_in_the_trace_with_its_exception(collector: Collector) -> None:
    """The gateway answers 502; the span of the service that failed names the exception."""

    def failed_order(received: list[Received]) -> bool:
        return any(connected(trace) for trace in order_traces(received))

    with open_shop(collector) as stage:
        assert buy(stage, GIFT_CARD)[0] == 502
        assert collector.await_spans(failed_order), collector.received()
    (trace,) = order_traces(collector.received())
    raised = [
        (item.service, attribute.value.string_value)
        for item in trace
        for event in item.span.events
        for attribute in event.attributes
        if attribute.key == "exception.type"
    ]
    assert ("shop-orders", "TypeError") in raised
    assert {service for service, _ in raised} <= {"shop-orders", "shop-gateway"}
    assert {item.service for item in trace if item.span.status.code == Status.STATUS_CODE_ERROR} == {
        "shop-gateway",
        "shop-orders",
    }


def test_killed_services_lose_no_ended_span_and_none_is_sent_twice(collector: Collector) -> None:
    """After SIGKILL the spans are on disk; the next processes send them, each once."""
    with open_shop(collector, export_interval_ms=AN_HOUR_MS) as stage:
        assert buy(stage, COFFEE)[0] == 201
        assert stage.drain()
        stage.kill()
    assert not order_traces(collector.received()), "they were to be killed before they sent anything"
    with open_shop(collector):
        assert collector.await_spans(one_whole_order), collector.received()
    ids = [(item.span.trace_id, item.span.span_id) for item in collector.received()]
    assert len(ids) == len(set(ids))


def test_a_service_that_cannot_start_is_shown_with_the_end_of_its_output() -> None:
    """Whoever runs the demo sees why at once, and nothing of the shop is left running."""
    from shop.stage import ServiceFailed, Stage

    stage = Stage(under=(sys.executable, "-c", "print('no room for it'); raise SystemExit(3)"))
    with pytest.raises(ServiceFailed, match="payments ended with 3 while starting:\nno room for it"), stage:
        pytest.fail("the shop opened")
    assert all(service.process.returncode is not None for service in stage.services)
