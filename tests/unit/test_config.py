"""The settings: precedence, the specification's rules, bad values, and that reading them never raises."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import noops_agent
from noops_agent import _diagnostics
from noops_agent._config import Otlp, Settings, load
from noops_agent._config.table import BY_NAME, TABLE
from noops_agent._config.values import mask_url

from .conftest import Messages

# For each setting: a text that a variable of ours may hold, its value, and the same for the OTEL_* variables.
SAMPLES: dict[str, tuple[str, Any, str, Any]] = {
    "enabled": ("false", False, "true", False),
    "log_level": ("ERROR", "error", "debug", "debug"),
    "service_name": ("shop", "shop", "stall", "stall"),
    "resource_attributes": ("a=1", {"a": "1"}, "b=2", {"b": "2"}),
    "resource_detectors": ("os", ("os",), "host,os", ("host", "os")),
    "exporters": ("console,local", ("console", "local"), "otlp", ("otlp",)),
    "endpoint": ("http://a:1", "http://a:1", "http://b:2", "http://b:2"),
    "traces_endpoint": ("http://a:1/x", "http://a:1/x", "http://b:2/y", "http://b:2/y"),
    "protocol": ("grpc", "grpc", "HTTP/JSON", "http/json"),
    "headers": ("k=v", {"k": "v"}, "x=y%20z", {"x": "y z"}),
    "compression": ("gzip", "gzip", "GZIP", "gzip"),
    "timeout_s": ("500ms", 0.5, "2500", 2.5),
    "certificate": ("/c.pem", "/c.pem", "/d.pem", "/d.pem"),
    "client_key": ("/c.key", "/c.key", "/d.key", "/d.key"),
    "client_certificate": ("/c.crt", "/c.crt", "/d.crt", "/d.crt"),
    "insecure": ("true", True, "TRUE", True),
    "propagators": ("b3", ("b3",), "baggage,b3", ("baggage", "b3")),
    "sampler": ("always_off", "always_off", "traceidratio", "traceidratio"),
    "sampler_arg": ("0.5", "0.5", "0.25", "0.25"),
    "sample_rules": ("GET /pay/*=1,*=0.1", "GET /pay/*=1,*=0.1", "", None),
    "sample_budget": ("2.5", 2.5, "", None),
    "keep": ("errors,Slow", ("errors", "slow"), "", None),
    "span_attribute_count_limit": ("1", 1, "2", 2),
    "span_attribute_value_length_limit": ("1", 1, "2", 2),
    "span_event_count_limit": ("0", 0, "2", 2),
    "span_link_count_limit": ("1", 1, "2", 2),
    "event_attribute_count_limit": ("1", 1, "2", 2),
    "link_attribute_count_limit": ("1", 1, "2", 2),
    "id_generator": ("xray", "xray", "mine", "mine"),
    "instrument": ("flask, redis", ("flask", "redis"), "", None),
    "disable": ("flask, redis", ("flask", "redis"), "urllib3", ("urllib3",)),
    "exclude_urls": ("/health, /ready.*", ("/health", "/ready.*"), "/x", ("/x",)),
    "server_request_headers": ("X-Id, x-.*", ("X-Id", "x-.*"), "a", ("a",)),
    "server_response_headers": ("X-Id, x-.*", ("X-Id", "x-.*"), "a", ("a",)),
    "client_request_headers": ("X-Id, x-.*", ("X-Id", "x-.*"), "a", ("a",)),
    "client_response_headers": ("X-Id, x-.*", ("X-Id", "x-.*"), "a", ("a",)),
    "redact_headers": ("x-card", ("x-card",), "x-pin", ("x-pin",)),
    "semconv_opt_in": ("http/dup", ("http/dup",), "database/dup", ("database/dup",)),
    "known_methods": ("GET, PURGE", ("GET", "PURGE"), "GET", ("GET",)),
    "excluded_services": ("grpc.health.v1.Health", ("grpc.health.v1.Health",), "a.B", ("a.B",)),
    "capture_message_content": ("true", True, "TRUE", True),
    "log_correlation": ("true", True, "TRUE", True),
    "runtime_metrics": ("false", False, "", None),
    "log_format": ("%(message)s", "%(message)s", "%(name)s", "%(name)s"),
    "export_interval_s": ("1m", 60.0, "200", 0.2),
    "export_timeout_s": ("5s", 5.0, "1000", 1.0),
    "export_queue_size": ("10000", 10000, "20000", 20000),
    "export_batch_size": ("10", 10, "20", 20),
    "exit_timeout_s": ("0", 0.0, "", None),
    "handle_signals": ("false", False, "", None),
    "state_dir": ("/var/lib/shop", "/var/lib/shop", "", None),
    "segment_bytes": ("512k", 512 << 10, "", None),
    "unshipped_bytes": ("1.5MiB", 3 << 19, "", None),
    "kept_bytes": ("2gb", 2 << 30, "", None),
    "exclude_commands": ("alembic, flake8", ("alembic", "flake8"), "", None),
}
STANDARD = [(s.name, variable) for s in TABLE for variable in s.otel]


def read(environ: dict[str, str] | None = None, folder: str | None = None, **overrides: Any) -> Settings:
    """Load without the variables of this process, from a folder that has no file."""
    return load(overrides, environ or {}, folder or "/")


def test_excluded_urls_of_one_library_are_read() -> None:
    """`OTEL_PYTHON_<LIBRARY>_EXCLUDED_URLS` is a family of variables, one for each library."""
    settings = read({"OTEL_PYTHON_FLASK_EXCLUDED_URLS": "/health,/ready", "OTEL_PYTHON_URLLIB3_EXCLUDED_URLS": " "})
    assert settings.library_exclude_urls == {"flask": ("/health", "/ready")}


# ---- sources ---------------------------------------------------------------------------------------------


def test_every_setting_has_a_sample() -> None:
    """A setting that is added to the table is tested below."""
    assert list(SAMPLES) == [setting.name for setting in TABLE]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_default_holds_where_nothing_is_set(name: str, said: Messages) -> None:
    """Nothing has to be configured, and nothing is complained of."""
    assert read().origin(name) == "default"
    assert len(said) == 0


@pytest.mark.parametrize("name", SAMPLES)
def test_each_setting_has_a_variable_of_ours(name: str, said: Messages) -> None:
    """Every setting can be given without code."""
    raw, value, _, _ = SAMPLES[name]
    variable = BY_NAME[name].variable
    settings = read({variable: raw})
    assert getattr(settings, name) == value
    assert settings.origin(name) == variable
    assert len(said) == 0


@pytest.mark.parametrize(("name", "variable"), STANDARD)
def test_each_standard_variable_is_read(name: str, variable: str, said: Messages) -> None:
    """The variables of the specification work, in its units."""
    _, _, raw, value = SAMPLES[name]
    settings = read({variable: raw})
    assert getattr(settings, name) == value
    assert settings.origin(name) == variable
    assert len(said) == 0


@pytest.mark.parametrize("name", SAMPLES)
def test_each_setting_is_a_keyword_and_the_strongest(name: str, said: Messages) -> None:
    """What the code says wins over every variable."""
    setting = BY_NAME[name]
    raw, value, other, _ = SAMPLES[name]
    noise = dict.fromkeys(setting.otel, other) if name != "resource_attributes" else {}
    settings = read(noise, **{name: raw})
    assert getattr(settings, name) == value
    assert settings.origin(name) == "init()"
    assert len(said) == 0


@pytest.mark.parametrize("name", [name for name in SAMPLES if BY_NAME[name].otel])
def test_our_variable_wins_over_the_standard_one(name: str) -> None:
    """`NOOPS_*` is more specific than `OTEL_*`."""
    raw, value, other, _ = SAMPLES[name]
    setting = BY_NAME[name]
    settings = read({setting.variable: raw} | dict.fromkeys(setting.otel, other))
    assert settings.origin(name) == setting.variable
    if name != "resource_attributes":
        assert getattr(settings, name) == value


@pytest.mark.parametrize("name", [name for name in SAMPLES if len(BY_NAME[name].otel) > 1])
def test_the_more_specific_standard_variable_wins(name: str) -> None:
    """`..._TRACES_...` and `..._SPAN_...` go before the general variable."""
    specific, *general = BY_NAME[name].otel
    _, _, raw, value = SAMPLES[name]
    ours = {"insecure": "false", "protocol": "grpc", "compression": "none", "headers": "k=v"}.get(name, "7")
    settings = read({specific: raw} | dict.fromkeys(general, ours))
    assert getattr(settings, name) == value
    assert settings.origin(name) == specific


@pytest.mark.parametrize("name", SAMPLES)
def test_an_empty_variable_is_unset(name: str, said: Messages) -> None:
    """The specification: an empty value is as none."""
    settings = read(dict.fromkeys(BY_NAME[name].variables, " "))
    assert settings.origin(name) == "default"
    assert getattr(settings, name) == getattr(read(), name)
    assert len(said) == 0


def test_a_keyword_of_none_is_unset() -> None:
    """Wrappers may pass on what they don't have."""
    assert read({"NOOPS_SERVICE_NAME": "shop"}, service_name=None).service_name == "shop"


