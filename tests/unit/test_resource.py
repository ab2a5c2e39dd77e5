"""The resource: what it holds, how it changes in a fork, and that it is the SDK's where one looks."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import opentelemetry.sdk.resources as sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import noops_agent
from noops_agent import _config
from noops_agent._signals import resource
from noops_agent._signals.resource import Resource, make_resource, refresh

from .conftest import Messages


def made(environ: dict[str, str] | None = None, **overrides: Any) -> dict[str, Any]:
    """The attributes of this process under given settings."""
    return dict(make_resource(_config.load(overrides, environ or {}, "/")).attributes)


# ---- what it holds ---------------------------------------------------------------------------------------


def test_the_facts_of_this_process() -> None:
    """Nothing has to be configured to know where a record comes from."""
    attributes = made()
    detected = sdk.ProcessResourceDetector().detect().attributes
    for name in ("process.pid", "process.executable.name", "process.runtime.name", "process.runtime.version"):
        assert attributes[name] == detected[name]
    assert attributes["host.name"] == os.uname().nodename
    assert attributes["telemetry.sdk.language"] == "python"
    assert attributes["telemetry.sdk.name"] == "noops_agent"
    assert attributes["telemetry.sdk.version"] == noops_agent.__version__


def test_the_default_name_of_the_service_is_that_of_the_specification() -> None:
    """`unknown_service:` and the name of the program."""
    assert made()["service.name"].startswith("unknown_service:")
    assert len(made()["service.name"]) > len("unknown_service:")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"OTEL_SERVICE_NAME": "shop"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"}, "b"),
    ],
)
def test_the_name_of_the_service_is_set(environ: dict[str, str], name: str) -> None:
    """By its own variable, else among the attributes."""
    assert made(environ)["service.name"] == name


def test_attributes_of_the_settings_win_over_facts() -> None:
    """In a container the operator knows the host better."""
    attributes = made({"OTEL_RESOURCE_ATTRIBUTES": "host.name=node-7,team=a%20b"})
    assert (attributes["host.name"], attributes["team"]) == ("node-7", "a b")


def test_the_instance_is_a_random_uuid_of_the_process() -> None:
    """All providers of a process are one instance."""
    first, second = made()["service.instance.id"], made()["service.instance.id"]
    assert first == second
    assert uuid.UUID(first).version == 4
    assert uuid.UUID(first).variant == uuid.RFC_4122


# ---- fork ------------------------------------------------------------------------------------------------


def in_child(work: Any) -> str:
    """Run *work* in a forked child; give the text that it gives."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_a_forked_child_has_its_own_pid_and_instance() -> None:
    """Two processes that write under one identity make nonsense of every sum."""
    before = make_resource(_config.load({"service_name": "shop"}, {}, "/"))

    def look() -> str:
        attributes = refresh(before).attributes
        again = refresh(before).attributes
        same = again == attributes and attributes["service.name"] == "shop"
        return f"{attributes['process.pid']} {attributes['service.instance.id']} {os.getpid()} {same}"

    pid, instance, child, same = in_child(look).split()
    assert pid == child != str(os.getpid())
    assert instance != before.attributes["service.instance.id"]
    assert uuid.UUID(instance).version == 4
    assert same == "True"


def test_a_child_keeps_the_instance_that_was_configured() -> None:
    """What the operator says is not ours to change; what the program made up is."""
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-1"}
    before = make_resource(_config.load({}, environ, "/"))
    assert in_child(lambda: str(refresh(before).attributes["service.instance.id"])) == "pod-1"


def test_a_resource_of_the_program_gets_nothing_added() -> None:
    """A provider that was given a resource keeps it as it is."""
    given_resource = sdk.Resource({"service.name": "shop"}, "https://schema")
    assert in_child(lambda: str(refresh(given_resource) == given_resource)) == "True"


# ---- detectors -------------------------------------------------------------------------------------------


def test_a_detector_of_an_installed_package_adds_attributes() -> None:
    """`OTEL_EXPERIMENTAL_RESOURCE_DETECTORS` names entry points; the SDK brings some."""
    attributes = made({"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,os"})
    assert attributes["os.type"] == sys.platform


