"""Many threads that record one span each: `threads.py how-many`."""

import sys
import threading

from spans import record

import noops_agent

noops_agent.init()
left = int(sys.argv[1])
while left:
    some = [threading.Thread(target=record, args=("thread",)) for _ in range(min(left, 250))]
    for thread in some:
        thread.start()
    for thread in some:
        thread.join()
    left -= len(some)