# ---- bad values ------------------------------------------------------------------------------------------

BAD = [
    ("NOOPS_TIMEOUT", "soon", "duration"),
    ("NOOPS_EXPORT_INTERVAL", "0", "duration above 0"),
    ("NOOPS_EXPORT_INTERVAL", "-1", "duration"),
    ("NOOPS_EXPORT_INTERVAL", "nan", "duration"),
    ("NOOPS_EXPORT_INTERVAL", "5 parsecs", "duration"),
    ("OTEL_BSP_SCHEDULE_DELAY", "5s", "number"),
    ("OTEL_BSP_SCHEDULE_DELAY", "0", "milliseconds above 0"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "above 0"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many", "whole number"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1", "whole number"),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "1.5", "whole number"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9" * 5000, "whole number"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", "one of http/protobuf, http/json, grpc"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "one of none, gzip"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://two words", "URL"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http:// or https://"),
    ("OTEL_LOG_LEVEL", "loud", "one of trace"),
    ("NOOPS_SAMPLE_BUDGET", "inf", "number"),
    ("NOOPS_SEGMENT_BYTES", "1", "4KiB to 256MiB"),
    ("NOOPS_KEPT_BYTES", "64 elephants", "size"),
    ("NOOPS_STATE_DIR", "/a\0b", "path"),
]


