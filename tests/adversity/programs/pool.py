"""Record in children of multiprocessing: `pool.py start-method`."""

import multiprocessing
import sys

from spans import record

import noops_agent

if __name__ != "__mp_main__" or sys.argv[1:] == ["spawn"]:
    noops_agent.init()


def work(number):
    """Record in a process of the pool, where the agent runs as in any program."""
    noops_agent.init()
    record("task", number=number)
    return number


def main():
    """Use the pool, then single processes."""
    context = multiprocessing.get_context(sys.argv[1])
    record("before")
    with noops_agent.span("open"):
        with context.Pool(2, maxtasksperchild=5) as pool:
            assert sorted(pool.map(work, range(20), chunksize=1)) == list(range(20))
            pool.close()
            pool.join()
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
    record("after")


if __name__ == "__main__":
    main()