def test_all_detectors() -> None:
    """A star asks each that is installed; ours win where they say the same."""
    attributes = made({"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "*", "OTEL_SERVICE_NAME": "shop"})
    assert attributes["os.type"] == sys.platform
    assert attributes["service.name"] == "shop"


def test_a_detector_that_is_not_there_is_said(said: Messages) -> None:
    """A name that was misspelt."""
    assert "service.name" in made({"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "oss"})
    assert "the resource detector oss gives nothing: no installed package offers it" in said


def test_a_detector_that_raises_is_said(said: Messages) -> None:
    """Somebody else's code, in the start of the program."""

    class Entry:
        name = "bad"

        def load(self) -> Any:
            raise RuntimeError("no metadata server")

    assert resource.ask(Entry()) == {}
    assert "no metadata server" in said


# ---- the class -------------------------------------------------------------------------------------------

KEYS = st.text(min_size=1, max_size=8)
VALUES = st.one_of(
    st.text(max_size=8),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.lists(st.text(max_size=3), max_size=3),
)
SCHEMAS = st.sampled_from(["", "https://a", "https://b"])


@given(st.dictionaries(KEYS, VALUES, max_size=5), SCHEMAS)
@settings(database=None)
def test_it_is_equal_to_the_sdks(attributes: dict[str, Any], schema_url: str) -> None:
    """Whichever of the two a program compares, hashes or writes."""
    ours, theirs = Resource(attributes, schema_url), sdk.Resource(attributes, schema_url)
    assert ours == theirs
    assert theirs == ours
    assert hash(ours) == hash(theirs)
    assert ours.to_json() == theirs.to_json()
    assert ours.to_json(indent=None) == theirs.to_json(indent=None)
    assert dict(ours.attributes) == dict(theirs.attributes)


@given(st.dictionaries(KEYS, VALUES, max_size=3), SCHEMAS, st.dictionaries(KEYS, VALUES, max_size=3), SCHEMAS)
@settings(database=None)
def test_it_merges_as_the_sdks(one: dict[str, Any], schema: str, other: dict[str, Any], other_schema: str) -> None:
    """With its own kind and with the SDK's, in both directions."""
    expected = sdk.Resource(one, schema).merge(sdk.Resource(other, other_schema))
    assert Resource(one, schema).merge(Resource(other, other_schema)) == expected
    assert Resource(one, schema).merge(sdk.Resource(other, other_schema)) == expected
    ours: Any = Resource(other, other_schema)
    assert sdk.Resource(one, schema).merge(ours) == expected


def test_different_schemas_are_said(said: Messages) -> None:
    """The attributes of the second are lost, which nobody expects."""
    Resource({"a": 1}, "https://a").merge(Resource({"b": 2}, "https://b"))
    assert "https://a and https://b can't be merged" in said


def test_it_differs_from_others() -> None:
    """By an attribute, by its schema, by being something else."""
    assert Resource({"a": 1}) != Resource({"a": 2})
    assert Resource({"a": 1}) != Resource({"a": 1}, "https://a")
    assert Resource({"a": 1}) != sdk.Resource({"a": 2})
    assert Resource() != 3
    assert Resource() == Resource.get_empty() == sdk.Resource.get_empty()


def test_it_can_be_changed_neither_directly_nor_by_what_it_was_made_of() -> None:
    """Threads read it without a lock."""
    source = {"a": 1}
    held = Resource(source)
    source["a"] = 2
    assert held.attributes["a"] == 1
    with pytest.raises(TypeError):
        held.attributes["a"] = 3  # type: ignore[index]


def test_anything_can_be_an_attribute() -> None:
    """What can't be recorded is text; what has no name is dropped."""
    held = Resource({"a": None, "b": object, "": 1, 3: 4, "n": {"x": [1]}})  # type: ignore[dict-item]
    assert set(held.attributes) == {"a", "b", "n"}
    assert isinstance(held.attributes["b"], str)
    hash(held)
    held.to_json()


def test_create_adds_to_what_is_known_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `Resource.create` of the SDK."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    held = Resource.create({"team": "a", "process.pid": 1}, "https://a").attributes
    assert (held["service.name"], held["team"], held["process.pid"]) == ("shop", "a", 1)


def test_it_is_an_instance_of_the_sdks_class_once_that_is_loaded() -> None:
    """`isinstance` holds in programs that use the SDK; in the others the SDK is not loaded."""
    code = (
        "import sys\nfrom noops_agent._config import load\n"
        "from noops_agent._signals.resource import Resource, make_resource\n"
        "held = make_resource(load({}, {}, '/'))\n"
        "assert isinstance(held, Resource)\n"
        "assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules)\n"
        "from opentelemetry.sdk.resources import Resource as Theirs\n"
        "assert isinstance(held, Theirs) and isinstance(held, Resource)\n"
        "assert not isinstance(Theirs({}), Resource)\n"
    )
    source = str(Path(noops_agent.__file__).parents[1])
    environ = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr
