"""A model on the loopback that speaks the protocols of OpenAI and Anthropic, streams included.

What it answers depends on the name of the model that is asked: `refused` is a 401, `busy` a 429, `broken` ends a
stream in the middle, `endless` never ends one, `caller` calls a tool; any other greets.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Hello there"
KEY = "sk-local"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        """Answer a request to a model."""
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        self.server.requests.append((self.path, dict(self.headers), body))
        model = body.get("model", "")
        if model == "refused":
            self.refuse(401, "invalid_api_key", "authentication_error")
        elif model == "busy":
            self.refuse(429, "rate_limit_exceeded", "rate_limit_error")
        elif body.get("stream"):
            self.stream(model, list(EVENTS[self.path.partition("?")[0]](body)))
        else:
            self.reply(200, ANSWERS[self.path.partition("?")[0]](body))

    def refuse(self, status: int, code: str, kind: str) -> None:
        """Refuse, in the words of both providers."""
        error = {"type": kind, "code": code, "message": "no", "param": None}
        self.reply(status, {"type": "error", "error": error})

    def reply(self, status: int, answer: Any) -> None:
        """Send a whole answer."""
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, model: str, events: list[tuple[str, Any]]) -> None:
        """Send an answer event by event."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at, (name, data) in enumerate(events):
            if model == "broken" and at == 2:
                self.close_connection = True
                self.wfile.flush()
                self.connection.close()
                return
            if model == "endless" and at == 2:
                self.server.released.wait(10)
            text = data if isinstance(data, str) else json.dumps(data)
            self.chunk((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        """Send a piece of the body; an empty one ends it."""
        data = text.encode()
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


# ---- OpenAI ----------------------------------------------------------------------------------------------

USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


def chat(body: Any) -> Any:
    """A chat completion."""
    called = body["model"] == "caller"
    message = {"role": "assistant", "content": None if called else ANSWER}
    if called:
        message["tool_calls"] = [TOOL]
    if body.get("response_format"):
        message["content"] = '{"greeting": "Hello"}'
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if called else "stop"}
    return head(body) | {"object": "chat.completion", "choices": [choice], "usage": USAGE}


def head(body: Any) -> dict[str, Any]:
    """What each answer of OpenAI's begins with."""
    return {
        "id": "chatcmpl-1",
        "created": 1,
        "model": body["model"] + "-2026",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def chat_events(body: Any) -> Iterator[tuple[str, Any]]:
    """The same, in pieces."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if body["model"] == "caller":
        deltas.append({"tool_calls": [{"index": 0, **TOOL, "function": {"name": "weather", "arguments": '{"city"'}}]})
        deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": ': "Paris"}'}}]})
    else:
        deltas += [{"content": piece} for piece in ("Hello", " there")]
    top = head(body) | {"object": "chat.completion.chunk"}
    for delta in deltas:
        yield "", top | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = "tool_calls" if body["model"] == "caller" else "stop"
    yield "", top | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield "", top | {"choices": [], "usage": USAGE}
    yield "", "[DONE]"


def response(body: Any, status: str = "completed") -> Any:
    """An answer of the responses API."""
    text = '{"greeting": "Hello"}' if body.get("text") else ANSWER
    content = [{"type": "output_text", "text": text, "annotations": []}]
    said = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": body["model"] + "-2026",
        "output": [said] if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 17,
        }
        if status == "completed"
        else None,
    }


def response_events(body: Any) -> Iterator[tuple[str, Any]]:
    """The same, in pieces."""
    yield event("response.created", 0, response=response(body, "in_progress"))
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    yield event("response.output_item.added", 1, output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield event("response.content_part.added", 2, **place, part=part)
    for at, piece in enumerate(("Hello", " there")):
        yield event("response.output_text.delta", 3 + at, **place, delta=piece, logprobs=[])
    yield event("response.output_text.done", 5, **place, text=ANSWER, logprobs=[])
    yield event("response.completed", 6, response=response(body))


def event(kind: str, number: int, **members: Any) -> tuple[str, Any]:
    """An event of the responses API."""
    return kind, {"type": kind, "sequence_number": number, **members}


def completion(body: Any) -> Any:
    """A completion of the old kind."""
    choice = {"index": 0, "text": ANSWER, "finish_reason": "length", "logprobs": None}
    return head(body) | {"object": "text_completion", "choices": [choice], "usage": USAGE}


def completion_events(body: Any) -> Iterator[tuple[str, Any]]:
    """The same, in pieces."""
    yield "", completion(body)
    yield "", "[DONE]"


def embeddings(body: Any) -> Any:
    """Embeddings."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    used = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "model": body["model"], "data": data, "usage": used}


# ---- Anthropic -------------------------------------------------------------------------------------------

BLOCKS = {
    "text": {"type": "text", "text": ANSWER},
    "tool_use": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
}


def message(body: Any) -> Any:
    """A message."""
    kind = "tool_use" if body["model"] == "caller" else "text"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"] + "-2026",
        "content": [BLOCKS[kind]],
        "stop_reason": "tool_use" if kind == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 12,
            "output_tokens": 5,
            "cache_read_input_tokens": 8,
            "cache_creation_input_tokens": 2,
        },
    }


def message_events(body: Any) -> Iterator[tuple[str, Any]]:
    """The same, in pieces."""
    whole = message(body)
    began = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": began}
    if body["model"] == "caller":
        block = BLOCKS["tool_use"] | {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"city"', ': "Paris"}')]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in ("Hello", " there")]
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}}
    yield "message_stop", {"type": "message_stop"}


ANSWERS = {
    "/v1/chat/completions": chat,
    "/v1/responses": response,
    "/v1/completions": completion,
    "/v1/embeddings": embeddings,
    "/v1/messages": message,
    "/v1/messages/count_tokens": lambda body: {"input_tokens": 12},
}
EVENTS = {
    "/v1/chat/completions": chat_events,
    "/v1/responses": response_events,
    "/v1/completions": completion_events,
    "/v1/messages": message_events,
}


class Server(ThreadingHTTPServer):
    """The model."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: deque[tuple[str, dict[str, str], Any]] = deque(maxlen=16)
        """Path, headers and body of the last requests."""
        self.released = threading.Event()
        """Lets the endless streams go."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run the model for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
