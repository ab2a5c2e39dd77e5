"""Redis commands, pipelines and transactions: blocking, asyncio and cluster clients.

Source: OpenTelemetry semantic conventions 1.44, docs/db/redis.md and docs/db/database-metrics.md.

`db.query.text` is the command with a `?` for each argument: keys are the user's data too (sessions, addresses), so
they stay at home. `db.namespace` is the database index that the pool was made with, not one chosen by `SELECT`.
`error.type` is the server's error prefix where the server refused the command, else the exception's class.

Publish/subscribe and MONITOR read whenever the server has something to say, so waiting for them is no operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from noops_agent.instrument import (
    CLIENT,
    NOT_AN_ERROR,
    After,
    Args,
    Attributes,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    Quiet,
)
from noops_agent.instrument.db import OPERATION_DURATION

_DEFAULT_PORT = 6379
_MOST_PLACEHOLDERS = 32  # an MSET of ten thousand pairs needs no more to be recognised
_MOST_STATEMENTS = 32  # of a pipeline, in its text

_TWO_WORDS = (
    "ACL CLIENT CLUSTER COMMAND CONFIG DEBUG FUNCTION HIMPORT LATENCY MEMORY MODULE OBJECT PUBSUB SCRIPT SENTINEL "
    "SLOWLOG XGROUP XINFO FT.CONFIG FT.CURSOR"
)  # commands whose second word is part of the name; of any other command it is an argument
_CONTAINERS = frozenset(_TWO_WORDS.split())
_PROCEDURES = frozenset({"EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"})

# redis-py takes these prefixes off the message and says them by the exception's class.
_PREFIXES = {
    "AskError": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "ExecAbortError": "EXECABORT",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
# Before the one, redis-py writes the whole command of a pipeline into the message, after the other the server does.
_PIPELINE_MARK = " of pipeline caused error: "
_ARGUMENTS_MARK = ", with args beginning with: "


# ---- one command -----------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _server(host: str | None, port: int | None, path: str | None) -> dict[str, Any]:
    if path or not host:
        return {"server.address": path} if path else {}
    if port is None or port == _DEFAULT_PORT:
        return {"server.address": host}
    return {"server.address": host, "server.port": port}


@lru_cache(maxsize=1024)
def _operation(command: str | bytes) -> str:
    """Give the command's name, without arguments that the caller wrote into the same string."""
    text = command.decode("utf-8", "replace") if isinstance(command, bytes) else str(command)
    words = text.split(None, 2) or [""]
    if len(words) > 1 and words[0].upper() in _CONTAINERS:
        return f"{words[0]} {words[1]}"
    return words[0]


@lru_cache(maxsize=4096)
def _text(command: str | bytes, count: int) -> str:
    """Give the statement of *count* words, each argument a placeholder."""
    shown = min(count - 1, _MOST_PLACEHOLDERS)
    return _operation(command) + " ?" * shown + (" ..." if count - 1 > shown else "")


@lru_cache(maxsize=4096)
def _single(command: str | bytes, count: int, host: Any, port: Any, path: Any, index: Any) -> dict[str, Any]:
    """Give the attributes of a command of *count* words: the same for each call, so made once."""
    return {
        "db.system.name": "redis",
        "db.operation.name": _operation(command),
        "db.namespace": str(index or 0),
        "db.query.text": _text(command, count),
        **_server(host, port, path),
    }


def _described(attributes: dict[str, Any], args: Args) -> Call:
    name = attributes["db.operation.name"]
    if name in _PROCEDURES and len(args) > 1:
        attributes["db.stored_procedure.name"] = str(args[1])
    return Call(name, attributes)


def _command(client: Any, args: Args, kwargs: Kwargs) -> Call:
    get = client.connection_pool.connection_kwargs.get
    attributes = _single(args[0], len(args), get("host"), get("port"), get("path"), get("db"))
    return _described(attributes.copy(), args)


def _cluster_node(cluster: Any) -> tuple[Any, Any]:
    """Give host and port of the first node that the user named; a cluster has no name of its own."""
    nodes = cluster.startup_nodes if hasattr(cluster, "startup_nodes") else cluster.nodes_manager.startup_nodes
    for node in nodes.values() if isinstance(nodes, dict) else nodes:
        return node.host, node.port
    return None, None


def _cluster_command(cluster: Any, args: Args, kwargs: Kwargs) -> Call:
    host, port = _cluster_node(cluster)
    return _described(_single(args[0], len(args), host, port, None, 0).copy(), args)


def _watched_command(strategy: Any, args: Args, kwargs: Kwargs) -> Call:
    return _cluster_command(getattr(strategy._pipe, "cluster_client", strategy._pipe), args, kwargs)


# ---- several commands ------------------------------------------------------------------------------------


def _batch(kind: str, commands: list[Args], address: dict[str, Any], index: Any) -> Call:
    size = len(commands)
    if size == 1:  # by the convention one command is a single operation, whatever sent it
        name = _operation(commands[0][0])
        text = _text(commands[0][0], len(commands[0]))
    else:
        names = {words[0] for words in commands}
        name = f"{kind} {_operation(names.pop())}" if len(names) == 1 else kind
        text = _texts(commands)
    attributes = {
        "db.system.name": "redis",
        "db.operation.name": name,
        "db.namespace": str(index or 0),
        "db.query.text": text,
        **address,
    }
    if size != 1:
        attributes["db.operation.batch.size"] = size
    return Call(name, attributes)


