"""Which libraries are instrumented: finding integrations, switching them on and off, and telling about it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from noops_instrumentation import ELSEWHERE, LIBRARIES

from .._diagnostics import say
from .._imports import on_import
from . import installed
from .live import Live
from .model import Instrumentation, Options
from .patch import Patch
from .unfinished import postponed

PATCHED, PARTLY, WAITING, SKIPPED = "patched", "partly patched", "waiting", "skipped"

COMMON_OPTIONS = frozenset(
    (
        "excluded_urls",
        "meter_provider",
        "request_headers",
        "request_hook",
        "response_headers",
        "response_hook",
        "semconv_opt_in",
        "tracer_provider",
    )
)
"""What every integration takes; more are named by the integration."""


class Report(NamedTuple):
    """What has become of one library in this process."""

    library: str
    version: str
    state: str
    """`PATCHED`, `PARTLY`, `WAITING` for an import, or `SKIPPED`."""
    why: str
    targets: dict[str, str]
    """Target -> `PATCHED`, `WAITING`, or what is wrong with it."""


class Handle:
    """One enabled library. `disable` undoes exactly what `enable` did."""

    def __init__(self, instrumentation: Instrumentation, options: Options, version: str) -> None:
        self.library = instrumentation.library
        self.version = version
        self.instrumentation = instrumentation
        self.targets: dict[str, str] = {}
        self._before = instrumentation.options
        self._undo: list[Callable[[], object]] = []
        instrumentation.options = options
        self.live = Live(instrumentation, options.get("tracer_provider"), options.get("meter_provider"))
        for hook in instrumentation.hooks:
            self.targets[hook.target] = WAITING
            self._undo.append(on_import(hook.module, self._patcher(hook)))
        if instrumentation.setup is not None:
            self._set_up(instrumentation.setup)

    def _patcher(self, hook: Patch) -> Callable[[Any], None]:
        def patch(module: Any) -> None:
            if not self.live.on or postponed(module, patch):
                return
            try:
                self._undo.append(hook.apply(self.live))
                self.targets[hook.target] = PATCHED
            except AttributeError as error:
                self.targets[hook.target] = "not there in this version" if hook.optional else f"missing: {error}"
                if not hook.optional:
                    library, version = self.library, self.version
                    say("instrument.missing", key=hook.target, library=library, version=version, target=hook.target)
            except Exception as error:
                self.targets[hook.target] = f"failed: {error!r}"
                say("instrument.failed", key=hook.target, library=hook.target, error=repr(error))

        return patch

    def _set_up(self, setup: Callable[[Live], Callable[[], object]]) -> None:
        try:
            self._undo.append(setup(self.live))
        except Exception as error:
            self.targets["setup"] = f"failed: {error!r}"
            say("instrument.failed", key=self.library, library=self.library, error=repr(error))

    def disable(self) -> None:
        """Take every wrapper away; what somebody else wrapped over passes calls on. A second call does nothing."""
        if not self.live.on:
            return
        self.live.on = False
        for undo in reversed(self._undo):
            try:
                undo()
            except Exception as error:
                say("instrument.failed", key=self.library, library=self.library, error=repr(error))
        self._undo.clear()
        self.instrumentation.options = self._before
        if _enabled.get(self.library) is self:
            del _enabled[self.library]

    def report(self) -> Report:
        """Tell what is patched."""
        wrong = [f"{target} {why}" for target, why in self.targets.items() if why.startswith(("missing", "failed"))]
        waiting = all(state == WAITING for state in self.targets.values()) and self.targets
        state = PARTLY if wrong else WAITING if waiting else PATCHED
        return Report(self.library, self.version, state, "; ".join(wrong), dict(self.targets))


_enabled: dict[str, Handle] = {}
_skipped: dict[str, str] = {}
"""Library -> why it was left out."""
_defaults: Mapping[str, Any] = {}
"""Options from the settings, by `configure`."""
_by_library: Mapping[str, Mapping[str, Any]] = {}


# ---- one library -----------------------------------------------------------------------------------------


def enable(library: str, **options: Any) -> Handle:
    """Instrument one library, imported already or later.

    Args:
        library: Its name in docs/instrumentation.md, or that of its OpenTelemetry instrumentor.
        options: `excluded_urls` (regular expressions), `request_hook(span, request)`,
            `response_hook(span, request, response)`, `request_headers` and `response_headers` (names to record),
            `tracer_provider`, `meter_provider`, and those that the library's page names.

    Returns:
        A handle whose `disable()` undoes exactly this.

    Raises:
        LookupError: There is no instrumentation with that name, or the installed version is too old for it.
    """
    name = known_name(library)
    found = find(name)
    if found is None:
        raise LookupError(f"there is no instrumentation with the name {library!r}")
    running = _enabled.get(name)
    if running is not None:
        running.disable()
    return put_in_place(found, options)


def put_in_place(found: Instrumentation, given: Mapping[str, Any]) -> Handle:
    """Enable an integration with the options of the settings and those given."""
    version = installed.version_of(found.distributions)
    if not installed.at_least(version, found.versions):
        say("instrument.old", key=found.library, library=found.library, version=version, wanted=found.versions)
        raise LookupError(f"{found.library} {version} is older than {found.versions}")
    for name in given:
        if name not in COMMON_OPTIONS and name not in found.own_options:
            say("instrument.option", key=(found.library, name), library=found.library, name=name)
    handle = _enabled[found.library] = Handle(found, make_options(found.library, given), version)
    _skipped.pop(found.library, None)
    return handle


def make_options(library: str, given: Mapping[str, Any]) -> Options:
    """Join the options of the settings, of the library's own variables, and those given."""
    joined = {**_defaults, **_by_library.get(library, {}), **given}
    patterns = joined.get("excluded_urls")
    if patterns:
        from .urls import Excluded

        joined["excluded"] = Excluded((patterns,) if isinstance(patterns, str) else patterns)
    return Options(joined)


