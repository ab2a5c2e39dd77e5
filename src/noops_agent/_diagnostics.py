"""Everything the agent can say, by slug, and the counters of its health.

Hot code counts; this room speaks, through the `noops_agent` logger, once for each slug and key. The logger
has no handler of its own: where the application configured no logging, Python prints warnings to stderr, one
line each, and nothing below them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

DEBUG, INFO, WARNING = logging.DEBUG, logging.INFO, logging.WARNING

MESSAGES: dict[str, tuple[int, str]] = {
    # start
    "started": (INFO, "noops_agent started: {core} core, exporting by {exporters} to {endpoint}"),
    "start.failed": (WARNING, "noops_agent could not start, the program runs without it: {error}"),
    "provider.foreign": (
        WARNING,
        "the application installed its own tracer provider ({provider}) before noops_agent; "
        "spans made through opentelemetry-api stay with it",
    ),
    "state.unwritable": (
        WARNING,
        "the state folder {folder} can't be written ({error}); records are kept in memory and don't survive a crash",
    ),
    "instrument.disabled": (
        WARNING,
        "the instrumentation of {place} has failed {failures} times and is left out from now on: {error}",
    ),
    "instrument.failed": (WARNING, "the instrumentation of {library} could not be put in place: {error}"),
    "instrument.missing": (
        INFO,
        "{library} {version} has no {target}; calls of it make no spans (the rest of {library} is instrumented)",
    ),
    "instrument.old": (INFO, "{library} {version} is older than {wanted}; it is not instrumented"),
    "instrument.unknown": (WARNING, "{place}: there is no instrumentation with the name {name!r}{suggestion}"),
    "instrument.option": (WARNING, "the instrumentation {library} has no option {name!r}"),
    "pattern.bad": (WARNING, "{place}: {pattern!r} is no regular expression ({error}); it is passed over"),
    "instrumentor.failed": (WARNING, "the instrumentation {name} could not be activated: {error}"),
    "processor.failed": (WARNING, "{name} raised in {call}, which was left out: {error}"),
    "configurator.failed": (WARNING, "the tracer configurator raised, the tracer stays enabled: {error}"),
    "tracer.unnamed": (INFO, "a tracer was asked for without a name"),
    "id_generator.unknown": (WARNING, "no installed package offers the identifier generator {name!r}"),
    # metrics
    "runtime.failed": (WARNING, "the metrics of the process and the interpreter could not be started: {error}"),
    "runtime.unread": (WARNING, "the metric {name} could not be read: {error}"),
    "metric.name": (
        WARNING,
        "{name!r} is no name of a metric: a letter, then letters, digits and _ . - /, 255 at most; it is not recorded",
    ),
    "metric.unit": (WARNING, "{unit!r} is no unit (of {name}): 63 characters of ASCII at most; it is left out"),
    "metric.kind": (WARNING, "{kind!r} (of {name}) is not gauge, counter or up_down_counter; it is not recorded"),
    "metric.refused": (WARNING, "a measurement of {name} could not be taken: {error}"),
    "metric.callback": (WARNING, "the callback of the metric {name} raised, which gives no measurement: {error}"),
    # settings and resource
    "setting.bad": (WARNING, "{place}: {value} is not {wanted}; {remedy}"),
    "setting.unknown": (WARNING, "{name} is no setting of noops_agent{suggestion}"),
    "setting.file": (WARNING, "the settings file {path} can't be read: {error}"),
    "setting.untrusted": (
        WARNING,
        "the settings file {path} is passed over: it belongs to another user, in a folder that all users write to",
    ),
    "detector.failed": (WARNING, "the resource detector {name} gives nothing: {error}"),
    "resource.schema": (
        WARNING,
        "resources of the schemas {ours} and {theirs} can't be merged; the first one is kept as it is",
    ),
    # propagation and sampling
    "propagator.unknown": (
        WARNING,
        "OTEL_PROPAGATORS: no installed package offers {name!r}{hint}",
    ),
    "sampler.unknown": (
        WARNING,
        "OTEL_TRACES_SAMPLER: {name!r} is not known{hint}; traces are sampled as their parents are",
    ),
    "sampler.argument": (WARNING, "OTEL_TRACES_SAMPLER_ARG: {value!r} is no ratio from 0 to 1; 1 is used"),
    "rule.bad": (WARNING, "NOOPS_SAMPLE_RULES: {rule!r} is no pattern=ratio; it is ignored"),
    # metrics
    "meter.unnamed": (INFO, "a meter was asked for without a name; it measures nothing"),
    "instrument.invalid": (WARNING, "{name!r} is no name of an instrument; it measures nothing"),
    "instrument.conflict": (
        WARNING,
        "the meter {meter} has several instruments with the name {name!r}, of other kinds, units or descriptions",
    ),
    "instrument.advice": (INFO, "the histogram {name} exists already, with other buckets; they stay"),
    "unit.invalid": (WARNING, "{unit!r} is no unit (up to 63 characters of ASCII); {name} has none"),
    "boundaries.invalid": (WARNING, "the bucket boundaries of {place} are passed over: {error}"),
    "measurement.negative": (WARNING, "{kind} {name} was given negative values, which were left out"),
    "measurement.unreadable": (WARNING, "{name} was given values that are no finite numbers; they were left out"),
    "metric.overflow": (
        WARNING,
        "the metric {name} has more than {limit} sets of attributes; further ones are joined into one series "
        "(otel.metric.overflow). The attribute with most values is {attribute!r}: {values}",
    ),
    "callback.failed": (WARNING, "a callback of {name} raised, its values are missing: {error}"),
    "callback.slow": (WARNING, "the callbacks of observable instruments took too long; some values are missing"),
    "view.unfit": (WARNING, "{name} is a {kind}: it can't be shown as a histogram"),
    "view.failed": (WARNING, "a view could not be applied: {error}"),
    "view.conflict": (WARNING, "a view gives several metrics the name {name!r}"),
    "exemplars.unknown": (WARNING, "OTEL_METRICS_EXEMPLAR_FILTER: {name!r} is not known; trace_based is used"),
    "reader.taken": (WARNING, "the metric reader {name} belongs to a meter provider already"),
    "reader.unknown": (WARNING, "the metric reader {name} does not belong to this meter provider"),
    # export
    "export.failed": (
        WARNING,
        "records can't be delivered to {target}: {reason}; they wait on disk and are sent later",
    ),
    "export.refused": (WARNING, "{target} refused records: {reason}"),
    "export.partial": (WARNING, "{target} took only part of a request: {rejected} rejected, {message}"),
    "export.recovered": (INFO, "{target} takes records again"),
    "exporter.unknown": (WARNING, "OTEL_TRACES_EXPORTER: no installed package offers {name!r}"),
    "exporter.failed": (WARNING, "the exporter {name} raised: {error}"),
    "records.lost": (
        WARNING,
        "records were lost for the first time: {reason}; `noops_agent.stats()` counts them",
    ),
    "segment.damaged": (WARNING, "the segment {path} is damaged and was set aside: {error}"),
    "shipper.failed": (WARNING, "the export thread met an error and goes on: {error}"),
}
"""Slug -> (level, template)."""

_logger = logging.getLogger("noops_agent")
_said: dict[tuple[str, str], None] = {}
_counters: dict[str, int] = {}
_silent = False

LEVELS = {
    "trace": DEBUG,
    "debug": DEBUG,
    "info": INFO,
    "warn": WARNING,
    "warning": WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
"""Levels by their name in the specification."""

MAX_SAID = 4096
"""Messages remembered as said; beyond it the oldest may be said again."""

MAX_TEXT = 1000
"""Characters of one message."""


def say(slug: str, **facts: Any) -> None:
    """Log the message of *slug* with its facts, once for each slug and `key` among them. Never raises."""
    try:
        if _silent or sys.is_finalizing():
            return
        once = (slug, str(facts.get("key")))
        if once in _said:
            return
        _said[once] = None
        if len(_said) > MAX_SAID:
            del _said[next(iter(_said))]
        level, template = MESSAGES[slug]
        if _logger.isEnabledFor(level):
            _logger.log(level, "%s%s", introduction(), one_line(template.format(**facts)))
    except Exception:
        count("diagnostics.failed")


def introduction() -> str:
    """Name the speaker, where no handler of the application does: Python then prints the bare text."""
    return "" if _logger.hasHandlers() else "noops_agent: "


def one_line(text: str) -> str:
    """Fit a message into one line."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def count(name: str, n: int = 1) -> None:
    """Add to a counter of the agent's health; of two threads at once one addition may be lost."""
    _counters[name] = _counters.get(name, 0) + n


def counters() -> dict[str, int]:
    """Give the counters since the process began."""
    return dict(_counters)


def silence() -> None:
    """Say nothing any more: the interpreter is on its way out, and its streams may be closed."""
    global _silent
    _silent = True


def set_level(name: str) -> None:
    """Set the level of our logger by its name in the specification; an unknown name changes nothing."""
    level = LEVELS.get(name.lower())
    if level is not None:
        _logger.setLevel(level)


def reset() -> None:
    """Forget what was said and counted, for tests."""
    global _silent
    _silent = False
    _logger.setLevel(logging.NOTSET)
    _said.clear()
    _counters.clear()
