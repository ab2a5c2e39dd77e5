"""The table of settings: the one place where a name, a default and a meaning are written.

Source: OpenTelemetry specification 1.60, configuration/sdk-environment-variables.md, protocol/exporter.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .values import (
    Parse,
    argument,
    attributes,
    boolean,
    headers,
    interval,
    inverted,
    milliseconds,
    names,
    names_of,
    number,
    one_of,
    path,
    positive,
    request_milliseconds,
    rules,
    seconds,
    segment_size,
    size,
    text,
    url,
    whole,
)


class Setting(NamedTuple):
    """One setting; its name is the keyword of `init()` and the key of a file."""

    name: str
    default: Any
    parse: Parse
    doc: str
    otel: tuple[str, ...] = ()
    """Variables of the specification, the most specific first."""
    otel_parse: Parse | None = None
    """How they are read, where that is another way than ours."""
    default_doc: str = ""
    """What the default is, where it is worked out when the settings are read."""
    joined: bool = False
    """Whether the mappings of all sources are joined, key by key."""

    @property
    def variable(self) -> str:
        """The variable of ours: the name in capitals; without `_s`, as durations may be in other units."""
        return "NOOPS_" + self.name.removesuffix("_s").upper()

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables, the strongest first."""
        return self.variable, *self.otel


def otlp(part: str) -> tuple[str, ...]:
    """Name the variables of one part of the OTLP exporter's configuration for spans."""
    return f"OTEL_EXPORTER_OTLP_TRACES_{part}", f"OTEL_EXPORTER_OTLP_{part}"