def find(name: str) -> Instrumentation | None:
    """Load the integration of a library: ours, or an installed package's; None where there is none."""
    if name in LIBRARIES:
        ours: Instrumentation = importlib.import_module(f"noops_instrumentation.{name}").INSTRUMENTATION
        return ours
    for entry in installed.entries(installed.OURS):
        if entry.name == name:
            theirs: Instrumentation = entry.load()
            return theirs
    return None


def known_name(name: str) -> str:
    """Give our name of a library that may be called by another one."""
    plain = name.strip().lower().replace("-", "_")
    return ELSEWHERE.get(plain, plain)


def is_ours(name: str) -> bool:
    """Whether a library, by any of its names, is in our list."""
    return known_name(name) in LIBRARIES


# ---- all of them -----------------------------------------------------------------------------------------


def activate(settings: Any) -> Callable[[], None]:
    """Instrument every library that the settings allow, each once it is imported; gives what undoes it."""
    configure(settings)
    wanted, unwanted = chosen(settings)
    undo: list[Callable[[], object]] = []

    def allowed(name: str) -> bool:
        return name not in unwanted and (wanted is None or name in wanted)

    _skipped.clear()
    if "*" not in unwanted:
        theirs = {entry.name: (entry.name,) for entry in installed.entries(installed.OURS)}
        for name, triggers in {**theirs, **LIBRARIES}.items():
            if allowed(name):
                undo.extend(on_import(trigger, arrival(name)) for trigger in triggers)
            else:
                _skipped[name] = "the settings leave it out"
        for entry in installed.entries(installed.THEIRS):
            name = known_name(entry.name)
            if not is_ours(name) and name not in theirs and allowed(name):
                undo.append(entry.activate())

    def deactivate() -> None:
        for forget in undo:
            forget()
        for handle in list(_enabled.values()):
            handle.disable()
        _skipped.clear()
        configure(None)

    return deactivate


def arrival(name: str) -> Callable[[Any], None]:
    """Make what happens when a library has been imported."""

    def arrived(module: Any) -> None:
        if name in _enabled or name in _skipped:
            return
        try:
            found = find(name)
            if found is not None:
                put_in_place(found, {})
        except LookupError as error:
            _skipped[name] = str(error)
        except Exception as error:
            _skipped[name] = repr(error)
            say("instrument.failed", key=name, library=name, error=repr(error))

    return arrived


def configure(settings: Any) -> None:
    """Take the options of all libraries from the settings; None: there are none."""
    global _defaults, _by_library
    if settings is None:
        _defaults, _by_library = {}, {}
        return
    names = [f"{side}_{part}_headers" for side in ("server", "client") for part in ("request", "response")]
    names += ["redact_headers", "known_methods", "excluded_services", "capture_message_content", "log_correlation"]
    names += ["log_format", "semconv_opt_in"]
    _defaults = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    _defaults["excluded_urls"] = settings.exclude_urls
    _by_library = {
        known_name(library): {"excluded_urls": patterns} for library, patterns in settings.library_exclude_urls.items()
    }


def chosen(settings: Any) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Read which libraries are wanted (None: all) and which are not; a name that nobody knows is said."""
    wanted: frozenset[str] | None = normal(settings.instrument, settings.origin("instrument"))
    unwanted = normal(settings.disable, settings.origin("disable"))
    if "none" in settings.instrument:
        return frozenset(), frozenset("*")
    if "all" in settings.instrument or "*" in settings.instrument:
        wanted = None
    return wanted, unwanted


def normal(names: Iterable[str], place: str) -> frozenset[str]:
    """Give our names of libraries."""
    found = []
    for name in names:
        ours = known_name(name)
        found.append(ours)
        if ours not in LIBRARIES and ours not in ("all", "none", "*") and not installed.is_known(name):
            import difflib

            close = difflib.get_close_matches(ours, LIBRARIES, 1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            say("instrument.unknown", key=(place, name), place=place, name=name, suggestion=suggestion)
    return frozenset(found)


def reports() -> list[Report]:
    """Tell what has become of each library that was met in this process."""
    found = [handle.report() for handle in _enabled.values()]
    found += [Report(name, "", SKIPPED, why, {}) for name, why in _skipped.items()]
    return sorted(found)


def imported() -> set[str]:
    """Name the libraries of the list that this process has imported."""
    return {name for name, triggers in LIBRARIES.items() if any(trigger in sys.modules for trigger in triggers)}
