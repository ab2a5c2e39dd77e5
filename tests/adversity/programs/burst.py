"""Record spans and die in the middle of them: `burst.py how`."""

import ctypes
import os
import signal
import sys
import threading

from spans import record

import noops_agent

noops_agent.init()

WAYS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "_exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "exec": lambda: os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(__file__), "wait.py")]),
}


def go_on():
    """Record for ever."""
    number = 0
    while True:
        record("burst", number=number, text="x" * (number % 300))
        number += 1


if sys.argv[1] == "threads":
    for _ in range(3):
        threading.Thread(target=go_on, daemon=True).start()
    go_on()

for number in range(400):
    record("before", number=number)
    if number == 200 and sys.argv[2] == "flushed":
        noops_agent.flush()
threading.Thread(target=go_on, daemon=True).start()
for number in range(400):
    record("after", number=number)
WAYS[sys.argv[1]]()
