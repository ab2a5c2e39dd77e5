"""The names that attributes had before their conventions were stable, for dashboards that still ask for them.

`OTEL_SEMCONV_STABILITY_OPT_IN=http/dup,database/dup` adds them to the stable ones.

Source: OpenTelemetry semantic conventions, docs/non-normative/http-migration.md, db-migration.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from opentelemetry.trace import SpanKind

HTTP = {
    "http.request.body.size": "http.request_content_length",
    "http.request.method": "http.method",
    "http.response.body.size": "http.response_content_length",
    "http.response.status_code": "http.status_code",
    "network.protocol.version": "http.flavor",
    "url.full": "http.url",
    "url.scheme": "http.scheme",
    "user_agent.original": "http.user_agent",
}
HTTP_CLIENT = {
    **HTTP,
    "network.peer.address": "net.sock.peer.addr",
    "network.peer.port": "net.sock.peer.port",
    "server.address": "net.peer.name",
    "server.port": "net.peer.port",
}
HTTP_SERVER = {
    **HTTP,
    "client.address": "http.client_ip",
    "network.peer.address": "net.sock.peer.addr",
    "network.peer.port": "net.sock.peer.port",
    "server.address": "net.host.name",
    "server.port": "net.host.port",
}
DATABASE = {
    "db.collection.name": "db.sql.table",
    "db.namespace": "db.name",
    "db.operation.name": "db.operation",
    "db.query.text": "db.statement",
    "db.system.name": "db.system",
    "server.address": "net.peer.name",
    "server.port": "net.peer.port",
}


class FormerNames:
    """Adds the former names to attributes."""

    def __init__(self, http: bool, database: bool) -> None:
        self._http = http
        self._database = database

    def add_to(self, attributes: dict[str, Any], kind: Any, whole: Mapping[str, Any]) -> None:
        """Add, in place, what the attributes were called.

        Args:
            attributes: Those that are new.
            kind: Kind of their span.
            whole: All attributes of the span so far, by which it is told what it is.
        """
        names = self._names(kind, whole)
        for name, former in names.items():
            if name in attributes:
                attributes[former] = attributes[name]
        if names is HTTP_SERVER and "url.path" in attributes:
            query = attributes.get("url.query")
            attributes["http.target"] = f"{attributes['url.path']}?{query}" if query else attributes["url.path"]

    def _names(self, kind: Any, whole: Mapping[str, Any]) -> Mapping[str, str]:
        if self._http and "http.request.method" in whole:
            return HTTP_SERVER if kind is SpanKind.SERVER else HTTP_CLIENT
        if self._database and "db.system.name" in whole:
            return DATABASE
        return {}


def former_names(opted: Collection[str]) -> FormerNames | None:
    """Read `OTEL_SEMCONV_STABILITY_OPT_IN`; None where no former names are asked for."""
    http, database = "http/dup" in opted, "database/dup" in opted
    return FormerNames(http, database) if http or database else None
