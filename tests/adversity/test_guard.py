"""A process in the middle of a long call of C still ends when it is told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from noops_agent import _core

PROGRAM = """
import noops_agent
noops_agent.init(exit_timeout_s=1)
with noops_agent.span("before"):
    pass
print("ready", flush=True)
{call}
"""


@pytest.mark.skipif(_core.NAME != "native", reason="the native core is not built here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_long_call_of_c_does_not_hold_up_the_end(number: int) -> None:
    """No handler of Python can run there; the process ends by the signal once the exit budget is over."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(call="sum(range(10**12))")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(number)
        try:
            assert process.wait(30) == -number
            assert time.monotonic() - began < 5
        finally:
            process.kill()


@pytest.mark.skipif(_core.NAME != "native", reason="the native core is not built here")
def test_a_second_signal_ends_at_once() -> None:
    """Who is impatient does not have to wait for the budget."""
    call = "sum(range(10**12))"
    program = PROGRAM.format(call=call).replace("exit_timeout_s=1", "exit_timeout_s=60")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        while process.poll() is None:
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == -signal.SIGTERM
