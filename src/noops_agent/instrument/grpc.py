"""gRPC's clients: calls that end long after they were made, beneath the interceptors of the user.

A call is observed where it goes to the wire: each attempt of an interceptor that retries is a call, and an answer out
of an interceptor's cache is none. No interceptor of ours is needed, whose dispatch costs more than all that is
recorded.

Source: OpenTelemetry semantic conventions 1.44, docs/rpc/grpc.md; https://grpc.github.io/grpc/core/md_doc_naming.html.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any, cast

import grpc
from opentelemetry.trace import SpanKind

from .carriers import Pairs
from .leaf import Leaf
from .model import Args, Attributes, Call, Kwargs
from .outcome import Later, Outcome
from .rpc import (
    CANCELLED,
    CLIENT_DURATION,
    LAYER,
    METHOD,
    OK,
    SYSTEM,
    UNKNOWN,
    answered,
)

EXPORT = "opentelemetry.proto.collector."
"""Services that telemetry itself is sent to; nobody's exporter is to be observed by what it exports."""

_HOSTS = ("dns", "ipv4", "ipv6")
_DEFAULT_PORT = 443

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
"""Names of the status codes by their numbers."""


def code_name(code: Any) -> str:
    """Give the name of a status code: a member, or a number as some servers set it; UNKNOWN as gRPC sends the rest."""
    if isinstance(code, grpc.StatusCode):
        return cast(str, code.name)
    return _NAMES.get(code, UNKNOWN) if isinstance(code, int) else UNKNOWN


# ---- what a call means -----------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def server(target: str) -> dict[str, Any]:
    """Give the attributes of a channel's target: without a port in the address; several servers are one name."""
    scheme, found, rest = target.partition(":")
    if not found or "/" in scheme or scheme not in (*_HOSTS, "unix", "unix-abstract"):
        if "://" in target:  # a resolver of its own, such as xds: the target is the group's only name
            return {"server.address": target}
        scheme, rest = "dns", target
    if rest.startswith("//"):
        rest = rest[2:].partition("/")[2] if scheme not in ("unix", "unix-abstract") else rest[2:]
    if scheme not in _HOSTS:
        return {"server.address": rest}
    if "," in rest:
        return {"server.address": target}
    return endpoint(rest.replace("%5B", "[").replace("%5D", "]"), "server.address", "server.port", _DEFAULT_PORT)


def endpoint(text: str, address: str, port: str, default: int | None = None) -> dict[str, Any]:
    """Split "host:port" or "[::1]:port" into two attributes."""
    host, found, number = text.rpartition(":")
    if not found or number.endswith("]") or (":" in host and not host.startswith("[")):
        host, number = text, ""  # a name, or a bare IPv6 address
    attributes: dict[str, Any] = {address: host.strip("[]")}
    if number.isdigit():
        attributes[port] = int(number)
    elif default is not None:
        attributes[port] = default
    return attributes


@lru_cache(maxsize=2048)
def method_facts(method: Any, target: Any) -> dict[str, Any] | None:
    """Give the attributes of all calls of a method on one channel; None for those that carry telemetry.

    Args:
        method: "/package.Service/Method", as bytes or text.
        target: The target of the channel, as bytes or text.
    """
    name = text_of(method).lstrip("/")
    if name.startswith(EXPORT):
        return None
    return {SYSTEM: "grpc", METHOD: name, **(server(text_of(target)) if target else {})}


def text_of(value: Any) -> str:
    """Give bytes as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


MOST_TARGETS = 4096

_targets: dict[int, str] = {}
"""Id of a channel of gRPC's core -> its target, for versions whose calls don't know it. The core could be asked for it,
and crashes where the channel is closed; nor does it let itself be referred to weakly, so that ids stay until others
take their place."""


def made(channel: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    """Remember the target of a channel that has been made."""
    if len(_targets) >= MOST_TARGETS:
        _targets.clear()
    _targets[id(channel._channel)] = args[0] if args else kwargs["target"]
    return returned


def described(method: Any, target: Any, metadata: Any) -> Call | None:
    """Say what a client's call means; its state is the metadata that it is to be made with."""
    facts = method_facts(method, target)
    if facts is None or not (metadata is None or isinstance(metadata, Iterable)):
        return None
    headers = Pairs(metadata)
    return Call(facts[METHOD], facts.copy(), inject=headers, state=headers.pairs)


def refusal(call: Call, error: BaseException) -> Attributes | None:
    """Give what the error of a call says: its status code, where it got as far as having one."""
    if isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        if code is not None:
            return answered(code_name(code()))
    return None


def invocation(multi: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe a call through a multi-callable: `(request, timeout, metadata, ...)`."""
    target = getattr(multi, "_target", None) or _targets.get(id(multi._channel))
    if len(args) > 2:
        call = described(multi._method, target, args[2])
        if call is not None:
            call.args = (*args[:2], call.state, *args[3:])
        return call
    call = described(multi._method, target, kwargs.get("metadata"))
    if call is not None:
        kwargs["metadata"] = call.state
    return call


def invocation_of(call: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe a call of asyncio by what its object is made of: `(request, deadline, metadata, ..., channel, method)`.

    The object is made for each attempt, beneath the interceptors.
    """
    found = described(args[6], getattr(args[5], "target", None) or _targets.get(id(args[5])), args[2])
    if found is not None:
        found.args = (*args[:2], found.state, *args[3:])
    return found


# ---- what becomes of it ----------------------------------------------------------------------------------


def status_arrived(outcome: Outcome, multi: Any, returned: Any) -> None:
    """Follow an iterator or a future: its status arrives after the last answer was taken.

    Nothing of ours holds it: dropped unread, it cancels the call, and that is the end.
    """
    done = partial(_arrived, outcome, returned._state)
    if not returned.add_callback(done):
        done()


def _arrived(outcome: Outcome, state: Any) -> None:
    outcome.told(code_name(getattr(state, "code", None)))


def aio_status_arrived(outcome: Outcome, call: Any, returned: Any) -> None:
    """Follow a call of asyncio, which must not be held either."""
    call._cython_call.add_done_callback(partial(_aio_arrived, outcome, weakref.ref(call)))


def _aio_arrived(outcome: Outcome, reference: Any, *_: Any) -> None:
    call = reference()
    status = None if call is None else getattr(call._cython_call, "_status", None)
    outcome.told(CANCELLED if status is None else code_name(status.code()))


def _told(call: Call, code: Any) -> Attributes:
    return answered(code or UNKNOWN)


def _returned(call: Call, returned: Any) -> Attributes:
    return _OK


_OK = answered(OK)
_CLIENT: dict[str, Any] = {"error": refusal, "duration": CLIENT_DURATION, "layer": LAYER}


def hook(target: str) -> Leaf:
    """Observe a call that returns when it is done."""
    return Leaf(target, SpanKind.CLIENT, invocation, result=_returned, **_CLIENT)


def later(target: str, *, optional: bool = False) -> Later:
    """Observe a call that gives back an iterator or a future."""
    return Later(
        target,
        SpanKind.CLIENT,
        invocation,
        result=_told,
        follow=status_arrived,
        optional=optional,
        **_CLIENT,
    )


def aio_later(target: str) -> Later:
    """Observe the making of a call of asyncio, which is its start."""
    return Later(target, SpanKind.CLIENT, invocation_of, result=_told, follow=aio_status_arrived, **_CLIENT)
