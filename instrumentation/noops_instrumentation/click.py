"""Commands of click: a span for each, but none around a command that serves until it is stopped.

Source: OpenTelemetry semantic conventions 1.44, docs/cli/cli-spans.md. Spans are named after the path of the command
(`shop db migrate`), since the executable is the interpreter. What was typed behind it is the user's data, and left out.

A span around a server would be the parent of all that happens in it, for months. So commands that are known to serve
get none; and where any other command enters the loop of a server, consumer or scheduler, its span ends, and what the
loop does begins without a trace.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from noops_agent.instrument import INTERNAL, NOT_AN_ERROR, Args, Attributes, Call, Hook, Instrumentation, Kwargs
from noops_agent.instrument.carry import Outlives, end_of

_EXECUTABLE = os.path.basename(sys.executable or "python")
_SERVING_MODULES = frozenset(
    """
    arq.cli celery.bin.beat celery.bin.events celery.bin.multi celery.bin.shell celery.bin.worker chainlit.cli
    distributed.cli.dask_scheduler distributed.cli.dask_worker faststream.cli.main flower.command granian.cli
    streamlit.web.cli uvicorn.main watchfiles.cli
    """.split()  # noqa: SIM905 (words are read more easily)
)
_SERVING_CALLBACKS = frozenset(
    """
    fastapi_cli.cli.dev fastapi_cli.cli.run flask.cli.run_command flask.cli.shell_command
    litestar.cli.commands.core.run_command mkdocs.__main__.serve_command mlflow.cli.server quart.cli.run_command
    quart.cli.shell_command rq.cli.cli.worker_pool rq.cli.workers.worker_pool
    """.split()  # noqa: SIM905 (words are read more easily)
)
_SERVING_NAMES = frozenset(
    "beat consumer daemon runserver runworker scheduler serve server shell watch worker".split()  # noqa: SIM905
)
"""Names that programs give to commands which serve; the last word of the path."""


def _serves(command: Any) -> bool:
    if command.name in _SERVING_NAMES or command.name in INSTRUMENTATION.options.get("serving_commands", ()):
        return True
    callback = command.callback
    module = getattr(callback, "__module__", "")
    return module in _SERVING_MODULES or f"{module}.{getattr(callback, '__name__', '')}" in _SERVING_CALLBACKS


def _command(command: Any, args: Args, kwargs: Kwargs) -> Call | None:
    context = args[0] if args else kwargs["ctx"]
    if context.invoked_subcommand is not None or _serves(command):
        return None  # a group makes way for the command that follows
    attributes = {"process.executable.name": _EXECUTABLE, "process.pid": os.getpid()}
    return Call(context.command_path, attributes, request=context)


def _returned(call: Call, returned: Any) -> Attributes:
    return {"process.exit.code": 0}


def _exit_code(error: BaseException) -> int:
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else int(code is not None)


def _raised(call: Call, error: BaseException) -> Attributes:
    code = _exit_code(error)
    return {"process.exit.code": code} if code else NOT_AN_ERROR


_LOOPS = (
    "aiohttp.web:run_app",
    "apscheduler.schedulers.blocking:BlockingScheduler.start",
    "asyncio.base_events:Server.serve_forever",
    "celery.beat:Service.start",
    "celery.worker.worker:WorkController.start",
    "cheroot.server:HTTPServer.serve",
    "daphne.server:Server.run",
    "granian.server.common:AbstractServer.serve",
    "grpc._server:_Server.wait_for_termination",
    "grpc.aio._server:Server.wait_for_termination",
    "gunicorn.arbiter:Arbiter.run",
    "hypercorn.asyncio.run:worker_serve",
    "hypercorn.run:run",
    "kombu.mixins:ConsumerMixin.run",
    "paho.mqtt.client:Client.loop_forever",
    "pika.adapters.blocking_connection:BlockingChannel.start_consuming",
    "rq.worker.base:BaseWorker.work",
    "rq.worker:Worker.work",
    "socketserver:BaseServer.serve_forever",
    "uvicorn.server:Server.serve",
    "uvicorn.supervisors.basereload:BaseReload.run",
    "uvicorn.supervisors.multiprocess:Multiprocess.run",
    "waitress.server:BaseWSGIServer.run",
    "waitress.server:MultiSocketServer.run",
)


INSTRUMENTATION = Instrumentation(
    library="click",
    distribution="click",
    versions=">=7",
    hooks=(
        Hook("click.core:Command.invoke", INTERNAL, _command, result=_returned, error=_raised),
        *(Outlives(target, end_of("noops_instrumentation.click")) for target in _LOOPS),
    ),
    options=("serving_commands",),
)
