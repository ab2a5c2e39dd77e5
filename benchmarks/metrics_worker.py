"""Times measurements and collections inside a peer's environment.

python metrics_worker.py --peer noops --rung add3 --number 1000      one line of JSON
python metrics_worker.py --peer noops                                a rung for each line of JSON on stdin
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BATCH_S = 0.03
MOST = 200_000
THREADS = 8
SERIES = 2000
NAMES = ["http.request.method", "http.route", "http.response.status_code", *(f"attribute.{n}" for n in range(7))]
VALUES: list[Any] = ["GET", "/orders/{id}", 200, *(f"value {n}" for n in range(7))]
MANY = [["GET", f"/orders/{n}", 200] for n in range(SERIES)]

Measure = Callable[[], object]
Rungs = dict[str, Measure]


class Peer(NamedTuple):
    """What a peer does: measurements without arguments by rung, and collections of so many series."""

    rungs: Rungs
    collect: Callable[[int], dict[str, Callable[[], object]]]


def attributes(count: int) -> dict[str, Any]:
    """The first attributes of an ordinary request."""
    return dict(zip(NAMES[:count], VALUES[:count], strict=True))


# ---- the interface of OpenTelemetry ----------------------------------------------------------------------


def otel_rungs(meter: Any) -> Rungs:
    """Measurements through opentelemetry-api, the same for ours and the SDK."""
    rungs: Rungs = {}
    for count in (0, 3, 10):
        counter, histogram = meter.create_counter(f"add{count}"), meter.create_histogram(f"record{count}")
        rungs[f"add{count}"] = adding(counter, attributes(count))
        rungs[f"record{count}"] = recording(histogram, attributes(count))
    many = [dict(zip(NAMES[:3], values, strict=True)) for values in MANY]
    rungs["add2000"] = over(meter.create_counter("many").add, many)
    counter = meter.create_counter("bound")
    if hasattr(counter, "bind"):
        add, record = counter.bind(attributes(3)).add, meter.create_histogram("h").bind(attributes(3)).record
        rungs["bound_add"] = lambda: add(1)
        rungs["bound_record"] = lambda: record(12.5)
    return rungs


def adding(counter: Any, given: dict[str, Any]) -> Measure:
    """Add 1."""
    add = counter.add
    return (lambda: add(1, given)) if given else (lambda: add(1))


def recording(histogram: Any, given: dict[str, Any]) -> Measure:
    """Record a value in the middle of the buckets."""
    record = histogram.record
    return (lambda: record(12.5, given)) if given else (lambda: record(12.5))


def over(add: Callable[..., object], many: Sequence[Any]) -> Measure:
    """Add 1 to one series after the other."""
    following = itertools.cycle(many).__next__
    return lambda: add(1, following())


def start_noops() -> Peer:
    """Our provider, with what the shipper does at a collection."""
    from noops_agent import _core
    from noops_agent.sdk import MeterProvider

    def provider(**more: Any) -> tuple[Any, Any]:
        made, recorder = MeterProvider(shutdown_on_exit=False, **more), _core.Recorder(None, 1 << 20, bytes(16))
        made.record_into(recorder)
        return made, recorder

    def collect(series: int) -> dict[str, Callable[[], object]]:
        made, recorder = provider(_limit=series)
        fill(made.get_meter("m").create_counter("c"), series)

        def encoded() -> None:
            made.collect_into(recorder)
            for segment in recorder.segments()[:-1]:
                segment.release()

        return {"encoded": encoded}

    return Peer(otel_rungs(provider()[0].get_meter("m")), collect)


def start_sdk() -> Peer:
    """The SDK, with what its OTLP exporter does at a collection but send."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    def collect(series: int) -> dict[str, Callable[[], object]]:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

        reader = InMemoryMetricReader()
        fill(MeterProvider([reader], shutdown_on_exit=False).get_meter("m").create_counter("c"), series)
        return {"encoded": lambda: encode_metrics(reader.get_metrics_data()).SerializeToString()}

    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return Peer(otel_rungs(provider.get_meter("m")), collect)


def fill(counter: Any, series: int) -> None:
    """Make so many series."""
    for n in range(series):
        counter.add(1, {"http.route": "/orders/{id}", "http.response.status_code": 200, "order": n})


