"""One application for all servers; each request records one span."""

from spans import record

import noops_agent

noops_agent.init()


def app(environ, start_response):
    """Answer a request of WSGI."""
    record("request")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    """Answer a request of ASGI."""
    if scope["type"] == "http":
        record("request")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def create_app():
    """Give the application as `flask run` wants it."""
    import flask

    made = flask.Flask("web")
    made.wsgi_app = app
    return made
