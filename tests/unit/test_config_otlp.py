"""Settings of the resource and of OTLP: pairs, headers, endpoints, exporters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noops_agent._config import Otlp, Settings, load
from noops_agent._config.values import unquote

from .conftest import Messages


def read(environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    """Load without the variables of this process, from a folder that has no file."""
    return load(overrides, environ or {}, "/")


# ---- resource and headers --------------------------------------------------------------------------------


def test_resource_attributes_are_percent_decoded() -> None:
    """Commas, equals signs and any other text can be written."""
    raw = "team=a%2Cb, motto=%C3%BC=%3D , empty=,deployment.environment.name=prod"
    expected = {"team": "a,b", "motto": "ü==", "empty": "", "deployment.environment.name": "prod"}
    assert read({"OTEL_RESOURCE_ATTRIBUTES": raw}).resource_attributes == expected


def test_a_bad_pair_is_left_out_and_said(said: Messages) -> None:
    """One slip does not lose the other attributes."""
    assert read({"OTEL_RESOURCE_ATTRIBUTES": "a=1,b,=3,c=4"}).resource_attributes == {"a": "1", "c": "4"}
    assert "2 of its parts" in said


def test_resource_attributes_of_all_sources_are_joined() -> None:
    """The operator's attributes don't vanish because the code gives one too; each key has its winner."""
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "a=otel,b=otel", "NOOPS_RESOURCE_ATTRIBUTES": "b=ours,c=ours"}
    settings = read(environ, resource_attributes={"c": "code", "replicas": 3})
    assert settings.resource_attributes == {"a": "otel", "b": "ours", "c": "code", "replicas": 3}
    assert settings.origin("resource_attributes") == "init()"


@pytest.mark.parametrize(
    ("environ", "overrides", "name"),
    [
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, {}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"}, {}, "b"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "NOOPS_SERVICE_NAME": "b"}, {}, "b"),
        ({"OTEL_SERVICE_NAME": "b"}, {"resource_attributes": {"service.name": "code"}}, "code"),
        ({"OTEL_SERVICE_NAME": "b"}, {"resource_attributes": {"team": "x"}}, "b"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name="}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_service_name_comes_from_the_strongest_source(environ: Any, overrides: Any, name: Any) -> None:
    """`OTEL_SERVICE_NAME` goes before `service.name` among the attributes, and code before both."""
    assert read(environ, **overrides).service_name == name


def test_headers_are_percent_decoded_and_replaced_as_a_whole() -> None:
    """The form of W3C Baggage; the headers for spans are not joined with the general ones."""
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=general,tenant=a",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20abc%3D%3D, x=a=b;c",
    }
    assert read(environ).otlp_traces.headers == {"authorization": "Bearer abc==", "x": "a=b;c"}


@pytest.mark.parametrize(
    "raw", ["Authorization: Bearer s3cret", "k=a%0d%0aX-Evil: s3cret", "a b=s3cret", "ü=s3cret", "=s3cret"]
)
def test_a_header_that_is_none_is_left_out_without_showing_it(raw: str, said: Messages) -> None:
    """What may be a password is never logged, and no header can smuggle in another."""
    assert read({"OTEL_EXPORTER_OTLP_HEADERS": f"ok=1,{raw}"}).headers == {"ok": "1"}
    assert "OTEL_EXPORTER_OTLP_HEADERS" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        ("a%20b", "a b"),
        ("%", "%"),
        ("%2", "%2"),
        ("%zz", "%zz"),
        ("%+1", "%+1"),
        ("%C3%BC", "ü"),
        ("%ff", "\ufffd"),
        ("100%", "100%"),
    ],
)
def test_percent_decoding_takes_garbage_as_it_is(raw: str, decoded: str) -> None:
    """A value that was never encoded survives."""
    assert unquote(raw) == decoded


def test_percent_decoding_agrees_with_the_standard_library() -> None:
    """The decoder is our own for the sake of start-up time only."""
    from urllib.parse import quote
    from urllib.parse import unquote as standard

    @given(st.text())
    @settings(database=None)
    def agrees(text: str) -> None:
        text = text.encode("utf-8", "replace").decode()
        assert unquote(quote(text, safe="")) == text
        assert unquote(text) == standard(text)

    agrees()


# ---- OTLP ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "http://localhost:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://localhost:4317"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://c:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/"}, "http://c:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp"}, "https://c/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp?k=v"}, "https://c/otlp/v1/traces?k=v"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1"}, "http://c:1/"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x"}, "http://c:1/x"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x/?k=v"}, "http://c:1/x/?k=v"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://g"},
            "http://t/x",
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x", "NOOPS_ENDPOINT": "http://g"},
            "http://g/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "c:4317"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1/p", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "https://c:1/p",
        ),
    ],
)
def test_the_endpoint_for_spans(environ: dict[str, str], endpoint: str) -> None:
    """The base gets a path, the one for spans is used as it is; stronger goes before more specific."""
    assert read(environ).otlp_traces.endpoint == endpoint


def test_the_endpoint_of_the_code_wins_over_a_more_specific_variable() -> None:
    """Precedence of sources goes before precedence of names."""
    environ = {"NOOPS_TRACES_ENDPOINT": "http://t/x"}
    assert read(environ, endpoint="http://code").otlp_traces.endpoint == "http://code/v1/traces"
    assert read(environ, endpoint="http://code", traces_endpoint="http://c/y").otlp_traces.endpoint == "http://c/y"


def test_the_otlp_settings_for_spans_are_complete() -> None:
    """Every variable for spans goes before the general one."""
    environ = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t/x",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "k=t",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1500",
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/ca",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/key",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": "/crt",
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
    }
    general = {variable.replace("TRACES_", ""): "9000" for variable in environ}
    expected = Otlp("https://t/x", "http/json", {"k": "t"}, "gzip", 1.5, "/ca", "/key", "/crt", True)
    assert read(environ | general).otlp_traces == expected


@pytest.mark.parametrize(
    ("environ", "overrides", "exporters"),
    [
        ({}, {}, ("local",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, {}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1"}, {}, ("otlp",)),
        ({}, {"endpoint": "http://c:1"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:1"}, {}, ("local",)),
        ({"OTEL_TRACES_EXPORTER": "otlp, console,otlp"}, {}, ("otlp", "console")),
        ({"OTEL_TRACES_EXPORTER": "otlp,none"}, {}, ("none",)),
        ({"OTEL_TRACES_EXPORTER": " , "}, {}, ("local",)),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, {"exporters": ["local"]}, ("local",)),
    ],
)
def test_the_exporters(environ: dict[str, str], overrides: Any, exporters: tuple[str, ...]) -> None:
    """Spans stay on this machine until an endpoint is set, or exporters are named."""
    assert read(environ, **overrides).exporters == exporters


def test_an_endpoint_of_grpc_needs_no_scheme(said: Messages) -> None:
    """Also where gRPC is asked for by the name of the exporter."""
    settings = read({"OTEL_TRACES_EXPORTER": "otlp_proto_grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})
    assert settings.otlp_traces.endpoint == "collector:4317"
    assert len(said) == 0


def test_an_endpoint_that_http_cannot_use_is_said_without_its_password(said: Messages) -> None:
    """Whether TLS is wanted is not guessed."""
    settings = read(endpoint="me:s3cret@collector:4318")
    assert settings.otlp_traces.endpoint == "http://localhost:4318/v1/traces"
    assert "init() endpoint: '****@collector:4318' is not a URL that begins with http:// or https://" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(("name", "protocol"), [("otlp_proto_http", "http/protobuf"), ("otlp_proto_grpc", "grpc")])
def test_the_exporters_of_opentelemetry_python_are_ours(name: str, protocol: str) -> None:
    """Their names stand for OTLP with one protocol, which we speak without the SDK."""
    settings = read({"OTEL_TRACES_EXPORTER": name})
    assert (settings.exporters, settings.otlp_traces.protocol) == (("otlp",), protocol)
    assert settings.origin("protocol") == "OTEL_TRACES_EXPORTER"
    assert read({"OTEL_TRACES_EXPORTER": name}, protocol="http/json").protocol == "http/json"
    assert settings.otlp_traces.endpoint.startswith(
        "http://localhost:4317" if protocol == "grpc" else "http://localhost:4318/"
    )
