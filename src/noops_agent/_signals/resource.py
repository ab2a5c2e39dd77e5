"""What records come from: the resource, found without the SDK.

Source: OpenTelemetry specification 1.60, resource/sdk.md; semantic conventions 1.44, docs/resource/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .._core.model import bounded, sdk_face
from .._diagnostics import say
from .._env import process_name
from .._version import VERSION


class Resource:
    """An immutable set of attributes; shaped like the SDK's class, and equal to it.

    Args:
        attributes: Names and values; what can't be recorded becomes text, an empty name is dropped.
        schema_url: The schema that the names follow; None and empty: none is named.
    """

    __slots__ = ("_attributes", "_schema_url")

    def __init__(self, attributes: Mapping[str, Any] | None = None, schema_url: str | None = None) -> None:
        self._attributes = bounded(attributes, None, None)[0] or {}
        self._schema_url = schema_url or ""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face("opentelemetry.sdk.resources", "Resource", Resource)

    @staticmethod
    def create(attributes: Mapping[str, Any] | None = None, schema_url: str | None = None) -> Resource:
        """Make the resource of this process as the settings have it, with attributes that win over it."""
        from .._config import load

        return make_resource(load()).merge(Resource(attributes, schema_url))

    @staticmethod
    def get_empty() -> Resource:
        """Give a resource without attributes."""
        return Resource()

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes, read-only."""
        return MappingProxyType(self._attributes)

    @property
    def schema_url(self) -> str:
        """The schema that the attributes follow; empty: none is named."""
        return self._schema_url

    def merge(self, other: Any) -> Resource:
        """Give a resource with the attributes of both, where the other's win.

        Where both name a schema and not the same one, this resource is given as it is: the specification
        calls that an error, and the SDK does the same.
        """
        theirs = other.schema_url or ""
        if self._schema_url and theirs and self._schema_url != theirs:
            say("resource.schema", ours=self._schema_url, theirs=theirs)
            return self
        return Resource({**self._attributes, **(other.attributes or {})}, self._schema_url or theirs)

    def __eq__(self, other: object) -> bool:
        attributes = getattr(other, "attributes", None)
        schema_url = getattr(other, "schema_url", None)
        if not isinstance(attributes, Mapping) or not isinstance(schema_url, str):
            return NotImplemented
        return dict(attributes) == self._attributes and schema_url == self._schema_url

    def __hash__(self) -> int:
        import json

        # the SDK hashes the same text, so that equal resources are one key of a dictionary
        return hash(f"{json.dumps(self._attributes, sort_keys=True, default=as_json)}|{self._schema_url}")

    def __repr__(self) -> str:
        return f"Resource({self._attributes!r}, {self._schema_url!r})"

    def to_json(self, indent: int | None = 4) -> str:
        """Give the resource as the SDK's class does."""
        import json

        held = {"attributes": self._attributes, "schema_url": self._schema_url}
        return json.dumps(held, indent=indent, default=as_json)


def as_json(value: object) -> str:
    """Give what JSON has no form for: bytes as hexadecimal digits, else text."""
    return value.hex() if isinstance(value, bytes) else str(value)


# ---- of this process -------------------------------------------------------------------------------------

_ids: dict[int, str] = {}
"""The instance ids made so far, by pid: those of forebears too, so that `refresh` knows them."""


def instance_id() -> str:
    """Give the random UUID (version 4) of this process."""
    made = _ids.get(os.getpid())
    if made is None:
        digits = bytearray(os.urandom(16))
        digits[6] = digits[6] & 0x0F | 0x40
        digits[8] = digits[8] & 0x3F | 0x80
        text = digits.hex()
        made = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        made = _ids.setdefault(os.getpid(), made)
    return made


def runtime_version() -> str:
    """Give the version of the interpreter, with its level where it is no release."""
    version = sys.version_info
    parts = version[:3] if version.releaselevel == "final" and not version.serial else version
    return ".".join(map(str, parts))


def make_resource(settings: Any) -> Resource:
    """Find the resource of this process: facts, then detectors, then what the settings say; the last win."""
    attributes: dict[str, Any] = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "noops_agent",
        "telemetry.sdk.version": VERSION,
        "service.name": f"unknown_service:{process_name() or 'python'}",
        "service.instance.id": instance_id(),
        "process.pid": os.getpid(),
        "process.executable.name": os.path.basename(sys.executable or "python"),
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": runtime_version(),
    }
    if hasattr(os, "uname"):
        attributes["host.name"] = os.uname().nodename
    for name in settings.resource_detectors:
        attributes.update(detect(name))
    attributes.update(settings.resource_attributes)
    if settings.service_name:
        attributes["service.name"] = settings.service_name
    return Resource(attributes)


def refresh(resource: Any) -> Resource:
    """Give the resource of a forked child: its own pid and instance id, where those were found by us."""
    attributes = dict(resource.attributes)
    if isinstance(attributes.get("process.pid"), int):
        attributes["process.pid"] = os.getpid()
    if attributes.get("service.instance.id") in _ids.values():
        attributes["service.instance.id"] = instance_id()
    return Resource(attributes, resource.schema_url)


# ---- detectors of installed packages ---------------------------------------------------------------------


def detect(name: str) -> dict[str, Any]:
    """Ask a resource detector of an installed package, or all for `*`; one that fails gives nothing."""
    if name == "otel":  # the variables, which the settings read
        return {}
    try:
        from importlib.metadata import entry_points

        group = entry_points(group="opentelemetry_resource_detector")
        found = [entry for entry in group if entry.name == name or (name == "*" and entry.name != "otel")]
    except Exception as error:
        say("detector.failed", key=name, name=name, error=repr(error))
        return {}
    if not found:
        say("detector.failed", key=name, name=name, error="no installed package offers it")
    attributes: dict[str, Any] = {}
    for entry in found:
        attributes.update(ask(entry))
    return attributes


def ask(entry: Any) -> dict[str, Any]:
    """Load and run one detector. It may import the SDK, and take the time that it takes."""
    try:
        detected: Mapping[str, Any] = entry.load()().detect().attributes
        return dict(detected)
    except Exception as error:
        say("detector.failed", key=entry.name, name=entry.name, error=repr(error))
        return {}
