"""Celery: sending of tasks, and their execution in every kind of pool.

Spans are named by the task: `send {task}` where it is sent, `process {task}` where it runs, as the child of its sender
(or, with the option `links`, linked to it). A retry, and a task that was ignored or rejected, is no error. An eager
task (`task_always_eager`, `apply`) is a child of what is current, and is not sent. Events, remote control and results
are Celery's own messages, and what it does in a result backend is its own book: neither makes spans.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md; `celery.*` by the names of the
instrumentation in opentelemetry-python-contrib.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from celery.signals import worker_process_shutdown

import noops_agent
from noops_agent.instrument import (
    CONSUMER,
    NOT_AN_ERROR,
    PRODUCER,
    Args,
    Attributes,
    Call,
    Duration,
    Hook,
    Instrumentation,
    Kwargs,
    messaging,
    urls,
)
from noops_agent.instrument.frameworks import Everywhere, Given, Muted

_TASK = "celery.task_name"
_STATE = "celery.state"
_SUCCESS, _FAILURE = "SUCCESS", "FAILURE"
_CONTROL_FLOW = frozenset(("Ignore", "Reject", "Retry"))
"""Exceptions of `celery.exceptions` by which a task says what is to become of it."""

_SYSTEMS = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "azureservicebus": "servicebus",
    "confluentkafka": "kafka",
    "gcpubsub": "gcp_pubsub",
    "pyamqp": "rabbitmq",
    "rediss": "redis",
    "sentinel": "redis",
    "sqs": "aws_sqs",
}
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "pyamqp": 5672, "redis": 6379, "rediss": 6379}
"""Of the transports whose URLs name the broker's host."""

_SENDING = Duration(
    messaging.SENDING.name,
    messaging.SENDING.description,
    (*messaging.SENDING.keys, _TASK),
    messaging.SENDING.bounds,
    also=messaging.SENDING.also,
)
_PROCESSING = Duration(
    messaging.PROCESSING.name,
    messaging.PROCESSING.description,
    (*messaging.PROCESSING.keys, _TASK, _STATE),
    messaging.PROCESSING.bounds,
    also=messaging.PROCESSING.also,
)
"""By task as well: one queue serves tasks of milliseconds and of hours."""


# ---- brokers and queues ----------------------------------------------------------------------------------


class _App:
    """What is known of an application, worked out at its first task."""

    __slots__ = ("_default", "_queues", "_routed", "broker")

    def __init__(self, app: Any) -> None:
        conf = app.conf
        url = conf.broker_write_url or conf.broker_url or ""
        self.broker = _broker(url if isinstance(url, str) else str(url[0]))
        self._default = conf.task_default_queue
        self._routed = bool(conf.task_routes)
        self._queues: dict[str, str] = {}

    def queue(self, app: Any, task: str) -> str:
        """Name the queue of a task; empty where functions of the user's choose it, which are not ours to call."""
        if not self._routed:
            return self._default
        found = self._queues.get(task)
        if found is None:
            if len(self._queues) > 1000:
                self._queues.clear()
            found = self._queues[task] = self._route(app, task)
        return found

    def _route(self, app: Any, task: str) -> str:
        router = app.amqp.router
        if any(type(route).__name__ != "MapRoute" for route in router.routes or ()):
            return ""
        queue = (router.lookup_route(task) or {}).get("queue", self._default)
        return queue if isinstance(queue, str) else queue.name


_apps: WeakKeyDictionary[Any, _App] = WeakKeyDictionary()


def _known(app: Any) -> _App:
    known = _apps.get(app)
    if known is None:
        known = _apps[app] = _App(app)
    return known


@lru_cache(maxsize=64)
def _broker(url: str) -> tuple[str, str, int | None]:
    """Give system, host and port of a broker's URL; of several brokers those of the first."""
    scheme, host, port, _, _ = urls.split(url.partition(";")[0])
    transport = scheme.partition("+")[0]
    system = _SYSTEMS.get(transport, transport) or "celery"
    if scheme not in _DEFAULT_PORTS:
        return system, "", None
    return system, host, None if port == _DEFAULT_PORTS[scheme] else port


# ---- sending ---------------------------------------------------------------------------------------------


def _send(app: Any, args: Args, kwargs: Kwargs) -> Call:
    task = args[0] if args else kwargs["name"]
    known = _known(app)
    system, address, port = known.broker
    headers = kwargs["headers"] = dict(kwargs.get("headers") or ())
    queue: Any = kwargs.get("queue") or kwargs.get("routing_key")
    destination: str = known.queue(app, task) if queue is None else getattr(queue, "name", queue)
    attributes = {_TASK: task}
    for option in ("countdown", "retries"):
        if kwargs.get(option):
            attributes[f"celery.{option}"] = kwargs[option]
    call = messaging.send(
        system,
        destination,
        headers,
        address=address,
        port=port,
        message_id=kwargs.get("task_id"),
        attributes=attributes,
    )
    call.name = f"send {task}"
    return call


