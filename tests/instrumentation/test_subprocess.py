"""Programs get the context in their environment where one asks for it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from noops_agent.instrument import carry

from .conftest import Observe

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def environment_of_child(**given: Any) -> dict[str, str]:
    shown = subprocess.run([sys.executable, "-S", "-c", SHOW], capture_output=True, check=True, **given)
    found: dict[str, str] = json.loads(shown.stdout)
    return found


def test_by_default_a_program_gets_the_environment_that_it_would_get_without_us(observed: Observe) -> None:
    """Nobody asked for it, and baggage may be private."""
    with observed("subprocess") as seen, seen.tracer.start_as_current_span("outer"):
        assert "TRACEPARENT" not in environment_of_child()


@pytest.mark.parametrize("given", [{}, {"env": {"OWN": "1"}}], ids=["inherited", "given"])
def test_with_propagate_it_gets_the_variables_of_the_specification(observed: Observe, given: Any) -> None:
    """In a copy: neither our own environment nor the mapping that was passed is changed."""
    before = dict(os.environ)
    with observed("subprocess", propagate=True) as seen, seen.tracer.start_as_current_span("outer") as outer:
        token = context.attach(baggage.set_baggage("customer", "7"))
        environ = environment_of_child(**given)
        context.detach(token)
    own = outer.get_span_context()
    assert environ["TRACEPARENT"] == f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
    assert environ["BAGGAGE"] == "customer=7"
    assert ("OWN" in environ) == bool(given)
    assert given in ({}, {"env": {"OWN": "1"}})
    assert dict(os.environ) == before


def test_asyncio_starts_programs_by_the_same_way(observed: Observe) -> None:
    """Its subprocesses are opened by Popen."""

    async def main() -> bytes:
        program = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", SHOW, stdout=asyncio.subprocess.PIPE)
        return (await program.communicate())[0]

    with observed("subprocess", propagate=True) as seen, seen.tracer.start_as_current_span("outer"):
        assert "TRACEPARENT" in json.loads(asyncio.run(main()))


def test_without_a_trace_nothing_is_added(observed: Observe) -> None:
    """An environment that was inherited stays one that is inherited."""
    with observed("subprocess", propagate=True):
        assert "TRACEPARENT" not in environment_of_child()


def test_a_program_joins_the_trace_of_its_environment() -> None:
    """And leaves it when the agent is shut down; a variable that is no traceparent is passed over."""
    environ = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "TRACESTATE": "a=1"}
    leave = carry.join(environ)
    found = trace.get_current_span().get_span_context()
    leave()
    assert (found.trace_id, found.is_remote) == (0x0AF7651916CD43DD8448EB211C80319C, True)
    assert found.trace_state.get("a") == "1"
    assert not trace.get_current_span().get_span_context().is_valid
    carry.join({"TRACEPARENT": "none"})()
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(
    ("key", "name"),
    [("traceparent", "TRACEPARENT"), ("x-b3-traceid", "X_B3_TRACEID"), ("3x", "_3X"), ("", "_"), ("é.a", "__A")],
)
def test_headers_become_names_that_a_shell_can_hold(key: str, name: str) -> None:
    """Capitals, digits and `_`, and no digit first: the rule of the specification."""
    assert carry.variable(key) == name