@pytest.mark.parametrize(("variable", "raw", "wanted"), BAD)
def test_a_bad_variable_is_said_and_passed_over(variable: str, raw: str, wanted: str, said: Messages) -> None:
    """One clear line names the variable, its value and what is wanted; the default holds."""
    settings = read({variable: raw})
    name = next(setting.name for setting in TABLE if variable in setting.variables)
    assert getattr(settings, name) == getattr(read(), name)
    assert settings.origin(name) == "default"
    (line,) = said
    assert line.startswith(f"{variable}: ")
    assert wanted in line
    assert len(line) < 300


def test_a_bad_value_falls_to_the_next_source(said: Messages) -> None:
    """A typing error in one place does not hide what another place says."""
    settings = read(
        {
            "NOOPS_PROTOCOL": "x",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "y",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
    )
    assert settings.protocol == "grpc"
    assert settings.origin("protocol") == "OTEL_EXPORTER_OTLP_PROTOCOL"
    assert len(said) == 2


class Hostile:
    """An object that can be nothing and can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __int__ = __float__ = __iter__ = __fspath__ = __bool__ = __repr__


@pytest.mark.parametrize(
    "value", [object(), Hostile(), [3], {3: 4}, b"x", 3j, float("nan"), -1], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_keyword_of_a_wrong_type_is_said_and_passed_over(name: str, value: Any, said: Messages) -> None:
    """No argument of `init()` raises into the program."""
    if (name, value) == ("sampler_arg", -1) or (name == "sampler_arg" and isinstance(value, float)):
        pytest.skip("a number is an argument; the sampler judges it")
    if name == "sample_rules" and value == {3: 4}:
        pytest.skip("a table of rules; the sampler judges them")
    settings = read(**{name: value})
    assert getattr(settings, name) == getattr(read(), name)
    assert f"init() {name}: " in said
    assert len(said) == 1


@pytest.mark.parametrize(("raw", "value"), [("true", True), ("TRUE", True), ("false", False), ("False", False)])
def test_only_true_is_true(raw: str, value: bool, said: Messages) -> None:
    """The specification's rule for truths, in any case of letters."""
    assert read({"NOOPS_INSECURE": raw}).insecure is value
    assert len(said) == 0


@pytest.mark.parametrize("raw", ["1", "yes", "on", "t"])
def test_any_other_truth_is_false_and_said(raw: str, said: Messages) -> None:
    """The specification's rule for truths: what is neither is false, with a warning."""
    assert read({"NOOPS_INSECURE": raw}).insecure is False
    assert "NOOPS_INSECURE: " in said
    assert "taken as false" in said
    assert read({"OTEL_SDK_DISABLED": raw}).enabled is True


def test_otel_sdk_disabled_turns_the_agent_off() -> None:
    """The variable of the specification has the opposite sense of ours."""
    assert read({"OTEL_SDK_DISABLED": "true"}).enabled is False
    assert read({"OTEL_SDK_DISABLED": "false"}).enabled is True
    assert read({"OTEL_SDK_DISABLED": "true", "NOOPS_ENABLED": "true"}).enabled is True


def test_a_request_time_meant_as_seconds_is_said(said: Messages) -> None:
    """opentelemetry-python reads this variable in seconds; the specification and we in milliseconds."""
    assert read({"OTEL_EXPORTER_OTLP_TIMEOUT": "10"}).timeout_s == 0.01
    assert "meant as seconds" in said


def test_a_limit_beyond_32_bits_is_no_limit_in_practice() -> None:
    """Java's largest number is a way to say "no limit"; the native core counts in 32 bits."""
    assert read({"OTEL_ATTRIBUTE_COUNT_LIMIT": str(2**63 - 1)}).span_attribute_count_limit == 2**31 - 1


def test_a_batch_is_not_larger_than_the_queue(said: Messages) -> None:
    """The specification: the batch must fit into the queue."""
    assert read({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).export_batch_size == 100
    assert len(said) == 0
    both = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200"}
    assert read(both).export_batch_size == 100
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 200 is not at most the queue's 100" in said


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("1m", 60),
        ("1h", 3600),
        ("2", 2),
        ("0.25", 0.25),
        (" 1.5 S ", 1.5),
        ("1e300", 1e7),
    ],
)
def test_durations(raw: str, seconds: float) -> None:
    """A unit, or plain seconds; never longer than a lock can wait."""
    assert read({"NOOPS_EXPORT_INTERVAL": raw}).export_interval_s == seconds


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("65536", 1 << 16),
        ("64k", 1 << 16),
        ("64KB", 1 << 16),
        ("64KiB", 1 << 16),
        ("1MiB", 1 << 20),
        ("1 g", 1 << 30),
    ],
)
def test_sizes(raw: str, size: int) -> None:
    """A unit, or plain bytes."""
    assert read({"NOOPS_KEPT_BYTES": raw}).kept_bytes == size