def _sent(call: Call, result: Any) -> Attributes | None:
    return None if messaging.MESSAGE_ID in call.attributes else {messaging.MESSAGE_ID: result.id}


# ---- running ---------------------------------------------------------------------------------------------


def _tracer(_: Any, args: Args, kwargs: Kwargs) -> Hook | None:
    """Watch the function that Celery builds to run a task: it takes id, arguments and the request."""
    task = args[1] if len(args) > 1 else kwargs["task"]
    app = kwargs.get("app") or task.app
    system, address, port = _known(app).broker
    name = f"process {task.name}"

    def describe(_: Any, args: Args, kwargs: Kwargs) -> Call:
        request = (args[3] if len(args) > 3 else kwargs.get("request")) or {}
        eager = request.get("is_eager")
        call = messaging.process(
            system,
            (request.get("delivery_info") or {}).get("routing_key") or "",
            None if eager else _carrier(request),
            address=address,
            port=port,
            message_id=args[0] if args else kwargs.get("uuid"),
            linked=INSTRUMENTATION.options.get("links", False),
        )
        call.name = name
        call.request = task
        _add_facts(call.attributes, task.name, request)
        if eager:
            call.parent = None
            call.links = ()
        return call

    return Hook("celery.app.trace:build_tracer", CONSUMER, describe, result=_ended, error=_raised, duration=_PROCESSING)


def _add_facts(attributes: dict[str, Any], task: str, request: Any) -> None:
    attributes[_TASK] = task
    retries, eta, hostname = request.get("retries"), request.get("eta"), request.get("hostname")
    if retries:
        attributes["celery.retries"] = retries
    if eta:
        attributes["celery.eta"] = eta
    if hostname:
        attributes["celery.hostname"] = hostname


def _carrier(request: Any) -> Any:
    """Find the headers: of a message they are the request itself; some versions keep the user's own apart."""
    if messaging.SENT_AT in request or not isinstance(request.get("headers"), dict):
        return request
    return request["headers"]


def _ended(call: Call, returned: Any) -> Attributes | BaseException:
    """Read what became of the task; its own exception is in there, as Celery lets none out."""
    info = returned.info
    if info is None:
        return {_STATE: _SUCCESS}
    if info.state == _FAILURE and isinstance(info.retval, BaseException):
        return info.retval
    return {_STATE: info.state}


def _raised(call: Call, error: BaseException) -> Attributes:
    """Tell a task's failure from what it said of itself; eager tasks raise both."""
    kind = type(error)
    if kind.__module__ == "celery.exceptions" and kind.__name__ in _CONTROL_FLOW:
        return NOT_AN_ERROR
    return {_STATE: _FAILURE}


# ---- Celery's own books ----------------------------------------------------------------------------------

_BOOKS = {
    "celery.backends.base:Backend": "forget get_group_meta get_task_meta restore_group save_group store_result",
    "celery.backends.base:BaseKeyValueStoreBackend": "_apply_chord_incr on_chord_part_return task_result_exists",
    "celery.backends.redis:RedisBackend": """
        add_to_chord apply_chord delete expire forget get incr mget on_chord_part_return on_task_call set set_chord_size
    """,
    "celery.backends.redis:ResultConsumer": """
        _reconnect_pubsub cancel_for consume_from drain_events on_after_fork on_wait_for_pending start stop
    """,
    "celery.backends.database:DatabaseBackend": "__init__ ResultSession cleanup",
}
_OWN_MESSAGES = {
    "celery.backends.rpc:RPCBackend": "get_task_meta store_result",
    "celery.backends.rpc:ResultConsumer": "drain_events",
    "celery.events.dispatcher:EventDispatcher": "_publish",
}


def _muted(books: dict[str, str], *layers: str) -> tuple[Muted, ...]:
    return tuple(
        Muted(f"{owner}.{name}", *layers, optional=True) for owner, names in books.items() for name in names.split()
    )


# ---- the end of a child ----------------------------------------------------------------------------------

_EXIT_S = 2.0
"""Longest time that a child of the prefork pool waits, in seconds, until what it recorded is sent."""


def _finish(**_: Any) -> None:
    noops_agent.flush(_EXIT_S)


def _set_up(_: Any) -> Callable[[], object]:
    """Send what a child has recorded before it ends: it leaves by `os._exit`, past everything that is registered."""
    worker_process_shutdown.connect(_finish, weak=False)
    return lambda: worker_process_shutdown.disconnect(_finish)


INSTRUMENTATION = Instrumentation(
    library="celery",
    distribution="celery",
    versions=">=5.0",
    options=("links",),
    setup=_set_up,
    hooks=(
        Hook(
            "celery.app.base:Celery.send_task",
            PRODUCER,
            _send,
            result=_sent,
            duration=_SENDING,
            layer=messaging.LAYER,
        ),
        Everywhere(Given("celery.app.trace:build_tracer", _tracer), "celery.worker.consumer.consumer"),
        *_muted(_BOOKS, "db", "http", "rpc"),
        *_muted(_OWN_MESSAGES, "db", messaging.LAYER),
    ),
)
