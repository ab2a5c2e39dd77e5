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


def delete_state() -> None:
    """Delete the state folder, however often its owner is at work in it at the same moment."""
    folder = os.environ["NOOPS_STATE_DIR"]
    deleted = False
    while not deleted:
        try:
            shutil.rmtree(folder)
            deleted = True
        except FileNotFoundError:
            deleted = not os.path.exists(folder)
        except OSError:
            pass  # not empty: the owner has made another file meanwhile


noops_agent.init()
for number in range(MANY):
    record("disk", number=number, text="x" * 100)
    if TROUBLE == "deleted" and number == MANY // 2:
        delete_state()
    if TROUBLE == "deleted in a child" and number == MANY // 2 and os.fork() == 0:
        delete_state()
        record("child")
        noops_agent.flush(10)
        os._exit(0)
