"""Record more than one segment holds, with trouble of the disk in the middle: `disk.py trouble how-many`."""

import os
import resource
import shutil
import sys

from spans import record

import noops_agent

TROUBLE, MANY = sys.argv[1], int(sys.argv[2])

if TROUBLE == "small files":
    resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768))
noops_agent.init()
for number in range(MANY):
    record("disk", number=number, text="x" * 100)
    if TROUBLE == "deleted" and number == MANY // 2:
        shutil.rmtree(os.environ["NOOPS_STATE_DIR"])
    if TROUBLE == "deleted in a child" and number == MANY // 2 and os.fork() == 0:
        shutil.rmtree(os.environ["NOOPS_STATE_DIR"])
        record("child")
        noops_agent.flush(10)
        os._exit(0)
