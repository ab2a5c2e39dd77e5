"""ASGI applications of any framework, or of none, as servers run them: uvicorn, hypercorn, granian, daphne, gunicorn.

Source: ASGI specification 3.0; OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from noops_agent.instrument import Instrumentation
from noops_agent.instrument.asgi import ASGIArgument, ASGIAttribute

INSTRUMENTATION = Instrumentation(
    library="asgi",
    hooks=(
        ASGIAttribute("uvicorn.config:Config.load", "loaded_app"),
        ASGIAttribute("gunicorn.workers.gasgi:ASGIWorker.load_wsgi", "asgi"),
        ASGIArgument("hypercorn.app_wrappers:ASGIWrapper.__init__", 0, "app"),
        ASGIArgument("granian.server.mp:_asgi_call_wrap", 0, "callback"),
        ASGIArgument("granian.server.mt:_asgi_call_wrap", 0, "callback"),
        ASGIArgument("granian.server.embed:_asgi_call_wrap", 0, "callback"),
        ASGIArgument("daphne.server:Server.__init__", 0, "application"),
    ),
)
