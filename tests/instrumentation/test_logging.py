"""Log records tell the trace that they were made in."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import pickle
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from noops_agent.instrument import registry
from noops_agent.sdk import TracerProvider

from .conftest import Observe

CONTRIBS = "%(otelTraceID)s %(otelSpanID)s %(otelServiceName)s %(otelTraceSampled)s"
OURS = "[%(trace_id)s|%(span_id)s|%(trace_flags)s] %(message)s"


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own, with a handler that keeps what it gets."""
    made = logging.getLogger("tests.correlation")
    made.propagate = False
    made.setLevel(logging.INFO)
    made.handlers = [Kept()]
    yield made
    made.handlers = []
    logging.setLogRecordFactory(logging.LogRecord)


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """Take away the handlers that the test runner gives the root logger while a test runs."""
    root, shop = logging.getLogger(), logging.getLogger("shop")
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)  # an earlier test's program may have silenced everything, or just this one
    shop.disabled = False
    shop.propagate = True
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)


def records_of(logger: logging.Logger) -> list[logging.LogRecord]:
    """All records that its handler kept; the test runner may have added handlers of its own."""
    (kept,) = [handler for handler in logger.handlers if isinstance(handler, Kept)]
    return kept.records


def fields_of(logger: logging.Logger) -> dict[str, Any]:
    """All fields of the only record."""
    (record,) = records_of(logger)
    return vars(record)


def formatted(logger: logging.Logger, text: str) -> str:
    return logging.Formatter(text).format(records_of(logger)[-1])


def test_a_record_tells_the_current_span(observed: Observe, logger: logging.Logger) -> None:
    """In the specification's names, and in those that formats for OpenTelemetry's instrumentation use."""
    with observed("logging") as seen, seen.tracer.start_as_current_span("outer") as outer:
        logger.info("hello")
    own = outer.get_span_context()
    trace_id, span_id = f"{own.trace_id:032x}", f"{own.span_id:016x}"
    fields = fields_of(logger)
    assert (fields["trace_id"], fields["span_id"]) == (trace_id, span_id)
    assert fields["trace_flags"] == f"{own.trace_flags:02x}"
    assert formatted(logger, CONTRIBS) == f"{trace_id} {span_id}  True"


def test_formats_work_where_there_is_no_span(observed: Observe, logger: logging.Logger) -> None:
    """A format that names a field which is missing would make logging print an error in place of the line."""
    with observed("logging"):
        logger.info("hello")
    assert formatted(logger, CONTRIBS) == "0 0  False"
    assert formatted(logger, OURS) == "[||] hello"


def test_the_service_is_named() -> None:
    """By the resource of whoever makes the spans."""
    kept = Kept()
    logger = logging.getLogger("tests.correlation.service")
    logger.addHandler(kept)
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    handle = registry.enable("logging", tracer_provider=provider)
    try:
        logger.error("hello")
    finally:
        handle.disable()
        logger.removeHandler(kept)
    assert vars(kept.records[0])["otelServiceName"] == "shop"


def test_spans_of_another_sdk_and_spans_that_are_not_sampled_count_too(
    observed: Observe, logger: logging.Logger
) -> None:
    """The ids are known whoever made them; that nothing was recorded is told."""
    parent = trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(0))
    with observed("logging"), trace.use_span(trace.NonRecordingSpan(parent)):
        logger.info("hello")
    assert formatted(logger, CONTRIBS) == f"{0xABC:032x} {0xDEF:016x}  False"


def test_fields_of_the_application_win(observed: Observe, logger: logging.Logger) -> None:
    """`extra` with one of the names is the application's own field: it neither raises nor is it overwritten."""
    with observed("logging") as seen, seen.tracer.start_as_current_span("outer"):
        logger.info("hello", extra={"trace_id": "mine", "otelSpanID": "mine"})
    fields = fields_of(logger)
    assert (fields["trace_id"], fields["otelSpanID"]) == ("mine", "mine")
    assert len(fields["span_id"]) == 16


