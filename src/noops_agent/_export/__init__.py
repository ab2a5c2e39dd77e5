"""Export: which sinks the settings ask for. Nothing of theirs is loaded before they first send."""

from __future__ import annotations

from typing import Any

from .._core.segment import LOCAL
from .loading import load
from .otlp import SIGNALS
from .sink import Sink


def open_sinks(settings: Any) -> list[Sink]:
    """Make a sink for each exporter of the settings; the local store needs none."""
    sinks: list[Sink] = []
    for name in settings.exporters:
        if name == "otlp":
            sinks.append(otlp_sink(settings))
        elif name not in ("local", "none"):
            sinks.append(load(".adapter", __package__).named_exporter(name))
    return sinks


def otlp_sink(settings: Any) -> Sink:
    """Make the sink of the OTLP protocol that the settings ask for."""
    targets = {}
    for signal, names in SIGNALS.items():
        target = getattr(settings, names.setting, None)
        if target is not None:
            targets[signal] = target
    if settings.otlp_traces.protocol == "grpc":
        return load(".grpc", __package__).GrpcSink(targets)  # type: ignore[no-any-return]
    return load(".http", __package__).HttpSink(targets)  # type: ignore[no-any-return]


def destination(settings: Any) -> bytes:
    """Give 16 bytes that say where records may be sent: a segment is shipped by processes that would say the same."""
    names = [name for name in settings.exporters if name not in ("local", "none")]
    if not names:
        return LOCAL
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL with it, 4 MiB of memory
    except ImportError:
        from hashlib import blake2b

    facts: list[str] = sorted(names)
    if "otlp" in names:
        target = settings.otlp_traces
        facts += [target.endpoint, target.protocol]
        facts += [f"{name.lower()}={value}" for name, value in sorted(target.headers.items())]
    return blake2b("\0".join(facts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
