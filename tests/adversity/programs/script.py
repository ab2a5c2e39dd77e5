"""A plain script: records, says that it is ready, and ends or waits as it is told: `script.py way`."""

import os
import signal
import sys
import threading
import time

from spans import record

import noops_agent

WAY = sys.argv[1]

if WAY == "own handler before":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
noops_agent.init()
for number in range(100):
    record("script", number=number)


def ready():
    """Say so in one write."""
    os.write(1, b"ready\n")


def handle(number, frame):
    """A handler of the program's own."""
    record("handler")
    os.write(1, b"handled\n")
    sys.exit(7)


def go_on(number, frame):
    """A handler of the program's own after which it goes on."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.write(1, b"handled\n")


if WAY == "own handler":
    signal.signal(signal.SIGTERM, handle)
if WAY == "handler that goes on":
    signal.signal(signal.SIGTERM, go_on)
if WAY == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if WAY == "thread":
    thread = threading.Thread(target=lambda: (ready(), time.sleep(1)))
    thread.start()
    thread.join()
elif WAY == "raises":
    raise RuntimeError("the program's own")
elif WAY == "open spans":
    left = noops_agent.span("left open").__enter__()
    kept = noops_agent.span("kept")
    kept.__enter__()
    sys.modules["kept"] = kept  # ended by nobody, freed at the very end
elif WAY == "daemon thread":

    def for_ever():
        while True:
            record("daemon")

    threading.Thread(target=for_ever, daemon=True).start()
    time.sleep(0.05)
elif WAY == "status 3":
    sys.exit(3)
elif WAY == "flushes":
    noops_agent.flush(30)
elif WAY == "shuts down":
    noops_agent.shutdown()
elif WAY == "waits for a signal":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ready()
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.01)
    os.write(1, f"took {signal.sigwait([signal.SIGTERM]):d}\n".encode())
elif WAY != "ends":
    ready()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(0.05)  # a signal that comes in the moment before a sleep does not end it
