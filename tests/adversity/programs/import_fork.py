"""Fork at every moment of the first seconds, and use in the child what the shipper imports meanwhile."""

import importlib
import os
import time

from spans import record

import noops_agent

noops_agent.init()
record("parent")
until = time.monotonic() + 1.0
while time.monotonic() < until:
    pid = os.fork()
    if pid == 0:
        for name in ("http.client", "ssl", "urllib.request", "urllib3.connection"):
            importlib.import_module(name)
        record("child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
