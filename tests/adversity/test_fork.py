"""Forked processes: every span once, under the pid that made it, however and whenever the fork came."""

from __future__ import annotations

from collections import Counter

import pytest

from .launch import Ended, Launch, resources
from .test_crash import same

STATES = {
    "before_init": ["exit"],
    "after_init": ["_exit"],
    "after_spans": ["_exit", "exit"],
    "open_span": ["_exit", "exit"],
    "from_thread": ["_exit", "exit"],
    "grandchild": ["exit"],
    "in_c": ["_exit", "exit"],
    "in_c_before_a_span": ["_exit"],
    "while_others_record": ["_exit", "exit"],
}
"""When the fork comes, and how the child leaves."""


def own_process(launch: Launch, ended: Ended) -> bool:
    """Whether each span came with the pid of its process, and each process with an instance of its own."""
    pids = ended.pids
    instances: dict[int, set[str]] = {}
    for attributes, span in resources(launch.collector):
        if span.span_id in pids:
            assert attributes["process.pid"] == pids[span.span_id]
            instances.setdefault(attributes["process.pid"], set()).add(attributes["service.instance.id"])
    assert all(len(found) == 1 for found in instances.values())
    assert len(set.union(*instances.values())) == len(set(pids.values()))
    return True


@pytest.mark.parametrize(("state", "leave"), [(state, leave) for state in STATES for leave in STATES[state]])
def test_parent_and_child_record_for_themselves(launch: Launch, core_name: str, state: str, leave: str) -> None:
    """Nothing is lost, nothing sent twice, nobody waits for a lock that was held when the fork came."""
    ended = launch.run("fork.py", state, leave, NOOPS_CORE=core_name)
    assert ended.status == 0, ended.err
    assert len(set(ended.pids.values())) >= 2
    expected = ended.ids
    launch.adopt(expected)
    assert same(launch, expected)
    assert own_process(launch, ended)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver(launch: Launch, core_name: str, method: str) -> None:
    """A child delivers what it recorded before it ends, though it leaves without the interpreter's exit."""
    ended = launch.run("pool.py", method, NOOPS_CORE=core_name)
    assert ended.status == 0, ended.err
    expected = ended.ids
    assert expected.total() == 25
    assert expected == Counter(
        {span_id: n for span_id, n in launch.collector.span_ids().items() if span_id in expected}
    )
    assert max(launch.collector.span_ids().values()) == 1
    assert own_process(launch, ended)


def test_a_fork_while_the_shipper_imports_leaves_no_lock_behind(launch: Launch) -> None:
    """The child of such a moment can import the same modules itself."""
    ended = launch.run("import_fork.py", OTEL_BSP_SCHEDULE_DELAY="10")
    assert ended.status == 0, ended.err
    expected = ended.ids
    assert len(set(ended.pids.values())) > 10
    launch.adopt(expected)
    # A child that leaves by `os._exit` while a request of its is on the way can't note that it was taken: what is in it
    # may come once more.
    assert set(launch.arrived()) == set(expected)


def test_a_span_that_was_open_at_the_fork_is_the_parents_alone(launch: Launch) -> None:
    """A child that leaves the block as well does not record its parent's span once more."""
    ended = launch.run("fork.py", "open_span", "exit")
    expected = ended.ids
    launch.adopt(expected)
    arrived = list(resources(launch.collector))
    ((pid, span),) = [(attributes["process.pid"], span) for attributes, span in arrived if span.name == "open"]
    assert pid == ended.pids[span.span_id]
    children = [child for _, child in arrived if child.name == "child"]
    assert len(children) == 50
    assert {child.parent_span_id for child in children} == {span.span_id}