def captured(side: str, part: str) -> Setting:
    """Make the setting of the headers that are recorded on one side, of requests or of responses."""
    return Setting(
        f"{side}_{part}_headers",
        (),
        names,
        f"Headers of {side} {part}s that are recorded: names or regular expressions.",
        (f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{side}_{part}".upper(),),
    )


PROTOCOL = one_of("http/protobuf", "http/json", "grpc")
LOG_LEVEL = one_of("trace", "debug", "info", "warn", "warning", "error", "fatal", "none")
COUNT, LENGTH = "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
MIB = 1 << 20

TABLE: tuple[Setting, ...] = (
    Setting("enabled", True, boolean, "Whether the agent runs.", ("OTEL_SDK_DISABLED",), inverted),
    Setting(
        "log_level",
        "info",
        LOG_LEVEL,
        "Lowest level of the agent's own messages: trace, debug, info, warn, error, fatal or none.",
        ("OTEL_LOG_LEVEL",),
        default_doc="info; the logger `noops_agent` is left as the program configured it",
    ),
    # what records come from
    Setting(
        "service_name",
        None,
        text,
        "Name of the service.",
        ("OTEL_SERVICE_NAME",),
        default_doc="`service.name` of the attributes, else `unknown_service:` and the program's name",
    ),
    Setting(
        "resource_attributes",
        {},
        attributes,
        "Attributes of everything that is recorded, such as `deployment.environment.name=prod`. "
        "The attributes of all sources are joined, key by key.",
        ("OTEL_RESOURCE_ATTRIBUTES",),
        joined=True,
    ),
    Setting(
        "resource_detectors",
        (),
        names,
        "Detectors of installed packages that add resource attributes; `*` is all of them.",
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",),
    ),
    # where they go
    Setting(
        "exporters",
        None,
        names,
        "Where spans go: otlp, console, local (the state folder), none, or exporters of installed packages.",
        ("OTEL_TRACES_EXPORTER",),
        default_doc="otlp where an endpoint is set, else local",
    ),
    Setting(
        "endpoint",
        None,
        url,
        "OTLP endpoint for all signals. With HTTP, `/v1/traces` is added for spans.",
        ("OTEL_EXPORTER_OTLP_ENDPOINT",),
        default_doc="http://localhost:4318, with gRPC http://localhost:4317",
    ),
    Setting(
        "traces_endpoint",
        None,
        url,
        "OTLP endpoint for spans, used as it is.",
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",),
    ),
    Setting(
        "protocol",
        "http/protobuf",
        PROTOCOL,
        "OTLP protocol: http/protobuf, http/json or grpc.",
        otlp("PROTOCOL"),
    ),
    Setting(
        "headers",
        {},
        headers,
        "Headers of OTLP requests, such as `authorization=Bearer%20abc`; never shown.",
        otlp("HEADERS"),
    ),
    Setting(
        "compression",
        "none",
        one_of("none", "gzip"),
        "Compression of OTLP requests: none or gzip.",
        otlp("COMPRESSION"),
    ),
    Setting(
        "timeout_s",
        10.0,
        interval,
        "Longest time of one OTLP request.",
        otlp("TIMEOUT"),
        request_milliseconds,
    ),
    Setting(
        "certificate",
        None,
        path,
        "File of certificates that the server's is checked with.",
        otlp("CERTIFICATE"),
    ),
    Setting("client_key", None, path, "File of the client's private key.", otlp("CLIENT_KEY")),
    Setting("client_certificate", None, path, "File of the client's certificate.", otlp("CLIENT_CERTIFICATE")),
    Setting(
        "insecure",
        False,
        boolean,
        "OTLP over gRPC without TLS, where the endpoint has no scheme.",
        (*otlp("INSECURE"), "OTEL_EXPORTER_OTLP_SPAN_INSECURE"),
    ),
    # which ones
    Setting(
        "propagators",
        ("tracecontext", "baggage"),
        names,
        "How context travels: tracecontext, baggage, none, or propagators of installed packages.",
        ("OTEL_PROPAGATORS",),
    ),
    Setting(
        "sampler",
        "parentbased_always_on",
        text,
        "Which traces are recorded: always_on, always_off, traceidratio, each also after parentbased_.",
        ("OTEL_TRACES_SAMPLER",),
    ),
    Setting(
        "sampler_arg",
        None,
        argument,
        "Argument of the sampler: for traceidratio a ratio from 0 to 1.",
        ("OTEL_TRACES_SAMPLER_ARG",),
    ),
    Setting(
        "sample_rules",
        "",
        rules,
        "Ratios by route, such as `GET /pay/*=1,*/health=0,*=0.1`; the first that matches holds.",
    ),
    Setting("sample_budget", None, number, "Most new traces a second.", default_doc="no budget"),
    Setting(
        "keep",
        (),
        names_of("errors", "slow"),
        "Traces that the sampler did not take and that are kept all the same: errors, slow.",
    ),
    # how large they get
    Setting(
        "span_attribute_count_limit",
        128,
        whole,
        "Most attributes of a span.",
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", COUNT),
    ),
    Setting(
        "span_attribute_value_length_limit",
        None,
        whole,
        "Most characters of an attribute's value, in spans, events and links.",
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", LENGTH),
        default_doc="no limit",
    ),
    Setting("span_event_count_limit", 128, whole, "Most events of a span.", ("OTEL_SPAN_EVENT_COUNT_LIMIT",)),
    Setting("span_link_count_limit", 128, whole, "Most links of a span.", ("OTEL_SPAN_LINK_COUNT_LIMIT",)),
    Setting(
        "event_attribute_count_limit",
        128,
        whole,
        "Most attributes of an event.",
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", COUNT),
    ),
    Setting(
        "link_attribute_count_limit",
        128,
        whole,
        "Most attributes of a link.",
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", COUNT),
    ),
    Setting(
        "id_generator",
        None,
        text,
        "Identifier generator of an installed package.",
        ("OTEL_PYTHON_ID_GENERATOR",),
    ),
    # which libraries are instrumented, and how
    Setting(
        "instrument",
        ("all",),
        names,
        "Libraries that are instrumented: their names, `all`, or `none`.",
        default_doc="all that are installed",
    ),
    Setting(
        "disable",
        (),
        names,
        "Libraries that are not instrumented; `*` is all of them.",
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",),
    ),
    Setting(
        "exclude_urls",
        (),
        names,
        "Regular expressions; requests whose URL matches one of them make no span and no measurement. For one library "
        "alone there is `OTEL_PYTHON_<LIBRARY>_EXCLUDED_URLS`.",
        ("OTEL_PYTHON_EXCLUDED_URLS",),
    ),
    captured("server", "request"),
    captured("server", "response"),
    captured("client", "request"),
    captured("client", "response"),
    Setting(
        "redact_headers",
        (),
        names,
        "Names, or regular expressions, of captured headers whose values are replaced; those that are known to carry "
        "secrets always are.",
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS",),
    ),
    Setting(
        "semconv_opt_in",
        (),
        names,
        "`http/dup` and `database/dup` add the attributes that spans had before the conventions were stable.",
        ("OTEL_SEMCONV_STABILITY_OPT_IN",),
    ),
    Setting(
        "known_methods",
        None,
        names,
        "HTTP methods that are recorded as they are; all others are recorded as `_OTHER`.",
        ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",),
        default_doc="those of the convention",
    ),
    Setting(
        "excluded_services",
        (),
        names,
        "gRPC services whose calls are left out, such as `grpc.health.v1.Health`.",
        ("OTEL_PYTHON_GRPC_EXCLUDED_SERVICES",),
    ),
    Setting(
        "capture_message_content",
        False,
        boolean,
        "Record what is said to and by generative models.",
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",),
    ),
    Setting(
        "log_correlation",
        False,
        boolean,
        "Give the root logger a format with trace and span id, where it has none.",
        ("OTEL_PYTHON_LOG_CORRELATION",),
    ),
    Setting(
        "runtime_metrics",
        True,
        boolean,
        "Measure the process and the interpreter: processor, memory, garbage collection, event loops, thread pools.",
    ),
    Setting(
        "log_format",
        None,
        text,
        "The format that `log_correlation` gives the root logger.",
        ("OTEL_PYTHON_LOG_FORMAT",),
        default_doc="that of OpenTelemetry's instrumentation of logging",
    ),
    # when they are sent
    Setting(
        "export_interval_s",
        5.0,
        interval,
        "Longest time that a finished record waits before it is sent.",
        ("OTEL_BSP_SCHEDULE_DELAY",),
        milliseconds,
    ),
    Setting(
        "export_timeout_s",
        30.0,
        interval,
        "Longest time of one export, with its retries.",
        ("OTEL_BSP_EXPORT_TIMEOUT",),
        milliseconds,
    ),
    Setting(
        "export_queue_size",
        None,
        positive,
        "Most records that wait to be sent.",
        ("OTEL_BSP_MAX_QUEUE_SIZE",),
        default_doc="no number; `unshipped_bytes` limits them",
    ),
    Setting(
        "export_batch_size",
        512,
        positive,
        "Most records of one request.",
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",),
    ),
    Setting("exit_timeout_s", 2.0, seconds, "Longest time that the agent holds up the exit."),
    Setting("handle_signals", True, boolean, "Send the last records when SIGTERM or SIGHUP ends the process."),
    # what is kept here
    Setting(
        "state_dir",
        None,
        path,
        "Folder of what is recorded.",
        default_doc="`$XDG_STATE_HOME/noops_agent`, else `~/.local/state/noops_agent`",
    ),
    Setting("segment_bytes", MIB, segment_size, "Size of one file of records."),
    Setting(
        "unshipped_bytes",
        64 * MIB,
        size,
        "Most bytes that wait for a collector; the oldest go first, errors last.",
    ),
    Setting("kept_bytes", 512 * MIB, size, "Most bytes that the local store keeps."),
    Setting(
        "exclude_commands",
        (),
        names,
        "Commands that `noops-agent run` leaves alone, beside pip and the like.",
    ),
)

BY_NAME = {setting.name: setting for setting in TABLE}

OTHER_VARIABLES = frozenset(("NOOPS_CORE", "NOOPS_RUN"))
"""Variables of ours that are no settings: which core is loaded, and the mark of `noops-agent run`."""
