"""MongoDB commands of pymongo's blocking and asyncio clients, those made earlier included.

Source: OpenTelemetry semantic conventions 1.44, docs/db/mongodb.md and docs/db/database-metrics.md.

A span is one command on the wire, so a cursor has one for `find` and one for each `getMore`. The traffic that the
driver makes for itself (handshakes, authentication, monitoring, ends of sessions, cursors killed in the background)
has none. `db.query.text` is the shape of filters, updates and pipelines: names and operators, every value a `?`.
`error.type` is the server's error code where there is one, else the exception's class.

Where all of pymongo's commands go through one function, that is patched; in older versions its events are listened to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from pymongo import errors, monitoring

from noops_agent.instrument import CLIENT, Args, Attributes, Call, Hook, Instrumentation, Kwargs, Quiet
from noops_agent.instrument.db import OPERATION_DURATION

_DEFAULT_PORT = 27017
_HANDSHAKES = "authenticate getnonce hello isMaster ismaster saslContinue saslStart endSessions"
_DRIVERS_OWN = frozenset(_HANDSHAKES.split())
_OF_COLLECTIONS = (
    "aggregate analyzeShardKey collMod collStats compact count create createIndexes createSearchIndexes delete "
    "deleteIndexes distinct drop dropIndexes dropSearchIndex find findAndModify findandmodify insert killCursors "
    "listIndexes mapReduce mapreduce reIndex update updateSearchIndex validate"
)  # commands whose own value is the collection; elsewhere it may be a user's name or a setting
_COLLECTION_FIRST = frozenset(_OF_COLLECTIONS.split())

_DOCUMENTS = {"insert": "documents", "update": "updates", "delete": "deletes", "bulkWrite": "ops"}
_SHOWN = {
    "find": ("filter", "sort", "projection"),
    "aggregate": ("pipeline",),
    "count": ("query",),
    "distinct": ("query",),
    "delete": ("deletes",),
    "findAndModify": ("query", "update"),
    "update": ("updates",),
}  # what of a command is a statement; the rest is settings, or the data itself
_NESTED = (dict, list, tuple)
_PLACE = '"?"'
_MOST_PARTS = 64
_DEEPEST = 12


# ---- shape -----------------------------------------------------------------------------------------------


def _text(name: str, collection: str | None, command: Mapping[str, Any]) -> str | None:
    """Give the statement without values; None where a command has none."""
    shown = _SHOWN.get(name)
    if shown is None:
        return None
    left = [_MOST_PARTS]
    text = f'{{"{name}": "{collection or "?"}"'
    for key in shown:
        value = command.get(key)
        if value:
            text += f', "{key}": {_shape(value, left, 0)}'
    return text + "}"


def _shape(value: Any, left: list[int], depth: int) -> str:
    """Give the names in a document and the places of its values, until the budget of parts is spent."""
    if isinstance(value, dict):
        parts = []
        for key, member in value.items():
            left[0] -= 1
            if left[0] < 0 or depth > _DEEPEST:
                parts.append("...")
                break
            parts.append(f'"{key}": {_shape(member, left, depth + 1) if isinstance(member, _NESTED) else _PLACE}')
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_items(value, left, depth)) + "]"
    return _PLACE


def _items(values: Iterable[Any], left: list[int], depth: int) -> list[str]:
    """Give the documents of a list; its plain values, however many they are, have one place."""
    parts: list[str] = []
    for value in values:
        left[0] -= 1
        if left[0] < 0 or depth > _DEEPEST:
            parts.append("...")
            break
        if isinstance(value, _NESTED):
            parts.append(_shape(value, left, depth + 1))
        elif _PLACE not in parts:
            parts.append(_PLACE)
    return parts


# ---- description -----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _server(host: str | None, port: int | None) -> dict[str, Any]:
    if not host:
        return {}
    if port is None or port == _DEFAULT_PORT:
        return {"server.address": host}
    return {"server.address": host, "server.port": port}


def _collection(name: str, command: Mapping[str, Any]) -> str | None:
    value = command.get("collection") if name == "getMore" else command[name] if name in _COLLECTION_FIRST else None
    return value if isinstance(value, str) else None


def _described(name: str, command: Mapping[str, Any], database: str, address: dict[str, Any]) -> Call:
    collection = _collection(name, command)
    attributes = {
        "db.system.name": "mongodb",
        "db.operation.name": name,
        "db.namespace": database,
        **address,
    }
    if collection is not None:
        attributes["db.collection.name"] = collection
    text = _text(name, collection, command)
    if text is not None:
        attributes["db.query.text"] = text
    if name in _DOCUMENTS:
        size = len(command.get(_DOCUMENTS[name]) or ())
        if size > 1:
            attributes["db.operation.batch.size"] = size
    return Call(f"{name} {collection or database}", attributes)


def _command(instance: None, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe pymongo's `_run_command(conn, cmd, dbname, ...)`; without a client it is the driver's own."""
    client = kwargs.get("client")
    command = kwargs.get("orig") or args[1]
    name = next(iter(command))
    if client is None or name in _DRIVERS_OWN:
        return None
    seeds = client._topology_settings.seeds
    # Of several servers none was meant: then it is the one that the driver chose.
    host, port = next(iter(seeds)) if len(seeds) == 1 else args[0].address
    return _described(name, command, args[2], _server(host, port))