def _texts(commands: list[Args]) -> str:
    texts = [_text(words[0], len(words)) for words in commands[:_MOST_STATEMENTS]]
    if len(set(texts)) == 1 and len(commands) <= _MOST_STATEMENTS:
        return texts[0]
    return "; ".join(texts) + ("; ..." if len(commands) > _MOST_STATEMENTS else "")


def _pipeline(pipe: Any, args: Args, kwargs: Kwargs) -> Call | None:
    stack = pipe.command_stack
    if not stack and not pipe.watching:
        return None  # sends nothing
    transaction = pipe.is_transaction if hasattr(pipe, "is_transaction") else pipe.transaction  # asyncio, blocking
    get = pipe.connection_pool.connection_kwargs.get
    kind = "MULTI" if transaction or pipe.explicit_transaction else "PIPELINE"
    address = _server(get("host"), get("port"), get("path"))
    return _batch(kind, [command[0] for command in stack], address, get("db"))


def _cluster_pipeline(pipe: Any, args: Args, kwargs: Kwargs) -> Call | None:
    strategy = getattr(pipe, "_execution_strategy", None)  # since redis-py 6.1; before it, the pipe held the stack
    stack: Iterable[Any] = strategy._command_queue if strategy is not None else _own_stack(pipe)
    commands = [command.args for command in stack]
    if not commands:
        return None
    cluster = getattr(pipe, "cluster_client", None) or getattr(pipe, "_client", None) or pipe
    kind = "MULTI" if type(strategy).__name__.startswith("Transaction") else "PIPELINE"
    return _batch(kind, commands, _server(*_cluster_node(cluster), None), 0)


def _own_stack(pipe: Any) -> Iterable[Any]:
    stack: Iterable[Any] = pipe.command_stack if hasattr(pipe, "command_stack") else pipe._command_stack
    return stack


# ---- errors ----------------------------------------------------------------------------------------------


def _failure(call: Call, error: BaseException) -> Attributes | None:
    """Give the server's error prefix; a lost race for a watched key is the expected way to be told of it."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    text = str(error)
    if "WatchError" in kinds and text.startswith("Watched variable"):
        return NOT_AN_ERROR
    message = text.rpartition(_PIPELINE_MARK)[2].partition(_ARGUMENTS_MARK)[0]
    prefix = getattr(error, "status_code", None) or _PREFIXES.get(kinds[0])
    if prefix is None and "ResponseError" in kinds:
        first = message.partition(" ")[0]
        prefix = first if first.isalpha() and first.isupper() else "ERR"
    if prefix is None:
        return None
    known = {"db.response.status_code": prefix, "error.type": prefix}
    if message != text:
        known["exception.message"] = message
    return known


# ---- what redis-py measures by itself --------------------------------------------------------------------


def _untracked(config: Any, args: Args, kwargs: Kwargs, returned: bool) -> bool:
    """Keep redis-py from recording the duration that this integration records; its other metrics stay."""
    return False


def _hook(target: str, describe: Any, *, optional: bool = False) -> Hook:
    return Hook(target, CLIENT, describe, error=_failure, duration=OPERATION_DURATION, layer="db", optional=optional)


INSTRUMENTATION = Instrumentation(
    library="redis",
    distribution="redis",
    versions=">=4.2",
    hooks=(
        _hook("redis.client:Redis.execute_command", _command),
        _hook("redis.client:Pipeline.immediate_execute_command", _command),
        _hook("redis.client:Pipeline.execute", _pipeline),
        _hook("redis.cluster:RedisCluster.execute_command", _cluster_command),
        _hook("redis.cluster:ClusterPipeline.execute", _cluster_pipeline),
        _hook("redis.cluster:TransactionStrategy._immediate_execute_command", _watched_command, optional=True),
        _hook("redis.asyncio.client:Redis.execute_command", _command),
        _hook("redis.asyncio.client:Pipeline.immediate_execute_command", _command),
        _hook("redis.asyncio.client:Pipeline.execute", _pipeline),
        # From redis-py 4.3 on:
        _hook("redis.asyncio.cluster:RedisCluster.execute_command", _cluster_command, optional=True),
        _hook("redis.asyncio.cluster:ClusterPipeline.execute", _cluster_pipeline, optional=True),
        _hook("redis.asyncio.cluster:TransactionStrategy._immediate_execute_command", _watched_command, optional=True),
        # Bookkeeping of the client's own: what a cluster is like, and the health of several databases.
        Quiet("redis._parsers.commands:CommandsParser.initialize", optional=True),
        Quiet("redis.commands.parser:CommandsParser.initialize", optional=True),  # before redis-py 5
        Quiet("redis.cluster:NodesManager.initialize"),
        Quiet("redis.asyncio.cluster:NodesManager.initialize", optional=True),
        Quiet("redis.asyncio.multidb.healthcheck:PingHealthCheck.check_health", optional=True),
        After("redis.observability.config:OTelConfig.should_track_command", _untracked, optional=True),
    ),
)
