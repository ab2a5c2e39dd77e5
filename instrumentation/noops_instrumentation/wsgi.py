"""WSGI applications of any framework, or of none, as servers run them: no code, and no framework known, is needed.

The servers are those of gunicorn, waitress, Werkzeug, cheroot, gevent, eventlet, Tornado, hypercorn, granian and the
standard library. An application that runs in an ASGI server, behind a bridge, belongs to the request of that server.
uWSGI and mod_wsgi call applications from C: there, those of Flask and Django speak for themselves.

Source: PEP 3333; OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import After, Args, Instrumentation, Kwargs
from noops_agent.instrument.http_server import KEY
from noops_agent.instrument.wsgi import WSGIArgument, WSGIAttribute


def _serves_wsgi(worker: Any) -> bool:
    """Whether a worker of gunicorn is one of its own for WSGI; those of uvicorn are given ASGI applications."""
    return any(
        kind.__module__.startswith("gunicorn.workers.") and kind.__module__ not in _OTHER_WORKERS
        for kind in type(worker).__mro__
    )


_OTHER_WORKERS = ("gunicorn.workers.base", "gunicorn.workers.gasgi")


def _bridged(_: Any, args: Args, kwargs: Kwargs, environ: Any) -> Any:
    exchange = args[0].get(KEY)
    if exchange is not None:
        environ[KEY] = exchange
    return environ


INSTRUMENTATION = Instrumentation(
    library="wsgi",
    hooks=(
        WSGIAttribute("gunicorn.workers.base:Worker.load_wsgi", "wsgi", _serves_wsgi),
        WSGIArgument("waitress.server:BaseWSGIServer.__init__", 0, "application"),
        WSGIArgument("werkzeug.serving:BaseWSGIServer.__init__", 2, "app"),
        WSGIArgument("wsgiref.handlers:BaseHandler.run", 0, "application"),
        WSGIArgument("cheroot.wsgi:Server.__init__", 1, "wsgi_app"),
        WSGIArgument("gevent.pywsgi:WSGIServer.__init__", 1, "application"),
        WSGIArgument("eventlet.wsgi:server", 1, "site"),
        WSGIArgument("tornado.wsgi:WSGIContainer.__init__", 0, "wsgi_application"),
        WSGIArgument("hypercorn.app_wrappers:WSGIWrapper.__init__", 0, "app"),
        WSGIArgument("granian.server.mp:_wsgi_call_wrap", 0, "callback"),
        WSGIArgument("granian.server.mt:_wsgi_call_wrap", 0, "callback"),
        After("starlette.middleware.wsgi:build_environ", _bridged, optional=True),
        After("uvicorn.middleware.wsgi:build_environ", _bridged, optional=True),
        After("a2wsgi.wsgi:build_environ", _bridged, optional=True),
        After("asgiref.wsgi:WsgiToAsgiInstance.build_environ", _bridged, optional=True),
    ),
)
