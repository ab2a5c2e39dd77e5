"""Programs that are started: with the option `propagate` they get the current context in their environment.

It is off by default. A program may be anybody's, baggage may hold what is nobody else's business, and whoever passes an
`env` means it. Source: OpenTelemetry specification 1.60, context/env-carriers.md ("Process Spawning", "Security").
"""

from __future__ import annotations

import os
from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.carry import get_current, to_environment

_ENV = 10
"""Position of `env` among the arguments of `Popen`."""


def _start(popen: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    if not INSTRUMENTATION.options.get("propagate"):
        return None
    carrier = to_environment(get_current())
    if not carrier:
        return None
    given = args[_ENV] if len(args) > _ENV else kwargs.get("env")
    environ = {**(os.environ if given is None else given), **carrier}
    if len(args) > _ENV:
        return (*args[:_ENV], environ, *args[_ENV + 1 :]), kwargs
    kwargs["env"] = environ
    return args, kwargs


INSTRUMENTATION = Instrumentation(
    library="subprocess",
    hooks=(Before("subprocess:Popen.__init__", _start),),
    options=("propagate",),
)
