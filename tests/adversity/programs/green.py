"""Greenlets that record, in a program that gevent has patched: `green.py when`."""

# ruff: noqa: E402  what comes before the patch, and what after, is what is tried here

import sys

WHEN = sys.argv[1]

if WHEN == "patched before":
    from gevent import monkey

    monkey.patch_all()

import noops_agent

noops_agent.init()

from spans import record, tell

if WHEN == "patched after a span":
    record("early")
if WHEN != "patched before":
    from gevent import monkey

    monkey.patch_all()

import os
import threading
import time

import gevent
from gevent.pool import Pool
from opentelemetry import trace

failures = []


def nested(number):
    """Two spans with switches in between; the inner one is a child of this greenlet's own outer one."""
    with noops_agent.span("outer", number=number) as outer:
        gevent.sleep(0.001 * (number % 5))
        with noops_agent.span("inner", number=number) as inner:
            time.sleep(0.001)
            if trace.get_current_span() is not inner:
                failures.append("inner is not current")
        if inner.parent.span_id != outer.get_span_context().span_id or trace.get_current_span() is not outer:
            failures.append("contexts are mixed")
    tell(inner)
    tell(outer)


pool = Pool(50)
pool.map(nested, range(200))
threads = [threading.Thread(target=nested, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()


def tick():
    """Go on while others wait."""
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.001)


ticks = 0
ticking = gevent.spawn(tick)
gevent.sleep(0.3)  # several intervals of the shipper: it must not stop the hub
if ticks < 20:
    failures.append(f"the hub stood still: {ticks}")
if WHEN == "forks":
    pid = os.fork()
    if pid == 0:
        nested(1)
        os._exit(0)
    os.waitpid(pid, 0)
if WHEN == "flushes" and not noops_agent.flush(10):
    failures.append("not flushed")
assert not failures, failures
