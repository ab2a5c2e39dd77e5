"""asyncio: nothing is patched, since context variables follow a task by themselves.

`to_thread`, task groups, `call_soon_threadsafe` and `run_coroutine_threadsafe` copy the context of their caller.
`run_in_executor` submits to an executor, which `concurrent_futures` covers; another event loop does the same.

There is no span for a task or a coroutine: who wants one says `noops_agent.span`.
"""

from __future__ import annotations

from noops_agent.instrument import Instrumentation

INSTRUMENTATION = Instrumentation(library="asyncio")