def test_a_factory_that_is_set_later_changes_nothing(observed: Observe, logger: logging.Logger) -> None:
    """Many replace it without a thought for the one before."""

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.custom = "yes"
        return record

    with observed("logging") as seen, seen.tracer.start_as_current_span("outer"):
        logging.setLogRecordFactory(factory)
        assert logging.getLogRecordFactory() is factory
        logger.info("hello")
    fields = fields_of(logger)
    assert fields["custom"] == "yes"
    assert len(fields["trace_id"]) == 32


def test_adapters_and_records_made_by_hand_are_told_too(observed: Observe, logger: logging.Logger) -> None:
    """They all go through `Logger.handle`."""
    with observed("logging") as seen, seen.tracer.start_as_current_span("outer"):
        logging.LoggerAdapter(logger, {"user": 1}).info("adapted")
        logger.handle(logging.makeLogRecord({"msg": "received", "levelno": logging.INFO, "span_id": "theirs"}))
    adapted, received = records_of(logger)
    assert len(adapted.span_id) == 16
    assert received.span_id == "theirs"


def test_a_queue_carries_the_fields_to_where_it_is_listened_to(observed: Observe, logger: logging.Logger) -> None:
    """The listener's thread has no span; the record keeps that of its maker, pickled or not."""
    waiting: queue.Queue[Any] = queue.Queue()
    logger.handlers = [logging.handlers.QueueHandler(waiting)]
    with observed("logging") as seen, seen.tracer.start_as_current_span("outer") as outer:
        logger.info("hello %s", "you")
    record = pickle.loads(pickle.dumps(waiting.get_nowait()))
    assert record.span_id == f"{outer.get_span_context().span_id:016x}"


def test_filters_see_the_fields(observed: Observe, logger: logging.Logger) -> None:
    """A filter may well decide by them."""
    seen_by_filter: list[str] = []
    logger.addFilter(lambda record: not seen_by_filter.append(record.trace_id))  # type: ignore[func-returns-value]
    with observed("logging") as seen, seen.tracer.start_as_current_span("outer"):
        logger.info("hello")
    logger.filters.clear()
    assert len(seen_by_filter[0]) == 32


def test_the_caller_is_found_as_ever(observed: Observe, logger: logging.Logger) -> None:
    """`%(funcName)s` is the function that logs: our frame is not in between."""
    with observed("logging"):
        logger.info("hello")
    assert fields_of(logger)["funcName"] == "test_the_caller_is_found_as_ever"


def test_without_the_setting_the_root_logger_is_left_alone(observed: Observe) -> None:
    """No handler, no format, no level."""
    with bare_root() as root, observed("logging"):
        assert root.handlers == []


def test_with_the_setting_the_root_logger_shows_ids(observed: Observe, capsys: Any) -> None:
    """And disabling takes the handler away."""
    with bare_root() as root:
        with observed("logging", log_correlation=True) as seen, seen.tracer.start_as_current_span("outer") as outer:
            logging.getLogger("shop").warning("hello")
        assert root.handlers == []
    assert f"trace_id={outer.get_span_context().trace_id:032x}" in capsys.readouterr().err


def test_basic_config_of_the_application_works_as_ever(observed: Observe) -> None:
    """It does nothing where there are handlers, so ours goes; a format that it names stays the application's."""
    stream = io.StringIO()
    with bare_root() as root, observed("logging", log_correlation=True):
        logging.basicConfig(stream=stream, level=logging.INFO, format="%(message)s")
        logging.getLogger("shop").info("hello")
        assert stream.getvalue() == "hello\n"
        assert root.level == logging.INFO


def test_basic_config_without_a_format_shows_ids(observed: Observe) -> None:
    """That is what the setting is for."""
    stream = io.StringIO()
    with bare_root() as root, observed("logging", log_correlation=True):
        logging.basicConfig(stream=stream)
        logging.getLogger("shop").warning("hello")
        assert "trace_id=0 span_id=0" in stream.getvalue()
        assert len(root.handlers) == 1


def test_handlers_that_are_there_stay_as_they_are(observed: Observe) -> None:
    """Who has configured logging has done so."""
    own = logging.StreamHandler(io.StringIO())
    with bare_root() as root:
        root.addHandler(own)
        with observed("logging", log_correlation=True):
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
            assert root.handlers == [own]
            assert own.formatter is None
