"""The settings file, and names that are no settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from noops_agent._config import Settings, load

from .conftest import Messages


def read(environ: dict[str, str] | None = None, folder: str | None = None, **overrides: Any) -> Settings:
    """Load without the variables of this process, from a folder that has no file."""
    return load(overrides, environ or {}, folder or "/")


# ---- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "overrides", "meant"),
    [
        ({"NOOPS_SERVCE_NAME": "x"}, {}, "NOOPS_SERVICE_NAME"),
        ({"NOOPS_HEADER": "x"}, {}, "NOOPS_HEADERS"),
        ({"NOOPS_EXPORT_INTERVAL_S": "x"}, {}, "NOOPS_EXPORT_INTERVAL"),
        ({}, {"servicename": "x"}, "service_name"),
        ({}, {"end_point": "x"}, "endpoint"),
        ({"OTEL_SERIVCE_NAME": "x"}, {}, "OTEL_SERVICE_NAME"),
        ({"OTEL_TRACE_SAMPLER": "x"}, {}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_EXPORTER_OLTP_ENDPOINT": "x"}, {}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINTS": "x"}, {}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_RESOURCE_ATTRIBUTE": "x"}, {}, "OTEL_RESOURCE_ATTRIBUTES"),
    ],
)
def test_a_misspelt_name_gets_one_message_with_the_right_one(
    environ: dict[str, str], overrides: Any, meant: str, said: Messages
) -> None:
    """Nobody searches for an hour why a setting has no effect."""
    read(environ, **overrides)
    read(environ, **overrides)
    (line,) = said
    assert line.endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    "name",
    [
        "OTEL_METRICS_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_BLRP_SCHEDULE_DELAY",
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "OTEL_EXPORTER_OTLP_METRIC_INSECURE",
        "OTEL_PYTHON_FLASK_EXCLUDED_URLS",
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        "OTEL_CONFIG_FILE",
        "NOOPS_COLLECTOR_SERVICE_HOST",
        "NOOPS_COLLECTOR_SERVICE_PORT_OTLP",
        "NOOPS_COLLECTOR_PORT_4318_TCP",
        "NOOPS_COLLECTOR_PORT_53_UDP",
        "NOOPS_COLLECTOR_PORT_4318_TCP_ADDR",
        "NOOPS_COLLECTOR_PORT",
        "NOOPS_CORE",
    ],
)
def test_names_of_others_are_left_alone(name: str, said: Messages) -> None:
    """Other signals, other packages and Kubernetes' links to services have variables of their own."""
    read({name: "x"})
    assert len(said) == 0


def test_a_name_that_resembles_nothing_is_said_without_a_guess(said: Messages) -> None:
    """A guess that is wrong would mislead."""
    read({"NOOPS_X": "x"})
    assert list(said) == ["NOOPS_X is no setting of noops_agent"]


# ---- files -----------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The working folder of a program, two below the root of its repository."""
    (tmp_path / ".git").mkdir()
    place = tmp_path / "services" / "shop"
    place.mkdir(parents=True)
    return place


def test_a_file_is_under_the_variables(project: Path) -> None:
    """A file is part of the code, variables are of the place where it runs."""
    (project / "noops.toml").write_text('service_name = "file"\nsampler = "always_off"\ntimeout_s = 3\n')
    settings = read({"OTEL_SERVICE_NAME": "otel"}, str(project))
    assert (settings.service_name, settings.sampler, settings.timeout_s) == ("otel", "always_off", 3.0)
    assert settings.origin("sampler") == "noops.toml"


def test_pyproject_has_a_section_of_ours(project: Path) -> None:
    """Types of TOML are read as they are."""
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'shop'\n[tool.noops_agent]\nexporters = ['console']\nenabled = true\n"
        "span_event_count_limit = 3\nunshipped_bytes = '1MiB'\nsampler_arg = 0.5\n"
        "[tool.noops_agent.resource_attributes]\nteam = 'a'\n"
        "[tool.noops_agent.sample_rules]\n'GET /pay/*' = 1\n'*' = 0.1\n"
    )
    settings = read(folder=str(project))
    assert settings.exporters == ("console",)
    assert settings.span_event_count_limit == 3
    assert settings.unshipped_bytes == 1 << 20
    assert settings.sampler_arg == "0.5"
    assert settings.resource_attributes == {"team": "a"}
    assert settings.sample_rules == "GET /pay/*=1,*=0.1"
    assert settings.origin("exporters") == "pyproject.toml"


