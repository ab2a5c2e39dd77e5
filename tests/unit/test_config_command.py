"""`noops-agent config`, and the reference pages that it writes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

import noops_agent
from noops_agent._commands import config
from noops_agent._config.table import TABLE

DOCS = Path(noops_agent.__file__).parents[2] / "docs"


def run(*arguments: str) -> int:
    """Run the command with options."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    return config.execute(parser.parse_args(arguments))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOOPS_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=s3cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@collector:4318")


def test_each_setting_is_shown_with_value_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is woken at night sees what is on, and who said so."""
    assert run() == 0
    output = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line}
    assert set(rows) >= {setting.name for setting in TABLE}
    assert rows["service_name"] == ["shop", "NOOPS_SERVICE_NAME"]
    assert rows["span_event_count_limit"] == ["128", "default"]
    assert rows["headers"] == ["key=****", "OTEL_EXPORTER_OTLP_HEADERS"]
    assert "Spans go to http://****@collector:4318/v1/traces by OTLP (http/protobuf)." in output
    assert "s3cret" not in output


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """A table is read by its columns."""
    run()
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    column = lines[0].index("from")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)


def test_only_what_was_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """The short answer to "what is special here?"."""
    run("--changed")
    names = [line.split()[0] for line in capsys.readouterr().out.split("\n\n")[0].splitlines()[1:]]
    assert names == ["service_name", "endpoint", "headers", "state_dir"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    assert run("--json") == 0
    output = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(output)}
    assert rows["service_name"]["value"] == "shop"
    assert rows["service_name"]["origin"] == "NOOPS_SERVICE_NAME"
    assert rows["exporters"]["value"] == ["otlp"]
    assert rows["headers"]["value"] == {"key": "****"}
    assert "s3cret" not in output


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"NOOPS_ENABLED": "false"}, "The agent is switched off."),
        ({"OTEL_TRACES_EXPORTER": "none"}, "Spans are not exported."),
        ({"OTEL_TRACES_EXPORTER": "console"}, "Spans go to the exporter console."),
        ({"OTEL_TRACES_EXPORTER": "local", "NOOPS_STATE_DIR": "/s"}, "Spans go to the store in /s."),
    ],
)
def test_the_destination_is_said_in_a_sentence(
    environ: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question behind most looks at the settings."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run()
    assert capsys.readouterr().out.splitlines()[-1] == sentence


def test_the_reference_pages_are_those_of_the_tables(tmp_path: Path) -> None:
    """`make docs` writes them anew; a setting or message that was added without it fails here."""
    assert run("--markdown", str(tmp_path)) == 0
    for name in ("settings.md", "messages.md", "instrumentation.md"):
        assert (tmp_path / name).read_text("utf-8") == (DOCS / name).read_text("utf-8"), f"docs/{name} is stale"


def test_the_page_of_settings_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be set can be looked up."""
    assert run("--markdown") == 0
    page = capsys.readouterr().out
    assert [v for setting in TABLE for v in setting.variables if f"`{v}`" not in page] == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The status tells scripts."""
    assert run("--markdown", str(tmp_path / "gone")) == 1
    assert "gone" in capsys.readouterr().err
