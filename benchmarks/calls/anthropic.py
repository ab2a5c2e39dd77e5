"""One question to a model, answered in the process: neither a socket nor a server is in the way."""

from __future__ import annotations

import json
from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-anthropic"
DDTRACE = "anthropic"
REQUIRES = ("anthropic",)

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 5},
}


def prepare() -> Callable[[], object]:
    """Give the call: a message whose HTTP transport answers at once."""
    import anthropic
    from anthropic._base_client import SyncHttpxClientWrapper

    module = __import__(SyncHttpxClientWrapper.__mro__[-2].__module__.partition(".")[0])  # httpx, or what replaced it
    data = json.dumps(ANSWER).encode()
    headers = {"content-type": "application/json"}
    transport = module.MockTransport(lambda request: module.Response(200, content=data, headers=headers))
    client = anthropic.Anthropic(api_key="k", http_client=module.Client(transport=transport))
    messages = [{"role": "user", "content": "hi"}]
    return lambda: client.messages.create(model="m", max_tokens=9, messages=messages)