# ---- outcome ---------------------------------------------------------------------------------------------


def _coded(code: Any) -> Attributes | None:
    return None if code is None else {"db.response.status_code": str(code), "error.type": str(code)}


def _refused(reply: Any) -> Attributes | None:
    """Give the first error of a reply that says `ok` all the same: of single writes, or of their replication."""
    for refusals in (reply.get("writeErrors"), (reply.get("writeConcernError"),)):
        if refusals and refusals[0]:
            return _coded(refusals[0].get("code"))
    return None


def _result(call: Call, returned: Any) -> Attributes | None:
    documents = returned[0]
    return _refused(documents[0]) if documents and isinstance(documents[0], Mapping) else None


def _failure(call: Call, error: BaseException) -> Attributes | None:
    """Give the server's code, and of what it says as much as has no documents in it."""
    known = _coded(getattr(error, "code", None))
    details = getattr(error, "details", None)
    if known is None or not isinstance(details, Mapping):
        return known
    return {**known, "exception.message": str(details.get("errmsg", "")).partition("{")[0].rstrip(" :")}


def _hook(target: str) -> Hook:
    return Hook(
        target,
        CLIENT,
        _command,
        result=_result,
        error=_failure,
        duration=OPERATION_DURATION,
        layer="db",
        optional=True,
    )


# ---- older versions --------------------------------------------------------------------------------------


class _Listener(monitoring.CommandListener):
    """Opens an operation when a command starts, and closes it when the driver says how it ended."""

    def __init__(self, live: Any) -> None:
        self.live = live
        self.running: dict[tuple[int, Any], Any] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name = event.command_name
        if name in _DRIVERS_OWN or not event.command:
            return
        host, port = event.connection_id
        call = _described(name, event.command, event.database_name, _server(host, port))
        operation = self.live.open(call, CLIENT, OPERATION_DURATION, "db")
        if operation is not None:
            self.running[event.request_id, event.connection_id] = operation

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        operation = self.running.pop((event.request_id, event.connection_id), None)
        if operation is not None:
            operation.close(None, _refused(event.reply))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        operation = self.running.pop((event.request_id, event.connection_id), None)
        if operation is not None:
            kind = event.failure.get("errtype") or "_OTHER"
            named = f"pymongo.errors.{kind}" if hasattr(errors, kind) else kind
            operation.close(None, _coded(event.failure.get("code")) or {"error.type": named})


_LISTENERS = "_EventListeners__command_listeners"
_ENABLED = "_EventListeners__enabled_for_commands"


def _listen(live: Any) -> Callable[[], object]:
    """Have all clients, made or to be made, listen too, where pymongo has no single place to patch."""
    if find_spec("pymongo.synchronous") is not None and find_spec("pymongo.synchronous.command_runner") is not None:
        return int
    owner: Any = monitoring._EventListeners
    listener = _Listener(live)
    setattr(owner, _LISTENERS, _seen_as(_LISTENERS, lambda own: [*own, listener]))
    setattr(owner, _ENABLED, _seen_as(_ENABLED, lambda own: True))

    def stop() -> None:
        delattr(owner, _LISTENERS)
        delattr(owner, _ENABLED)

    return stop


def _seen_as(name: str, view: Callable[[Any], Any]) -> property:
    """Make a property that shows an attribute of the instances otherwise than it is, and leaves it as it is."""
    return property(lambda self: view(vars(self)[name]), lambda self, value: vars(self).__setitem__(name, value))


INSTRUMENTATION = Instrumentation(
    library="pymongo",
    distribution="pymongo",
    versions=">=4.0",
    hooks=(
        _hook("pymongo.synchronous.command_runner:_run_command"),
        _hook("pymongo.asynchronous.command_runner:_run_command"),
        Quiet("pymongo.synchronous.mongo_client:MongoClient._process_periodic_tasks", optional=True),
        Quiet("pymongo.asynchronous.mongo_client:AsyncMongoClient._process_periodic_tasks", optional=True),
    ),
    setup=_listen,
)
