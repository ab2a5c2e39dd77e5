"""Anthropic's client: messages; blocking, asyncio, streamed, and through the platforms that it can be reached by.

Source: OpenTelemetry semantic conventions for generative AI 1.42, docs/gen-ai/anthropic.md, gen-ai-spans.md.

Each request to a model goes through the client's `request`, with its retries inside of it. `error.type` is the type
that the provider gives an error, else the exception's class. Anthropic counts cached tokens apart from the input; by
the convention they are part of it.

Since its version 1 the library traces by itself once there is a provider. What is observed here has no second span;
its other calls (batches, files, sessions) keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from noops_agent.instrument import After, Args, Attributes, Before, Call, Instrumentation, Kwargs, genai
from noops_agent.instrument.genai import Endpoint, Found, Generation, Progress

_FIELDS: dict[str, str | tuple[str, Any]] = {
    "model": genai.REQUEST_MODEL,
    "max_tokens": genai.REQUEST_MAX_TOKENS,
    "temperature": genai.REQUEST_TEMPERATURE,
    "top_p": genai.REQUEST_TOP_P,
    "top_k": genai.REQUEST_TOP_K,
    "stop_sequences": (genai.REQUEST_STOP_SEQUENCES, genai.texts),
}
_NAMELESS = SimpleNamespace(span_name=None)


@lru_cache(maxsize=64)
def _provider(kind: type) -> str:
    """Tell the platform by the client's class."""
    for base in kind.__mro__:
        name = base.__name__
        if "Bedrock" in name or name.endswith("AWS"):
            return "aws.bedrock"
        if "Vertex" in name:
            return "gcp.vertex_ai"
    return "anthropic"


# ---- requests and answers --------------------------------------------------------------------------------


def _usage(found: Found, used: Any) -> None:
    if used is None:
        return
    get = genai.members(used).get
    read, created = get("cache_read_input_tokens") or 0, get("cache_creation_input_tokens") or 0
    given = get("input_tokens")
    whole = given + read + created if isinstance(given, int) else None
    genai.usage(found, whole, get("output_tokens"), read, created)


def _message(answer: Any) -> Found:
    get = genai.members(answer).get
    found = genai.told({}, RESPONSE_ID=get("id"), RESPONSE_MODEL=get("model"))
    reason = get("stop_reason")
    if reason:
        found[genai.RESPONSE_FINISH_REASONS] = [reason]
    _usage(found, get("usage"))
    return found


def _event(progress: Progress, event: Any) -> None:
    kind = event.type
    if kind == "message_start":
        progress.found.update(_message(event.message))
    elif kind == "message_delta":
        if event.delta.stop_reason:
            progress.reasons[0] = event.delta.stop_reason
        _usage(progress.found, event.usage)
    elif progress.content:
        _said(progress, kind, event)


def _said(progress: Progress, kind: str, event: Any) -> None:
    """Keep a piece of what the model says."""
    if kind == "content_block_start" and event.content_block.type == "tool_use":
        block = event.content_block
        progress.part(0, "tool_call", "arguments", id=block.id, name=block.name)
    elif kind == "content_block_delta":
        delta = event.delta
        if delta.type == "text_delta":
            progress.say(0, delta.text)
        elif delta.type == "input_json_delta":
            progress.part(0, "tool_call", "arguments")["arguments"] += delta.partial_json


# ---- what was said: opt-in -------------------------------------------------------------------------------


def _part(block: Any) -> Any:
    """Give a block of a message, of a request (a mapping) or of an answer (an object), as a part."""
    get: Callable[[str], Any] = block.get if isinstance(block, Mapping) else lambda name: getattr(block, name, None)
    kind = get("type")
    if kind == "text":
        return {"type": "text", "content": get("text")}
    if kind == "tool_use":
        return {"type": "tool_call", "id": get("id"), "name": get("name"), "arguments": get("input")}
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": get("tool_use_id"), "response": get("content")}
    return {"type": kind}


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_part(block) for block in content or ()]


def _input(body: Mapping[str, Any]) -> Found:
    messages = body.get("messages") or ()
    said = [{"role": message.get("role"), "parts": _parts(message.get("content"))} for message in messages]
    found = {genai.INPUT_MESSAGES: genai.written(said)}
    if body.get("system"):
        found[genai.SYSTEM_INSTRUCTIONS] = genai.written(_parts(body["system"]))
    return found


def _output(answer: Any) -> list[Any]:
    return [{"role": answer.role, "parts": _parts(answer.content), "finish_reason": answer.stop_reason}]


# ---- hooks -----------------------------------------------------------------------------------------------

_MESSAGES = Endpoint(genai.CHAT, fields=_FIELDS, response=_message, event=_event, input=_input, output=_output)


def _for_messages(options: Any) -> bool:
    """Whether a request asks a model for a message; the beta of it has a query."""
    url = options.url
    return isinstance(url, str) and (url == "/v1/messages" or url.startswith("/v1/messages?"))


def _request(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe the client's `request(cast_to, options, *, stream)`; it is used for all of the API."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    body = genai.body_of(options) if _for_messages(options) else None
    if body is None:
        return None
    url, kind = client._base_url, client.__class__
    place = genai.service(_provider(kind), url.scheme, url.host, url.port)
    call = genai.described(_MESSAGES, body, place, bool(kwargs.get("stream")))
    call.request = options
    return call


def _failure(call: Call, error: BaseException) -> Attributes | None:
    kind = getattr(error, "type", None)
    if kind is None:  # as the library leaves it in its older versions
        body = getattr(error, "body", None)
        inside = body.get("error") if isinstance(body, Mapping) else None
        kind = inside.get("type") if isinstance(inside, Mapping) else None
    return {"error.type": kind} if kind and isinstance(kind, str) else None


def _untraced(instance: None, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
    """Show the library a request without a name, which it makes no span for, where this integration has made one."""
    if not _for_messages(args[2]):
        return None
    return (*args[:2], _NAMELESS, *args[3:]), kwargs


INSTRUMENTATION = Instrumentation(
    library="anthropic",
    distribution="anthropic",
    versions=">=0.45",
    hooks=(
        Generation("anthropic._base_client:SyncAPIClient.request", _request, error=_failure),
        Generation("anthropic._base_client:AsyncAPIClient.request", _request, error=_failure),
        Before("anthropic._base_client:start_api_call_span", _untraced, optional=True),
        After("anthropic._streaming:Stream.close", genai.closed),
        After("anthropic._streaming:AsyncStream.close", genai.closed),
        After("anthropic.lib.streaming._messages:MessageStream.close", genai.closed, optional=True),
        After("anthropic.lib.streaming._messages:AsyncMessageStream.close", genai.closed, optional=True),
    ),
    options=("capture_message_content",),
)
