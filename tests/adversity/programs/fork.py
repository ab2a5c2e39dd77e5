"""Fork in a certain state, and record in both processes: `fork.py state way-to-leave`."""

import ctypes
import os
import sys
import threading
import time

from spans import record, tell

import noops_agent

STATE, LEAVE = sys.argv[1:3]
EACH = 50


def burst(name):
    """Record some spans."""
    for _ in range(EACH):
        record(name)


def leave():
    """End the child in its way."""
    if LEAVE == "_exit":
        os._exit(0)
    sys.exit(0)


def fork(in_child, forking=os.fork):
    """Fork, run something in the child, and wait for the child."""
    pid = forking()
    if pid == 0:
        in_child()
        leave()
    assert os.waitpid(pid, 0)[1] == 0


def before_init():
    pid = os.fork()
    noops_agent.init()
    burst("both")
    if pid == 0:
        leave()
    os.waitpid(pid, 0)


def after_init():
    noops_agent.init()
    fork(lambda: burst("child"))
    burst("parent")


def after_spans():
    noops_agent.init()
    burst("parent")
    fork(lambda: burst("child"))
    burst("parent")


def open_span():
    noops_agent.init()
    burst("parent")
    with noops_agent.span("open") as span:
        fork(lambda: burst("child"))
        burst("parent")
    tell(span)


def from_thread():
    noops_agent.init()
    burst("parent")
    errors = []

    def body():
        try:
            fork(lambda: burst("child"))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    burst("parent")
    thread.join()
    assert not errors


def grandchild():
    noops_agent.init()
    burst("parent")

    def child():
        burst("child")
        fork(lambda: burst("grandchild"))
        burst("child")

    fork(child)


def in_c():
    """No hook of Python runs; the GIL is held, as in a server that forks in C.

    The interpreter itself does not survive such a fork where another thread asks for the GIL, so the shipper is left
    to come to rest first.
    """
    noops_agent.init()
    burst("parent")
    noops_agent.flush()
    time.sleep(0.2)
    fork(lambda: burst("child"), ctypes.PyDLL(None).fork)
    burst("parent")


def in_c_before_a_span():
    noops_agent.init()
    fork(lambda: burst("child"), ctypes.PyDLL(None).fork)
    burst("parent")


def while_others_record():
    noops_agent.init()
    going = True

    def go_on():
        while going:
            record("thread")
            time.sleep(0.001)

    threads = [threading.Thread(target=go_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        fork(lambda: burst("child"))
    going = False
    for thread in threads:
        thread.join()


globals()[STATE]()
