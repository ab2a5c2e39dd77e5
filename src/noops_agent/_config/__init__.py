"""The settings, read once into a frozen `Settings`.

A value comes from the first of: a keyword of `init()`, a `NOOPS_*` variable, an `OTEL_*` variable,
`noops.toml` or `[tool.noops_agent]` of pyproject.toml, the default. Empty variables are unset; a value that
can't be read is said once and passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .._diagnostics import say, set_level
from . import values
from .file import read_file
from .table import BY_NAME, OTHER_VARIABLES, TABLE, Setting
from .values import Bad, Parse, mask_url

KEYWORD, OURS, STANDARD, FILE, DEFAULT = range(5)
"""The kinds of sources, the strongest first."""

SECRET = ("headers",)
URLS = ("endpoint", "traces_endpoint")
SDK_EXPORTERS = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
"""Names that opentelemetry-python has for exporters that are our own `otlp`, and their protocols."""


class Otlp(NamedTuple):
    """Everything that the OTLP exporter of one signal needs."""

    endpoint: str
    protocol: str
    headers: dict[str, str]
    compression: str
    timeout_s: float
    certificate: str | None
    client_key: str | None
    client_certificate: str | None
    insecure: bool


class Row(NamedTuple):
    """One setting as `noops-agent config` shows it."""

    name: str
    value: Any
    origin: str
    doc: str
    variables: tuple[str, ...]


class Settings:
    """The values of all settings, frozen: an attribute for each in the table, and `otlp_traces`."""

    _origins: dict[str, str]

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
        self.__dict__.update(values)
        self.__dict__["_origins"] = dict(origins)

    def __getattr__(self, name: str) -> Any:  # for type checkers: the table makes the attributes
        raise AttributeError(f"no setting has the name {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("settings are frozen; they are read once, when the agent starts")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("settings are frozen; they are read once, when the agent starts")

    def origin(self, name: str) -> str:
        """Give where a value comes from: "init()", the name of a variable or of a file, or "default"."""
        return self._origins.get(name, "default")

    def describe(self) -> list[Row]:
        """Give all settings with value and origin; what is secret is masked."""
        return [
            Row(
                setting.name,
                masked(setting.name, self.__dict__[setting.name]),
                self.origin(setting.name),
                setting.doc,
                setting.variables,
            )
            for setting in TABLE
        ]


def masked(name: str, value: Any) -> Any:
    """Hide what may be secret in a value: those of headers, the user of a URL."""
    if name in SECRET:
        return dict.fromkeys(value, "****") if isinstance(value, Mapping) else "****"
    return mask_url(value) if name in URLS else value


# ---- from sources to values ------------------------------------------------------------------------------


class Sources(NamedTuple):
    """Everything that may hold settings."""

    overrides: Mapping[str, Any]
    variables: Mapping[str, str]
    file: Mapping[str, Any]
    file_name: str


class Found(NamedTuple):
    """A value, and what it comes from."""

    value: Any
    origin: str = "default"
    rank: int = DEFAULT


class Draft:
    """The values found so far, while they are worked out."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.ranks: dict[str, int] = {}

    def put(self, name: str, found: Found) -> None:
        """Set the value of a setting."""
        self.values[name], self.origins[name], self.ranks[name] = found


