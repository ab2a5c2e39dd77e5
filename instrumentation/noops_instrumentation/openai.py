"""OpenAI's client: chat completions, responses, completions and embeddings; blocking, asyncio, streamed.

Source: OpenTelemetry semantic conventions for generative AI 1.42, docs/gen-ai/openai.md, gen-ai-spans.md.

Whatever method asks for it (`create`, `parse`, `stream`, raw responses), each request to a model goes through the
client's `request`, with its retries inside of it. `error.type` is the code in the provider's answer, else the
exception's class. Providers that speak OpenAI's protocol are told by their host.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from noops_agent.instrument import After, Args, Attributes, Call, Instrumentation, Kwargs, genai
from noops_agent.instrument.genai import Endpoint, Found, Generation, Progress

_PROVIDERS = (
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.openai"),
    (".inference.ai.azure.com", "azure.ai.inference"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.x.ai", "x_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
)

_HEAD = (
    ("id", genai.RESPONSE_ID),
    ("model", genai.RESPONSE_MODEL),
    ("service_tier", "openai.response.service_tier"),
    ("system_fingerprint", "openai.response.system_fingerprint"),
)
_OUTPUT_TYPES = {"json_object": "json", "json_schema": "json", "text": "text"}


@lru_cache(maxsize=64)
def _provider(host: str) -> str:
    for end, name in _PROVIDERS:
        if host.endswith(end):
            return name
    return "openai"


# ---- requests --------------------------------------------------------------------------------------------


def _several(choices: Any) -> int | None:
    return choices if isinstance(choices, int) and choices != 1 else None


def _chosen(tier: Any) -> str | None:
    return tier if isinstance(tier, str) and tier != "auto" else None


def _identified(conversation: Any) -> str | None:
    known = conversation.get("id") if isinstance(conversation, Mapping) else conversation
    return known if isinstance(known, str) else None


def _output_type(wanted: Any) -> str | None:
    """Read the format of the answer; the younger API has it a level deeper."""
    if not isinstance(wanted, Mapping):
        return None
    inside = wanted.get("format", wanted)
    return _OUTPUT_TYPES.get(inside.get("type", "")) if isinstance(inside, Mapping) else None


_FIELDS: dict[str, str | tuple[str, Any]] = {
    "model": genai.REQUEST_MODEL,
    "temperature": genai.REQUEST_TEMPERATURE,
    "top_p": genai.REQUEST_TOP_P,
    "frequency_penalty": genai.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": genai.REQUEST_PRESENCE_PENALTY,
    "max_tokens": genai.REQUEST_MAX_TOKENS,
    "max_completion_tokens": genai.REQUEST_MAX_TOKENS,
    "max_output_tokens": genai.REQUEST_MAX_TOKENS,
    "seed": genai.REQUEST_SEED,
    "stop": (genai.REQUEST_STOP_SEQUENCES, genai.texts),
    "n": (genai.REQUEST_CHOICE_COUNT, _several),
    "service_tier": ("openai.request.service_tier", _chosen),
    "conversation": (genai.CONVERSATION_ID, _identified),
    "response_format": (genai.OUTPUT_TYPE, _output_type),
    "text": (genai.OUTPUT_TYPE, _output_type),
    "dimensions": genai.EMBEDDINGS_DIMENSION_COUNT,
    "encoding_format": (genai.REQUEST_ENCODING_FORMATS, genai.texts),
}


# ---- answers ---------------------------------------------------------------------------------------------


def _usage(found: Found, used: Any) -> None:
    """Read the numbers of tokens, under the names of either API."""
    if used is None:
        return
    get = genai.members(used).get
    given, made = get("prompt_tokens"), get("completion_tokens")
    inside, outside = get("prompt_tokens_details"), get("completion_tokens_details")
    if given is None:
        given, made = get("input_tokens"), get("output_tokens")
        inside, outside = get("input_tokens_details"), get("output_tokens_details")
    read = genai.members(inside).get("cached_tokens")
    genai.usage(found, given, made, read, reasoning=genai.members(outside).get("reasoning_tokens"))


def _head(found: Found, answer: Any) -> Found:
    get = genai.members(answer).get
    for name, attribute in _HEAD:
        value = get(name)
        if isinstance(value, str):
            found[attribute] = value
    _usage(found, get("usage"))
    return found


def _completion(answer: Any) -> Found:
    found = _head({}, answer)
    reasons = [choice.finish_reason for choice in answer.choices or () if choice.finish_reason]
    if reasons:
        found[genai.RESPONSE_FINISH_REASONS] = reasons
    return found


def _chunk(progress: Progress, chunk: Any) -> None:
    _head(progress.found, chunk)
    for choice in chunk.choices or ():
        if choice.finish_reason:
            progress.reasons[choice.index] = choice.finish_reason
        if progress.content:
            _said(progress, choice)


def _said(progress: Progress, choice: Any) -> None:
    """Keep a piece of what a choice says: a delta of a chat, or the text of a completion."""
    delta = genai.members(choice).get("delta")
    if delta is None:
        progress.say(choice.index, getattr(choice, "text", None) or "")
        return
    progress.say(choice.index, delta.content or "")
    for call in delta.tool_calls or ():
        function = call.function
        known = {"id": call.id, "name": function.name} if call.id else {}
        progress.part(choice.index, "tool_call", "arguments", **known)["arguments"] += function.arguments or ""


def _response(answer: Any) -> Found:
    found = _head({}, answer)
    status = genai.members(answer).get("status")
    reason = _finish_reason(answer, status)
    if reason:
        found[genai.RESPONSE_FINISH_REASONS] = [reason]
    if status == "failed":
        found["error.type"] = getattr(getattr(answer, "error", None), "code", None) or "_OTHER"
    return found


def _finish_reason(answer: Any, status: str | None) -> str | None:
    """Say in the words of chat completions why a response ended; the other API has its own."""
    if status == "incomplete":
        reason = getattr(getattr(answer, "incomplete_details", None), "reason", None)
        return "length" if reason == "max_output_tokens" else reason
    if status != "completed":
        return None
    called = any(getattr(item, "type", None) == "function_call" for item in answer.output or ())
    return "tool_calls" if called else "stop"


def _event(progress: Progress, event: Any) -> None:
    """Read an event of a streamed response; the last one has the whole answer inside."""
    answer = genai.members(event).get("response")
    if answer is not None and event.type != "response.in_progress":
        progress.found.update(_response(answer))
        if progress.content and event.type in ("response.completed", "response.incomplete"):
            progress.found[genai.OUTPUT_MESSAGES] = genai.written(_response_said(answer))
    elif event.type == "error":
        progress.found["error.type"] = getattr(event, "code", None) or "_OTHER"


def _embeddings(answer: Any) -> Found:
    return _head({}, answer)


# ---- what was said: opt-in -------------------------------------------------------------------------------


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    parts = []
    for part in content or ():
        text = part.get("text") if isinstance(part, Mapping) else None
        parts.append({"type": "text", "content": text} if isinstance(text, str) else part)
    return parts


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message.get("role", "user")
    if role == "tool":
        part = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": role, "parts": [part]}
    parts = _parts(message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        known = {"name": function.get("name"), "arguments": function.get("arguments")}
        parts.append({"type": "tool_call", "id": call.get("id"), **known})
    return {"role": role, "parts": parts}


def _chat_input(body: Mapping[str, Any]) -> Found:
    return {genai.INPUT_MESSAGES: genai.written([_message(message) for message in body.get("messages") or ()])}


def _prompt_input(body: Mapping[str, Any]) -> Found:
    prompt = body.get("prompt") or body.get("input")
    return {genai.INPUT_MESSAGES: genai.written([{"role": "user", "parts": _parts(prompt)}])}


def _responses_input(body: Mapping[str, Any]) -> Found:
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given or ()
    found = {genai.INPUT_MESSAGES: genai.written([_message(item) if "role" in item else item for item in messages])}
    instructions = body.get("instructions")
    if isinstance(instructions, str):
        found[genai.SYSTEM_INSTRUCTIONS] = genai.written(_parts(instructions))
    return found


def _chat_said(answer: Any) -> list[Any]:
    said = []
    for choice in answer.choices or ():
        message = choice.message
        parts: list[Any] = [{"type": "text", "content": message.content}] if message.content else []
        for call in getattr(message, "tool_calls", None) or ():
            known = {"name": call.function.name, "arguments": call.function.arguments}
            parts.append({"type": "tool_call", "id": call.id, **known})
        said.append({"role": message.role, "parts": parts, "finish_reason": choice.finish_reason})
    return said


def _completion_said(answer: Any) -> list[Any]:
    return [
        {"role": "assistant", "parts": _parts(choice.text), "finish_reason": choice.finish_reason}
        for choice in answer.choices or ()
    ]


def _response_said(answer: Any) -> list[Any]:
    parts: list[Any] = []
    for item in answer.output or ():
        kind = getattr(item, "type", None)
        if kind == "message":
            parts += [{"type": "text", "content": getattr(part, "text", "")} for part in item.content or ()]
        elif kind == "function_call":
            parts.append({"type": "tool_call", "id": item.call_id, "name": item.name, "arguments": item.arguments})
    reason = _finish_reason(answer, getattr(answer, "status", None)) or ""
    return [{"role": "assistant", "parts": parts, "finish_reason": reason}]


# ---- hooks -----------------------------------------------------------------------------------------------

_ENDPOINTS = {
    "/chat/completions": Endpoint(
        genai.CHAT,
        fields=_FIELDS,
        constants={"openai.api.type": "chat_completions"},
        response=_completion,
        event=_chunk,
        input=_chat_input,
        output=_chat_said,
    ),
    "/responses": Endpoint(
        genai.CHAT,
        fields=_FIELDS,
        constants={"openai.api.type": "responses"},
        response=_response,
        event=_event,
        input=_responses_input,
        output=_response_said,
    ),
    "/completions": Endpoint(
        genai.TEXT_COMPLETION,
        fields=_FIELDS,
        response=_completion,
        event=_chunk,
        input=_prompt_input,
        output=_completion_said,
    ),
    "/embeddings": Endpoint(genai.EMBEDDINGS, fields=_FIELDS, response=_embeddings),
}


def _request(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe the client's `request(cast_to, options, *, stream)`; it is used for all of the API."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = _ENDPOINTS.get(options.url)
    body = genai.body_of(options) if endpoint is not None else None
    if endpoint is None or body is None:
        return None
    url = client._base_url
    host = url.host
    place = genai.service(_provider(host), url.scheme, host, url.port)
    call = genai.described(endpoint, body, place, bool(kwargs.get("stream")))
    call.request = options
    return call


def _failure(call: Call, error: BaseException) -> Attributes | None:
    code = getattr(error, "code", None)
    return {"error.type": code} if code and isinstance(code, str) else None


INSTRUMENTATION = Instrumentation(
    library="openai",
    distribution="openai",
    versions=">=1.40",
    hooks=(
        Generation("openai._base_client:SyncAPIClient.request", _request, error=_failure),
        Generation("openai._base_client:AsyncAPIClient.request", _request, error=_failure),
        After("openai._streaming:Stream.close", genai.closed),
        After("openai._streaming:AsyncStream.close", genai.closed),
        After("openai.lib.streaming.chat._completions:ChatCompletionStream.close", genai.closed, optional=True),
        After("openai.lib.streaming.chat._completions:AsyncChatCompletionStream.close", genai.closed, optional=True),
        After("openai.lib.streaming.responses._responses:ResponseStream.close", genai.closed, optional=True),
        After("openai.lib.streaming.responses._responses:AsyncResponseStream.close", genai.closed, optional=True),
    ),
    options=("capture_message_content",),
)