def test_paths_are_absolute_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its working folder still finds its certificate."""
    monkeypatch.chdir(tmp_path)
    assert read({"OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem"}).certificate == str(tmp_path / "ca.pem")
    assert read(state_dir=tmp_path / "s").state_dir == str(tmp_path / "s")
    monkeypatch.setenv("HOME", "/home/shop")
    assert read({"NOOPS_STATE_DIR": "~/state"}).state_dir == "/home/shop/state"


# ---- limits ----------------------------------------------------------------------------------------------


def test_general_limits_are_under_those_of_spans_events_and_links() -> None:
    """The general limit holds where the specific one is not set."""
    settings = read({"OTEL_ATTRIBUTE_COUNT_LIMIT": "5", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "6"})
    assert settings.span_attribute_count_limit == 5
    assert settings.event_attribute_count_limit == 5
    assert settings.link_attribute_count_limit == 5
    assert settings.span_attribute_value_length_limit == 6
    assert settings.span_event_count_limit == settings.span_link_count_limit == 128


# ---- Settings --------------------------------------------------------------------------------------------


def test_settings_are_frozen() -> None:
    """They are read once, so a change would have no effect."""
    settings = read()
    with pytest.raises(AttributeError):
        settings.sampler = "always_off"
    with pytest.raises(AttributeError):
        del settings.sampler
    with pytest.raises(AttributeError):
        _ = settings.no_such_setting


def test_settings_can_be_pickled() -> None:
    """They go to processes that `spawn` makes."""
    settings = pickle.loads(pickle.dumps(read({"NOOPS_SERVICE_NAME": "shop"})))
    assert (settings.service_name, settings.origin("service_name")) == ("shop", "NOOPS_SERVICE_NAME")


def test_a_description_has_all_settings_and_no_secret() -> None:
    """It is shown on screens and put into tickets."""
    settings = read({"OTEL_EXPORTER_OTLP_HEADERS": "key=s3cret", "NOOPS_ENDPOINT": "https://me:s3cret@host:1/x"})
    rows = {row.name: row for row in settings.describe()}
    assert list(rows) == [setting.name for setting in TABLE]
    assert rows["headers"].value == {"key": "****"}
    assert rows["headers"].origin == "OTEL_EXPORTER_OTLP_HEADERS"
    assert rows["endpoint"].value == "https://****@host:1/x"
    assert "s3cret" not in repr(list(rows.values()))
    assert settings.otlp_traces.headers == {"key": "s3cret"}


def test_a_url_without_a_user_is_shown_as_it_is() -> None:
    """An @ in the path is no password."""
    assert mask_url("http://host/a@b") == "http://host/a@b"
    assert mask_url("user:pw@host:4317") == "****@host:4317"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/x"}, "/x/noops_agent"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/noops_agent"),
        ({"HOME": "/h"}, "/h/.local/state/noops_agent"),
        ({"HOME": "/h", "NOOPS_STATE_DIR": "/s"}, "/s"),
    ],
)
def test_the_state_folder_is_that_of_xdg(environ: dict[str, str], folder: str) -> None:
    """The XDG specification: a relative folder is ignored."""
    assert read(environ).state_dir == folder


def test_the_log_level_is_set_before_anything_is_said(said: Messages) -> None:
    """`none` silences complaints about the other settings too."""
    read({"OTEL_LOG_LEVEL": "none", "NOOPS_PROTOCOL": "smoke"})
    assert len(said) == 0
    assert logging.getLogger("noops_agent").level > logging.CRITICAL


def test_the_default_log_level_leaves_the_logger_alone() -> None:
    """The program may have configured it."""
    logger = logging.getLogger("noops_agent")
    logger.setLevel(logging.DEBUG)
    read()
    assert logger.level == logging.DEBUG


# ---- anything at all -------------------------------------------------------------------------------------

VARIABLES = sorted({variable for setting in TABLE for variable in setting.variables} | {"HOME", "XDG_STATE_HOME"})
RAW = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789.,=%;:/ -+eEsmkGiBntruefals\0\r\n\udcff", max_size=30),
    st.sampled_from(
        [
            "http://",
            "://",
            "true",
            "none",
            "0",
            "-1",
            "nan",
            "inf",
            "1e999",
            "9" * 400,
            "grpc",
            "%zz=%",
            "otlp_proto_grpc",
        ]
    ),
)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    RAW,
    st.binary(max_size=5),
    st.lists(RAW, max_size=3),
    st.dictionaries(RAW, st.one_of(RAW, st.none(), st.integers()), max_size=3),
    st.just(Hostile()),
)


@settings(
    max_examples=300,
    database=None,
    deadline=None,
)
@given(
    environ=st.dictionaries(
        st.one_of(st.sampled_from(VARIABLES), RAW.map("NOOPS_{}".format), RAW.map("OTEL_{}".format)),
        RAW,
        max_size=12,
    ),
    overrides=st.dictionaries(st.one_of(st.sampled_from(sorted(BY_NAME)), st.text(max_size=8)), ANYTHING, max_size=6),
)
def test_reading_never_raises_and_gives_values_of_the_right_types(environ: Any, overrides: Any) -> None:
    """Whatever the environment or the code holds, the program starts, and other rooms can rely on the types."""
    _diagnostics.reset()
    read = load(overrides, environ, "/")
    assert "diagnostics.failed" not in _diagnostics.counters()
    assert isinstance(read.enabled, bool)
    assert isinstance(read.otlp_traces, Otlp)
    assert read.exporters
    assert all(isinstance(name, str) for name in (*read.exporters, *read.propagators, *read.keep))
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in read.headers.items())
    assert read.protocol in ("http/protobuf", "http/json", "grpc")
    assert 0.01 <= read.export_interval_s <= 1e7
    assert 0 <= read.exit_timeout_s <= 1e7
    assert os.path.isabs(read.state_dir)
    assert 1 <= read.export_batch_size < 2**31
    assert 4096 <= read.segment_bytes <= 1 << 28
    for setting in TABLE:
        if isinstance(setting.default, (bool, int, float, str, dict, tuple)):
            assert type(getattr(read, setting.name)) is type(setting.default)
    read.describe()


def test_reading_imports_nothing_that_costs() -> None:
    """Start-up time is a budget: parsers and the like are imported where they are needed."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from noops_agent._config import load; load({}, {}, '/')\n"
        "print(*[m for m in sys.argv[2:] if m in sys.modules])"
    )
    source = os.path.dirname(os.path.dirname(noops_agent.__file__))
    costly = [
        "difflib",
        "tomllib",
        "urllib.parse",
        "dataclasses",
        "inspect",
        "socket",
        "subprocess",
        "opentelemetry",
    ]
    command = [sys.executable, "-S", "-c", code, source, *costly]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