def load(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> Settings:
    """Read all settings. Never raises: what can't be read is said and passed over.

    Args:
        overrides: The keywords of `init()`; None is unset.
        environ: The variables; by default those of the process.
        folder: Where the search for a settings file begins; by default the working folder.
    """
    variables = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    sources = Sources(given, variables, *read_file(folder))
    draft = Draft()
    level = find(BY_NAME["log_level"], sources)  # first, since it decides whether the rest is said
    if level.rank != DEFAULT:
        set_level(level.value)
    for setting in TABLE:
        found = find_joined(setting, sources, draft) if setting.joined else find(setting, sources)
        draft.put(setting.name, found)
    say_unknown(sources)
    for work_out in (service_name, batch_size, exporters, endpoints, state_dir, library_exclude_urls):
        work_out(draft, sources)
    return Settings(draft.values, draft.origins)


def find(setting: Setting, sources: Sources) -> Found:
    """Give the value of the strongest source that holds one which can be read."""
    return next(readable(setting, sources), Found(setting.default))


def find_joined(setting: Setting, sources: Sources, draft: Draft) -> Found:
    """Join the mappings of all sources; the rank of each key is kept beside, as `setting.key`."""
    joined: dict[str, Any] = {}
    all_found = list(readable(setting, sources)) or [Found(setting.default)]
    for found in reversed(all_found):
        joined.update(found.value)
        draft.ranks.update({f"{setting.name}.{key}": found.rank for key in found.value})
    return all_found[0]._replace(value=joined)


def readable(setting: Setting, sources: Sources) -> Iterator[Found]:
    """Read a setting from each source that holds it, the strongest first; what is bad is said."""
    for rank, origin, parse, raw in candidates(setting, sources):
        try:
            yield Found(parse(raw), origin, rank)
        except Exception as error:
            bad = error if isinstance(error, Bad) else Bad("a value for this setting")
            say_bad(setting.name, origin, raw, bad)
            for value in bad.instead:
                yield Found(value, origin, rank)


def candidates(setting: Setting, sources: Sources) -> Iterator[tuple[int, str, Parse, Any]]:
    """Give what the sources hold for a setting, unread, the strongest first: rank, origin, reader, value."""
    if setting.name in sources.overrides:
        yield KEYWORD, "init()", setting.parse, sources.overrides[setting.name]
    if sources.variables.get(setting.variable, "").strip():
        yield OURS, setting.variable, setting.parse, sources.variables[setting.variable]
    for variable in setting.otel:
        if sources.variables.get(variable, "").strip():
            yield STANDARD, variable, setting.otel_parse or setting.parse, sources.variables[variable]
    if setting.name in sources.file:
        yield FILE, sources.file_name, setting.parse, sources.file[setting.name]


def say_bad(name: str, origin: str, value: object, bad: Bad) -> None:
    """Say that the value of a setting can't be taken."""
    place = origin if origin in BY_NAME[name].variables else f"{origin} {name}"
    try:
        shown = repr(masked(name, value))
    except Exception:
        shown = f"an object of type {type(value).__name__}"
    shown = shown if len(shown) <= 100 else shown[:97] + "..."
    say("setting.bad", key=(place, shown), place=place, value=shown, wanted=bad.wanted, remedy=bad.remedy)


# ---- values that depend on others ------------------------------------------------------------------------


def service_name(draft: Draft, sources: Sources) -> None:
    """Take `service.name` of the resource attributes where the setting comes from a weaker source."""
    name = draft.values["resource_attributes"].get("service.name")
    rank = draft.ranks.get("resource_attributes.service.name", DEFAULT)
    if isinstance(name, str) and name and rank < draft.ranks["service_name"]:
        draft.put("service_name", Found(name, draft.origins["resource_attributes"], rank))


def batch_size(draft: Draft, sources: Sources) -> None:
    """A batch is never larger than the queue, as the specification has it."""
    queue, batch = draft.values["export_queue_size"], draft.values["export_batch_size"]
    if queue is not None and batch > queue:
        if draft.ranks["export_batch_size"] != DEFAULT:
            bad = Bad(f"at most the queue's {queue}", "that is taken")
            say_bad("export_batch_size", draft.origins["export_batch_size"], batch, bad)
        draft.values["export_batch_size"] = queue


def exporters(draft: Draft, sources: Sources) -> None:
    """Choose the default exporters; take other names of our own exporter for it."""
    values, rank = draft.values, draft.ranks["exporters"]
    asked = values["exporters"] or ()
    for name in asked:
        if name in SDK_EXPORTERS and rank <= draft.ranks["protocol"]:
            draft.put("protocol", Found(SDK_EXPORTERS[name], draft.origins["exporters"], rank))
    if values["protocol"] != "grpc":
        for name in URLS:
            drop_unusable(draft, name)
    if not asked:
        asked = ("otlp",) if values["endpoint"] or values["traces_endpoint"] else ("local",)
    ours = dict.fromkeys("otlp" if name in SDK_EXPORTERS else name for name in asked)
    values["exporters"] = ("none",) if "none" in ours else tuple(ours)


def drop_unusable(draft: Draft, name: str) -> None:
    """Unset an endpoint that HTTP can't use, rather than guess whether TLS is wanted."""
    endpoint = draft.values[name]
    if endpoint and not endpoint.lower().startswith(("http://", "https://")):
        bad = Bad("a URL that begins with http:// or https://")
        say_bad(name, draft.origins[name], endpoint, bad)
        draft.put(name, Found(None))


def endpoints(draft: Draft, sources: Sources) -> None:
    """Work out the OTLP configuration of spans by the specification's rules."""
    values, ranks = draft.values, draft.ranks
    grpc = values["protocol"] == "grpc"
    base = values["endpoint"] or f"http://localhost:{4317 if grpc else 4318}"
    specific = values["traces_endpoint"]
    if specific and ranks["traces_endpoint"] <= ranks["endpoint"]:
        endpoint = specific if grpc else with_path(specific, "")
    else:
        endpoint = base if grpc else with_path(base, "v1/traces")
    values["otlp_traces"] = Otlp(endpoint, values["protocol"], *[values[name] for name in Otlp._fields[2:]])


def with_path(url: str, path: str) -> str:
    """Append a path to a base URL, before its query; a URL that has no path gets the root path."""
    address, mark, query = url.partition("?")
    scheme, separator, rest = address.partition("://")
    if path:
        rest = rest.rstrip("/") + "/" + path
    elif "/" not in rest:
        rest += "/"
    return scheme + separator + rest + mark + query


def state_dir(draft: Draft, sources: Sources) -> None:
    """Choose the state folder of the XDG specification."""
    if draft.values["state_dir"]:
        return
    base = sources.variables.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        home = sources.variables.get("HOME") or os.path.expanduser("~")
        base = os.path.join(home if os.path.isabs(home) else os.sep, ".local", "state")
    draft.values["state_dir"] = os.path.join(base, "noops_agent")


EXCLUDED_URLS = re.compile(r"OTEL_PYTHON_(\w+)_EXCLUDED_URLS")


def library_exclude_urls(draft: Draft, sources: Sources) -> None:
    """Read the excluded URLs of single libraries, whose variables have the library's name in theirs."""
    found = ((EXCLUDED_URLS.fullmatch(name), value) for name, value in sources.variables.items())
    draft.values["library_exclude_urls"] = {
        match[1].lower(): values.names(value) for match, value in found if match and value.strip()
    }


# ---- names that are no settings --------------------------------------------------------------------------

NEIGHBOURS = ("OTEL_BLRP_", "OTEL_METRIC_", "OTEL_METRICS_", "OTEL_LOGS_", "OTEL_LOGRECORD_")
"""Variables of other signals; some are spelt like those of spans."""


def say_unknown(sources: Sources) -> None:
    """Say which names are no settings, and what was probably meant."""
    ours = {setting.variable for setting in TABLE} | OTHER_VARIABLES
    standard = {variable for setting in TABLE for variable in setting.otel}
    for name in sources.overrides:
        if name not in BY_NAME:
            say_misspelt(f"init() {name}", name)
    for name in sources.variables:
        if EXCLUDED_URLS.fullmatch(name):
            continue
        if name.startswith("OTEL_") and name not in standard and not name.startswith(NEIGHBOURS):
            meant = next((known for known in sorted(standard) if resembles(name, known)), None)
            if meant:
                say("setting.unknown", key=name, name=name, suggestion=f"; did you mean {meant}?")
        elif name.startswith("NOOPS_") and name not in ours and not is_service_link(name):
            say_misspelt(name, name)
    for name in sources.file:
        if name not in BY_NAME:
            say_misspelt(f"{sources.file_name} {name}", name)


def is_service_link(name: str) -> bool:
    """Whether Kubernetes sets such a variable for each service; one may be called noops-something."""
    return name.endswith("_SERVICE_HOST") or "_PORT_" in name + "_"


def say_misspelt(place: str, name: object) -> None:
    """Say that a name is no setting, and which is nearest."""
    import difflib

    variable = place == name
    close = difflib.get_close_matches(str(name).lower().removeprefix("noops_"), BY_NAME, 1)
    meant = [BY_NAME[word].variable if variable else word for word in close]
    say("setting.unknown", key=place, name=place, suggestion="".join(f"; did you mean {word}?" for word in meant))


def resembles(name: str, known: str) -> bool:
    """Whether two names differ in one place only, by at most two characters."""
    if abs(len(name) - len(known)) > 2:
        return False
    start = shared(name, known)
    end = shared(name[start:][::-1], known[start:][::-1])
    return max(len(name), len(known)) - start - end <= 2


def shared(one: str, other: str) -> int:
    """Count the characters that two texts begin with alike."""
    pairs = enumerate(zip(one, other))  # noqa: B905 (the shorter one ends it)
    return next((at for at, (mine, yours) in pairs if mine != yours), min(len(one), len(other)))
