"""Flask: one span a request, named by the rule that matched, blueprints and mounted applications included.

Rules are as Flask writes them: `/user/<int:id>`. An exception that an error handler or Flask itself makes a server
error of is recorded.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flask
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.http_server import exchange_of
from noops_agent.instrument.wsgi import WSGIMethod


def _route(environ: dict[str, Any]) -> str | None:
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    if rule is None:
        return None
    root = environ.get("SCRIPT_NAME")
    path: str = rule.rule
    return root + path if root else path


def _buffered(body: Any) -> Sequence[Any] | None:
    """Find the response behind Werkzeug's body; None where the view generates it, or wants to know of its end."""
    callbacks = body._callbacks if type(body) is ClosingIterator else None
    response = getattr(callbacks[-1], "__self__", None) if callbacks else None
    if not isinstance(response, Response) or response._on_close or not response.is_sequence:
        return None
    return response.response  # type: ignore[return-value]  # a sequence, as was asked


def _note(app: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = exchange_of(flask.request.environ)
    if exchange is not None:
        exchange.note(args[-1] if args else kwargs["e"])
        exchange.routed(_route(flask.request.environ))  # unknown by the time that the exception has left Flask


INSTRUMENTATION = Instrumentation(
    library="flask",
    distribution="flask",
    versions=">=2.0",
    hooks=(
        WSGIMethod("flask.app:Flask.__call__", _route, buffered=_buffered),
        WSGIMethod("flask.app:Flask.wsgi_app", _route, buffered=_buffered),
        Before("flask.app:Flask.handle_user_exception", _note),
        Before("flask.app:Flask.handle_exception", _note),
    ),
)
