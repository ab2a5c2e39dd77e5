"""Start, stop, fork, exit and signals: the only wiring, and the only place that starts threads."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from opentelemetry import trace as trace_api

from . import _core, _diagnostics, _export
from ._config import Settings, load, masked
from ._env import PROVEN, allocate_lock, in_thread, process_name, start_thread
from ._export import loading
from ._imports import drop_unfinished
from ._signals import context, propagation, runtime, span
from ._signals.rescue import Rescue
from ._signals.resource import make_resource, refresh
from ._signals.sampling import make_sampler
from ._signals.trace import TracerProvider, settings_limits
from .instrument import carry, registry, resets

GUARD_MS = 500
"""What a handler may take beyond the exit budget before the signal ends the process all the same."""

TERMINATING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)


class Agent:
    """What runs between `init` and `shutdown`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.undo: list[Callable[[], object]] = []
        self.recorder: Any = None
        self.pipeline: Any = None
        self.lonely = False
        self.described_pid = os.getpid()
        """The process that the resource describes."""
        self.recording_pid = 0
        """The process that recorded something last; 0: none did."""
        if settings.exporters != ("none",):
            self.recorder = _core.Recorder(
                settings.state_dir, settings.segment_bytes, _export.destination(settings), self.enter_process
            )
            self.recorder.keeps = "local" in settings.exporters

    def enter_process(self, recorder: Any) -> None:
        """Begin to ship, at the first record of a process; a forked child gets a resource of its own."""
        try:
            pid = os.getpid()
            forked = self.described_pid != pid
            if forked:
                drop_unfinished()  # a fork in C runs no hook that would have kept it away from them
                self.pipeline = None
                provider()._resource = refresh(provider().resource)
            self.described_pid = self.recording_pid = pid
            if recorder.folder is None:
                _diagnostics.say("state.unwritable", folder=self.settings.state_dir, error=recorder.folder_error)
            self.lonely = forked and in_thread()
            self.pipeline = self.make_pipeline()
            start_thread(self.pipeline.run)
            finish_with_children(self.finish)
        except Exception as error:
            _diagnostics.say("start.failed", error=repr(error))

    def running_pipeline(self) -> Any:
        """The pipeline of this process; None before its first record."""
        return self.pipeline if self.recording_pid == os.getpid() else None

    def make_pipeline(self) -> Any:
        """Make what ships the records of this process.

        Its modules are imported here, at the first record, for the sake of programs that record nothing.
        """
        pipeline = loading.load("._export.pipeline", __package__)
        made = pipeline.Pipeline(self.recorder, _export.open_sinks(self.settings), self.settings)
        made.lonely = self.lonely
        return made

    def finish(self) -> None:
        """Send what was recorded, within the exit budget; what is left is on disk."""
        try:
            pipeline = self.running_pipeline()
            if pipeline is not None:
                pipeline.stop(self.settings.exit_timeout_s)
        except Exception:
            _diagnostics.count("exit.failed")

    def leave(self) -> None:
        """Close, at the exit of the interpreter."""
        interrupted = ends_by_interrupt()
        self.finish()
        if self.recorder is not None:
            self.recorder.leave()
        if interrupted:
            # The interpreter ends by SIGINT where it remembers an interrupt that nobody caught. The imports of the
            # shipper evaluate text, which makes it forget; this makes it remember.
            with contextlib.suppress(KeyboardInterrupt):
                exec("raise KeyboardInterrupt")

    def close(self) -> None:
        """Finish, and take no record any more."""
        self.finish()
        if self.recorder is not None:
            self.recorder.close()


_changing = allocate_lock()
"""Held while the agent starts or stops. It is never waited for: who comes meanwhile has no say."""

_agent: Agent | None = None
_provider: TracerProvider | None = None


def provider() -> TracerProvider:
    """The provider that `init` installed. It outlives `shutdown`, since tracers of libraries hold on to it."""
    assert _provider is not None
    return _provider


def init(**settings: Any) -> None:
    """Start the agent. A second call, while it runs, does nothing.

    Args:
        settings: Any setting of docs/settings.md by its name; they win over variables and files.

    Raises:
        Nothing: what is wrong is said through the `noops_agent` logger.
    """
    if not _changing.acquire(False):
        return
    try:
        if _agent is None:
            start(settings)
    except Exception as error:
        _diagnostics.say("start.failed", error=repr(error))
    finally:
        _changing.release()


def start(overrides: dict[str, Any]) -> None:
    """Put an agent in place; where that fails nothing of it is left."""
    global _agent
    settings = load(overrides)
    if not settings.enabled:
        return
    agent = Agent(settings)
    try:
        install(agent)
    except BaseException:
        uninstall(agent)
        raise
    _agent = agent
    _diagnostics.say(
        "started", core=_core.NAME, exporters=",".join(settings.exporters), endpoint=described_target(settings)
    )


def install(agent: Agent) -> None:
    """Put our provider, context and propagators in place; each can be undone."""
    settings = agent.settings
    agent.undo.append(context.install())
    agent.undo.append(propagation.install(settings.propagators))
    install_provider(agent)
    span.tracer = provider().get_tracer("noops_agent")
    span.tracer.suppressible = True
    agent.undo.append(registry.activate(settings))
    agent.undo.append(carry.join(os.environ))
    if settings.runtime_metrics:
        agent.undo.append(runtime.watch())
    if settings.handle_signals:
        agent.undo.append(handle_signals(agent))
    for last in (agent.leave, _diagnostics.silence):  # the last one registered runs first
        atexit.register(last)
        agent.undo.append(functools.partial(atexit.unregister, last))