@pytest.mark.parametrize(
    "section",
    [
        "[tool.noops_agent]\nkeep",
        "[tool]\nnoops_agent.keep",
        "[ tool . noops_agent ]\nkeep",
        "tool.noops_agent.keep",
    ],
)
def test_the_section_is_found_however_it_is_written(project: Path, section: str) -> None:
    """The quick look that saves the parser misses no spelling that people use."""
    (project / "pyproject.toml").write_text(f"{section} = ['slow']\n")
    assert read(folder=str(project)).keep == ("slow",)


def test_noops_toml_wins_over_pyproject_of_its_folder(project: Path) -> None:
    """The file that is for us alone is the more specific one."""
    (project / "noops.toml").write_text('service_name = "a"\n')
    (project / "pyproject.toml").write_text('[tool.noops_agent]\nservice_name = "b"\nsampler = "always_off"\n')
    settings = read(folder=str(project))
    assert (settings.service_name, settings.origin("sampler")) == ("a", "default")


def test_the_nearest_file_wins(project: Path) -> None:
    """A service of a repository has settings of its own; a pyproject.toml without our section has none."""
    (project / "pyproject.toml").write_text('[project]\ndependencies = ["noops_agent"]\n')
    (project.parent / "pyproject.toml").write_text('[tool.noops_agent]\nservice_name = "near"\n')
    (project.parent.parent / "noops.toml").write_text('service_name = "far"\n')
    assert read(folder=str(project)).service_name == "near"


def test_the_search_ends_at_the_root_of_the_repository(project: Path) -> None:
    """What lies above is somebody else's."""
    (project / ".git").write_text("gitdir: elsewhere")
    (project.parent / "noops.toml").write_text('service_name = "far"\n')
    assert read(folder=str(project)).service_name is None


def test_the_search_ends_at_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder has a file for all programs of its user; what lies above has none."""
    monkeypatch.setenv("HOME", str(project.parent))
    (project.parent.parent / "noops.toml").write_text('service_name = "far"\n')
    assert read(folder=str(project)).service_name is None
    (project.parent / "noops.toml").write_text('service_name = "home"\n')
    assert read(folder=str(project)).service_name == "home"


@pytest.mark.parametrize("content", ["a = ", "\xff\xfe", "[[["])
def test_a_file_that_is_no_toml_is_said(project: Path, content: str, said: Messages) -> None:
    """A slip in a file does not stop the program."""
    (project / "noops.toml").write_bytes(content.encode("latin-1"))
    assert read(folder=str(project)).service_name is None
    assert str(project / "noops.toml") in said


def test_a_section_that_is_no_table_is_said(project: Path, said: Messages) -> None:
    """`tool.noops_agent = 3` is TOML, yet no settings."""
    (project / "pyproject.toml").write_text("[tool]\nnoops_agent = 3\n")
    read(folder=str(project))
    assert "is no table" in said


def test_bad_values_and_unknown_keys_of_a_file_are_said(project: Path, said: Messages) -> None:
    """The message names the file."""
    (project / "noops.toml").write_text('protocol = "smoke"\nservicename = "x"\n')
    assert read(folder=str(project)).protocol == "http/protobuf"
    assert "noops.toml protocol: 'smoke'" in said
    assert "noops.toml servicename is no setting of noops_agent; did you mean service_name?" in said


def test_a_file_that_somebody_planted_is_passed_over(tmp_path: Path, said: Messages) -> None:
    """In a folder like /tmp anybody could send our spans to himself."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "noops.toml").write_text('endpoint = "http://evil"\n')
    assert read(folder=str(shared)).endpoint == "http://evil"
    os.chown(shared / "noops.toml", 12345, 12345)
    assert read(folder=str(shared)).endpoint is None
    assert "belongs to another user" in said


def test_a_working_folder_that_was_deleted_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons outlive the folder that they were started in."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load({}, {}).enabled is True


def test_without_a_parser_of_toml_one_line_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, said: Messages
) -> None:
    """Python 3.10 has none."""
    (project / "noops.toml").write_text('service_name = "x"\n')
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    assert read(folder=str(project)).service_name is None
    assert "install the package tomli" in said
