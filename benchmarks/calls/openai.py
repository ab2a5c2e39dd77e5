"""One question to a model, answered in the process: neither a socket nor a server is in the way."""

from __future__ import annotations

import json
from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.openai_v2:OpenAIInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-openai-v2"
DDTRACE = "openai"
REQUIRES = ("openai",)

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}


def prepare() -> Callable[[], object]:
    """Give the call: a chat completion whose HTTP transport answers at once."""
    import openai
    from openai._base_client import SyncHttpxClientWrapper

    module = __import__(SyncHttpxClientWrapper.__mro__[-2].__module__.partition(".")[0])  # httpx, or what replaced it
    data = json.dumps(ANSWER).encode()
    headers = {"content-type": "application/json"}
    transport = module.MockTransport(lambda request: module.Response(200, content=data, headers=headers))
    client = openai.OpenAI(api_key="k", http_client=module.Client(transport=transport))
    messages = [{"role": "user", "content": "hi"}]
    return lambda: client.chat.completions.create(model="m", messages=messages)