def install_provider(agent: Agent) -> None:
    """Make our provider the global one, unless the application has set its own."""
    global _provider
    settings = agent.settings
    if _provider is None:
        _provider = TracerProvider(
            make_sampler(settings),
            make_resource(settings),
            shutdown_on_exit=False,
            span_limits=settings_limits(settings),
        )
    else:
        tracing = _provider._tracing
        tracing.sampler, tracing.limits = make_sampler(settings), settings_limits(settings)
        _provider._resource = make_resource(settings)
    _provider._tracing.rescue = Rescue(settings.keep) if settings.keep else None
    _provider.use_id_generator(find_id_generator(settings.id_generator))
    _provider._disabled = False
    _provider.deliver = flush
    _provider.enable(True)
    if agent.recorder is not None:
        _provider.record_into(agent.recorder)
    trace_api._set_tracer_provider(_provider, log=False)
    if trace_api._TRACER_PROVIDER is not _provider:
        _diagnostics.say("provider.foreign", provider=type(trace_api._TRACER_PROVIDER).__name__)


def find_id_generator(name: str | None) -> Any:
    """Make the identifier generator that `OTEL_PYTHON_ID_GENERATOR` names; None: the core's own."""
    if not name or name == "random":
        return None
    from importlib.metadata import entry_points

    for found in entry_points(group="opentelemetry_id_generator", name=name):
        return found.load()()
    _diagnostics.say("id_generator.unknown", name=name)
    return None


def shutdown() -> None:
    """Send what was recorded, within the exit budget, and undo everything that `init` did."""
    global _agent
    if not _changing.acquire(False):
        return
    try:
        agent, _agent = _agent, None
        if agent is not None:
            uninstall(agent)
    finally:
        _changing.release()


def uninstall(agent: Agent) -> None:
    """Finish, and undo as much as was done."""
    span.tracer = None
    if _provider is not None:
        _provider.shutdown()
        _provider.enable(False)
    agent.close()
    if _provider is not None:
        _provider._tracing.recorder = None
    for undo in reversed(agent.undo):
        undo()
    if _provider is not None and trace_api._TRACER_PROVIDER is _provider:
        trace_api._TRACER_PROVIDER = None
        trace_api._TRACER_PROVIDER_SET_ONCE._done = False


def flush(timeout_s: float = 30.0) -> bool:
    """Wait until all that ended so far is acknowledged; False where that took longer than *timeout_s*."""
    pipeline = None if _agent is None else _agent.running_pipeline()
    return True if pipeline is None else bool(pipeline.flush(timeout_s))


# ---- the end of a process --------------------------------------------------------------------------------


def handle_signals(agent: Agent) -> Callable[[], None]:
    """Send the last records before a signal ends the process; gives what undoes it.

    Only signals that nobody handles are taken, so the process ends by the signal as it would without us. A handler
    that the program installs later wins; one that puts back what it found (uvicorn's) puts ours back.
    """

    def end(number: int, frame: object) -> None:
        if os.getpid() == 1:
            # The kernel spares the first process of a container from a signal that nobody handles: it goes on.
            flush(agent.settings.exit_timeout_s)
            return
        agent.close()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def take() -> None:
        for number in TERMINATING:
            try:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, end)
                    _core.guard_signal(number, round(agent.settings.exit_timeout_s * 1000) + GUARD_MS)
            except ValueError:  # not in the main thread
                break

    def restore() -> None:
        forget()
        for number in TERMINATING:
            try:
                if signal.getsignal(number) is end:
                    signal.signal(number, signal.SIG_DFL)
            except ValueError:
                pass

    take()
    forget = resets.listen(take)
    return restore


def ends_by_interrupt() -> bool:
    """Whether a KeyboardInterrupt that nobody caught has ended the program."""
    if getattr(sys, "last_type", None) is not KeyboardInterrupt:
        return False
    last = getattr(sys, "last_traceback", None)
    # One that an interactive shell reported came from a frame that somebody called.
    return last is not None and last.tb_frame.f_back is None


def finish_with_children(finish: Callable[[], None]) -> None:
    """Let children of multiprocessing and billiard (Celery) finish: they leave by `os._exit`, past atexit."""
    for name in ("multiprocessing.util", "billiard.util"):
        util = sys.modules.get(name)
        if util is not None:
            util.Finalize(None, finish, exitpriority=-100)


# ---- knowledge of itself ---------------------------------------------------------------------------------


def described_target(settings: Settings) -> str:
    """Say where records go."""
    if "otlp" in settings.exporters:
        return str(masked("endpoint", settings.otlp_traces.endpoint))
    return str(settings.state_dir)


def status() -> dict[str, Any]:
    """What the agent does now: whether it runs, its core, where records go, how that goes."""
    if _agent is None:
        return {"running": False, "core": _core.NAME}
    settings, pipeline = _agent.settings, _agent.running_pipeline()
    return {
        "running": True,
        "core": _core.NAME,
        "core_why": _core.WHY,
        "interpreter_proven": PROVEN,
        "service": provider().resource.attributes.get("service.name"),
        "exporters": list(settings.exporters),
        "target": described_target(settings),
        "state_dir": settings.state_dir,
        "export": {} if pipeline is None else pipeline.status(),
    }


def stats() -> dict[str, int]:
    """Counts since the process began: spans started, ended, recorded, dropped; and the agent's health counters."""
    counts = dict(_diagnostics.counters())
    if _provider is not None:
        tracing = _provider._tracing
        counts["otel.sdk.span.started"] = tracing.started
        counts["otel.sdk.span.ended"] = tracing.ended
        if tracing.recorder is not None:
            counts["otel.sdk.processor.span.processed"] = tracing.recorder.recorded
            counts["spans.dropped"] = tracing.recorder.dropped
    return counts


def start_injected() -> None:
    """Start as `noops-agent run` does, unless the program is one that is to be left alone."""
    if process_name() not in load().exclude_commands:
        init()