# ---- prometheus_client -----------------------------------------------------------------------------------


def start_prometheus() -> Peer:
    """The client library of Prometheus, its labels looked up for each measurement as its users do."""
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

    registry = CollectorRegistry()
    rungs: Rungs = {}
    for count in (0, 3, 10):
        labels = [name.replace(".", "_") for name in NAMES[:count]]
        counter = Counter(f"add{count}", "d", labels, registry=registry)
        histogram = Histogram(f"record{count}", "d", labels, registry=registry)
        values = VALUES[:count]
        if not values:
            rungs["add0"], rungs["record0"] = counter.inc, lambda h=histogram: h.observe(12.5)
            continue
        rungs[f"add{count}"] = lambda c=counter, v=values: c.labels(*v).inc()
        rungs[f"record{count}"] = lambda h=histogram, v=values: h.labels(*v).observe(12.5)
    many = Counter("many", "d", ["a", "b", "c"], registry=registry)
    rungs["add2000"] = over(lambda _, values: many.labels(*values).inc(), MANY)
    rungs["bound_add"] = many.labels("x", "y", "z").inc
    bound = Histogram("bound", "d", ["a", "b", "c"], registry=registry).labels("x", "y", "z")
    rungs["bound_record"] = lambda: bound.observe(12.5)

    def collect(series: int) -> dict[str, Callable[[], object]]:
        alone = CollectorRegistry()
        counter = Counter("c", "d", ["http_route", "http_response_status_code", "order"], registry=alone)
        for n in range(series):
            counter.labels("/orders/{id}", 200, n).inc()
        return {"encoded": lambda: generate_latest(alone)}

    return Peer(rungs, collect)


PEERS = {
    "noops": start_noops,
    "noops-python": start_noops,
    "sdk": start_sdk,
    "prometheus": start_prometheus,
}


# ---- timing ----------------------------------------------------------------------------------------------


class Timed:
    """A peer at work, and the size of a batch by rung."""

    def __init__(self, peer: str) -> None:
        self.peer = PEERS[peer]()
        self.sizes: dict[str, int] = {}

    def time(self, rung: str, batches: int, number: int | None = None) -> dict[str, Any]:
        """Time batches of a rung; CPU nanoseconds of one measurement, or of one collection."""
        if rung.startswith("collect"):
            body = self.peer.collect(int(rung[len("collect") :]))["encoded"]
            body()
            return {"rung": rung, "number": 1, "cpu_ns": [self.batch(body, 1) for _ in range(batches)]}
        threads = THREADS if rung.startswith("threads") else 1
        body = self.peer.rungs[rung.replace("threads_", "")]
        size = number or self.sizes.get(rung) or self.calibrate(rung, body)
        cpu = [self.batch(body, size) if threads == 1 else self.parallel(body, size, threads) for _ in range(batches)]
        return {"rung": rung, "number": size, "cpu_ns": [spent / size for spent in cpu]}

    def calibrate(self, rung: str, body: Measure) -> int:
        """Warm a rung up and choose its batch size."""
        self.batch(body, 500)
        self.sizes[rung] = max(500, min(int(500 * BATCH_S * 1e9 / max(self.batch(body, 500), 1)), MOST))
        return self.sizes[rung]

    @staticmethod
    def batch(body: Measure, size: int) -> int:
        """Run one batch; CPU time in nanoseconds."""
        begin_ns = time.process_time_ns()
        for _ in itertools.repeat(None, size):
            body()
        return time.process_time_ns() - begin_ns

    @classmethod
    def parallel(cls, body: Measure, size: int, threads: int) -> int:
        """Run one batch in threads; CPU time of all in nanoseconds."""
        workers = [threading.Thread(target=cls.batch, args=(body, size // threads)) for _ in range(threads)]
        begin_ns = time.process_time_ns()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.process_time_ns() - begin_ns


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--rung")
    parser.add_argument("--number", type=int)
    parser.add_argument("--batches", type=int, default=5)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints must not mix with the answers
    timed = Timed(asked.peer)
    if asked.rung:
        print(json.dumps(timed.time(asked.rung, asked.batches, asked.number)), file=answers, flush=True)
        return
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(timed.time(request["rung"], request["batches"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
