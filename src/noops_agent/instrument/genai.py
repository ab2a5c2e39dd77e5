"""Calls to generative models, in the words of the conventions: names, attributes, metrics, and streams.

These conventions are in development and move: whoever says one of their names says it from here.

An integration describes each endpoint of its library by an `Endpoint`, and observes them with a `Generation`. A call
ends with its answer, or, where that is a stream, once it is used up, closed or dropped. The user gets the library's
own stream: only the iterator inside is another one, that looks at what passes by.

What was said is recorded only where the option `capture_message_content` asks for it.

Source: OpenTelemetry semantic conventions for generative AI 1.42, docs/gen-ai/gen-ai-spans.md, gen-ai-metrics.md,
openai.md and anthropic.md.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from .._core import decorate
from .hook import Hook, Observed
from .model import Call, Duration

if TYPE_CHECKING:
    from .live import Live
    from .model import Args, Failure, Kwargs
    from .operation import Operation
    from .patch import Wrapper

CHAT = "chat"
TEXT_COMPLETION = "text_completion"
EMBEDDINGS = "embeddings"

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"
OUTPUT_TYPE = "gen_ai.output.type"

REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
REQUEST_ENCODING_FORMATS = "gen_ai.request.encoding_formats"
EMBEDDINGS_DIMENSION_COUNT = "gen_ai.embeddings.dimension.count"

RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"

USAGE_INPUT = "gen_ai.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"

INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"

LAYER = "gen_ai"
"""Layer of each hook that observes a call to a model."""

_KEYS = (OPERATION_NAME, PROVIDER_NAME, REQUEST_MODEL, RESPONSE_MODEL, "server.address", "server.port")
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)

OPERATION_DURATION = Duration(
    "gen_ai.client.operation.duration", "GenAI operation duration.", (*_KEYS, "error.type"), _SECONDS
)
TIME_TO_FIRST_CHUNK = Duration(
    "gen_ai.client.operation.time_to_first_chunk",
    "Time from the request to the first chunk of a streamed response.",
    _KEYS,
    _SECONDS,
)
TOKEN_USAGE = Duration(
    "gen_ai.client.token.usage",
    "Number of input and output tokens used.",
    _KEYS,
    tuple(4**power for power in range(14)),
    unit="{token}",
)

Found = dict[str, Any]
"""Attributes that have become known."""


# ---- what an integration says ----------------------------------------------------------------------------


Convert = Callable[[Any], Any]
"""A value of a request's body -> that of the attribute, or None where it has none."""


class Endpoint:
    """One operation of a library, and how to read what goes out and what comes back."""

    __slots__ = ("constants", "event", "fields", "input", "operation", "output", "response")

    def __init__(
        self,
        operation: str,
        *,
        fields: Mapping[str, str | tuple[str, Convert]],
        response: Callable[[Any], Found],
        constants: Mapping[str, str] | None = None,
        event: Callable[[Progress, Any], None] | None = None,
        input: Callable[[Mapping[str, Any]], Found] | None = None,
        output: Callable[[Any], list[Any]] | None = None,
    ) -> None:
        """
        Args:
            operation: `gen_ai.operation.name`.
            fields: Key of the request's body -> attribute; with a function, for values that aren't taken as they are.
            response: Reads a whole answer.
            constants: Attributes of each call.
            event: Reads one event of a stream.
            input: Reads what was said to the model; for the opt-in attributes.
            output: Reads what the model said, as messages of the convention; for the opt-in attribute.
        """
        self.operation = operation
        self.fields = {key: (field, plain) if isinstance(field, str) else field for key, field in fields.items()}
        self.response = response
        self.constants = {OPERATION_NAME: operation, **(constants or {})}
        self.event = event
        self.input = input
        self.output = output


def plain(value: Any) -> Any:
    """Take a value of a request's body as it is, where it is one that an attribute can have."""
    return value if isinstance(value, (str, int, float)) else None


def texts(value: Any) -> list[str] | None:
    """Take one text, or several."""
    if isinstance(value, str):
        return [value]
    return [str(text) for text in value] if isinstance(value, (list, tuple)) and value else None


class Progress:
    """What the events of one stream have told so far."""

    __slots__ = ("content", "found", "messages", "reasons")

    def __init__(self, content: bool) -> None:
        self.content = content
        """Whether what the model says is kept."""
        self.found: Found = {}
        self.reasons: dict[int, str] = {}
        """Finish reason of each choice."""
        self.messages: dict[int, dict[str, Any]] = {}
        """What each choice has said."""

    def say(self, choice: int, text: str) -> None:
        """Add a piece of text to what a choice has said, where that is kept."""
        if self.content and text:
            self.part(choice, "text", "content")["content"] += text

    def part(self, choice: int, kind: str, grows: str, **known: Any) -> dict[str, Any]:
        """Give the part of a choice's message that is being written: a new one where another kind of it begins."""
        parts = self.messages.setdefault(choice, {"role": "assistant", "parts": []})["parts"]
        if not parts or parts[-1]["type"] != kind or known:
            parts.append({"type": kind, **known, grows: ""})
        made: dict[str, Any] = parts[-1]
        return made

    def attributes(self) -> Found:
        """Give all that is known, in the form of attributes."""
        found = self.found
        if self.reasons:
            found[RESPONSE_FINISH_REASONS] = [self.reasons[choice] for choice in sorted(self.reasons)]
        if self.messages:
            for choice, message in self.messages.items():
                message["finish_reason"] = self.reasons.get(choice, "")
            found[OUTPUT_MESSAGES] = written([self.messages[choice] for choice in sorted(self.messages)])
        return found


def usage(
    found: Found, given: int | None, made: int | None, read: Any = None, created: Any = None, reasoning: Any = None
) -> None:
    """Put the numbers of tokens into the attributes.

    Args:
        found: The attributes.
        given: Of the input, cached ones included.
        made: Of the output.
        read: Of the input, from a cache.
        created: Of the input, written to a cache.
        reasoning: Of the output, for reasoning.
    """
    if isinstance(given, int):
        found[USAGE_INPUT] = given
    if isinstance(made, int):
        found[USAGE_OUTPUT] = made
    for name, number in ((USAGE_CACHE_READ, read), (USAGE_CACHE_CREATION, created), (USAGE_REASONING, reasoning)):
        if number and isinstance(number, int):
            found[name] = number


def told(found: Found, **attributes: Any) -> Found:
    """Put texts under names of this module's into the attributes, those that there are."""
    for name, value in attributes.items():
        if isinstance(value, str) and value:
            found[globals()[name]] = value
    return found


def written(messages: Any) -> str:
    """Write messages as the conventions want them in an attribute that can't be structured."""
    return json.dumps(messages, ensure_ascii=False, default=str)


def members(thing: Any) -> Mapping[str, Any]:
    """Give what an object holds, also what its class doesn't know of yet.

    Asking for an attribute won't do: a model of pydantic takes microseconds to say that it lacks one.
    """
    if type(thing) is dict:
        return thing
    held: Mapping[str, Any] = getattr(thing, "__dict__", _NOTHING)
    extra = getattr(thing, "__pydantic_extra__", None)
    return {**held, **extra} if extra else held


_NOTHING: Mapping[str, Any] = {}


@lru_cache(maxsize=256)
def is_stream(kind: type) -> bool:
    """Whether objects of a class are streams of events, with the iterator that makes them inside."""
    return hasattr(kind, "__stream__")


@lru_cache(maxsize=256)
def service(provider: str, scheme: str, host: str, port: int | None) -> Found:
    """Give the attributes of where the model is; the conventions want its port whichever it is."""
    return {
        PROVIDER_NAME: provider,
        "server.address": host,
        "server.port": port or (80 if scheme == "http" else 443),
    }


def body_of(options: Any) -> Mapping[str, Any] | None:
    """Give the body of a request's options, as both libraries have them, with what the user adds to it by hand."""
    body = options.json_data
    if not isinstance(body, Mapping):
        return None
    extra = getattr(options, "extra_json", None)
    return {**body, **extra} if extra else body


def described(endpoint: Endpoint, body: Mapping[str, Any], place: Found, streamed: bool) -> Call:
    """Describe a call by the body of its request."""
    attributes: Found = endpoint.constants | place
    fields = endpoint.fields
    for key, value in body.items():
        if key in fields and value is not None:
            attribute, convert = fields[key]
            value = convert(value)
            if value is not None:
                attributes[attribute] = value
    if streamed:
        attributes[REQUEST_STREAM] = True
    model = attributes.get(REQUEST_MODEL)
    return Call(f"{endpoint.operation} {model}" if model else endpoint.operation, attributes, state=(endpoint, body))


# ---- observing -------------------------------------------------------------------------------------------


class Generation(Hook):
    """A span, and the measurements, of each call to a model; its describer makes calls with `described`."""

    def __init__(self, target: str, describe: Any, *, error: Failure | None = None, optional: bool = False) -> None:
        """
        Args:
            target: "module:Qualified.name" of what sends a request and gives the answer, the stream, or a raw response.
            describe: Gives what `described` made; None where the request is for no model.
            error: Says what is known from an exception.
            optional: The target is missing in some supported versions.
        """
        super().__init__(
            target,
            SpanKind.CLIENT,
            describe,
            error=error,
            duration=OPERATION_DURATION,
            layer=LAYER,
            optional=optional,
        )

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper of the original's kind."""
        observed = Observed(self, live, bound)
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):
            return _coroutine(original, observed)
        return _plain(original, observed)


def _plain(original: Wrapper, observed: Observed) -> Wrapper:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        exchange = _begun(observed, args, kwargs)
        if exchange is None:
            return original(*args, **kwargs)
        exchange.operation.attach()
        try:
            returned = original(*args, **kwargs)
        except BaseException as error:
            exchange.end(error)
            raise
        finally:
            exchange.operation.detach()
        exchange.answered(returned)
        return returned

    return call


def _coroutine(original: Wrapper, observed: Observed) -> Wrapper:
    @functools.wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        exchange = _begun(observed, args, kwargs)
        if exchange is None:
            return await original(*args, **kwargs)
        exchange.operation.attach()
        try:
            returned = await original(*args, **kwargs)
        except BaseException as error:
            exchange.end(error)
            raise
        finally:
            exchange.operation.detach()
        exchange.answered(returned)
        return returned

    return call


def _begun(observed: Observed, args: Args, kwargs: Kwargs) -> Exchange | None:
    operation = observed.begin(args, kwargs)
    return None if operation is None else Exchange(observed, operation)


class Exchange:
    """One call to a model, from its request to the last of its answer. Nothing in here raises into the caller."""

    __slots__ = (
        "_began",
        "_content",
        "_ended",
        "_endpoint",
        "_first_s",
        "_live",
        "_observed",
        "_progress",
        "operation",
    )

    def __init__(self, observed: Observed, operation: Operation) -> None:
        self.operation = operation
        self._observed = observed
        live = self._live = observed.live
        self._endpoint, body = operation.call.state
        operation.call.state = None
        self._ended = False
        self._first_s: float | None = None
        self._progress: Progress | None = None
        self._content = operation.recording and bool(live.instrumentation.options.get("capture_message_content"))
        if self._content and self._endpoint.input is not None:
            try:
                operation.add(self._endpoint.input(body))
            except Exception as problem:
                live.failed("input", problem)
        self._began = time.perf_counter()

    def answered(self, returned: Any) -> None:
        """Take the answer: read it, or follow it where it is a stream."""
        try:
            answer = _opened(returned)
            kind: Any = type(answer)
            iterator = answer._iterator if is_stream(kind) else None
            if iterator is not None:
                self._progress = Progress(self._content)
                tap = AsyncTap if hasattr(iterator, "__anext__") else Tap
                answer.__dict__["_iterator"] = tap(iterator, self)
                return
        except Exception as problem:
            self._live.failed("answer", problem)
            answer = None
        self.end(None, answer)

    def event(self, item: Any) -> None:
        """Look at one event of the stream."""
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._began
        if self._endpoint.event is not None and self._progress is not None:
            try:
                self._endpoint.event(self._progress, item)
            except Exception as problem:
                if self._live.failed(self._endpoint.operation, problem):
                    self._endpoint.event = None

    def end(self, error: BaseException | None = None, answer: Any = None) -> None:
        """End the call with what is known of it; only the first time."""
        if self._ended:
            return
        self._ended = True
        found: Found = {}
        try:
            if self._progress is not None:
                found = self._progress.attributes()
            elif answer is not None:
                found = self._read(answer)
            if self._first_s is not None:
                found[RESPONSE_TIME_TO_FIRST_CHUNK] = self._first_s
        except Exception as problem:
            self._live.failed("answer", problem)
        if error is None:
            self.operation.respond(answer)
        self.operation.close(error, found, self._observed.hook.error)
        try:
            self._measure()
        except Exception as problem:
            self._live.failed("measure", problem)

    def _read(self, answer: Any) -> Found:
        found: Found = self._endpoint.response(answer)
        if self._content and self._endpoint.output is not None:
            found[OUTPUT_MESSAGES] = written(self._endpoint.output(answer))
        return found

    def _measure(self) -> None:
        """Record tokens and the time to the first chunk, sampled or not."""
        attributes = self.operation.call.attributes
        labels = {key: attributes[key] for key in _KEYS if key in attributes}
        for kind, name in (("input", USAGE_INPUT), ("output", USAGE_OUTPUT)):
            if name in attributes:
                self._live.record(TOKEN_USAGE, attributes[name], {**labels, TOKEN_TYPE: kind}, True)
        if self._first_s is not None:
            self._live.record(TIME_TO_FIRST_CHUNK, self._first_s, labels, True)


def _opened(returned: Any) -> Any:
    """Give the answer inside a raw response: out of the body that has been read, or the stream that it keeps.

    A body that the user is going to read by hand is left to them, and a stream that only they can await.
    """
    response = members(returned).get("http_response")
    if response is None:
        return returned
    if response.is_closed:
        return json.loads(response.content, object_hook=lambda members: SimpleNamespace(**members))
    streams = getattr(returned, "_is_sse_stream", False) or getattr(returned, "_stream", False)
    if streams and not decorate.flags_of(type(returned).parse) & decorate.CO_COROUTINE:
        return returned.parse()
    return None


# ---- streams ---------------------------------------------------------------------------------------------


class Tap:
    """The iterator inside a library's stream: passes each event on, and shows it to the exchange."""

    __slots__ = ("__weakref__", "_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> Tap:
        return self

    def __next__(self) -> Any:
        try:
            item = self._inner.__next__()
        except StopIteration:
            self._exchange.end()
            raise
        except BaseException as error:
            self._exchange.end(error)
            raise
        self._exchange.event(item)
        return item

    def close(self) -> None:
        """Close the iterator; the call has ended."""
        self._inner.close()
        self._exchange.end()

    def end(self) -> None:
        """End the call: the stream was closed."""
        self._exchange.end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __del__(self) -> None:
        self._exchange.end()


class AsyncTap:
    """The same, for an asynchronous stream."""

    __slots__ = ("__weakref__", "_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __aiter__(self) -> AsyncTap:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._inner.__anext__()
        except StopAsyncIteration:
            self._exchange.end()
            raise
        except BaseException as error:
            self._exchange.end(error)
            raise
        self._exchange.event(item)
        return item

    async def aclose(self) -> None:
        """Close the iterator; the call has ended."""
        await self._inner.aclose()
        self._exchange.end()

    def end(self) -> None:
        """End the call: the stream was closed."""
        self._exchange.end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __del__(self) -> None:
        self._exchange.end()


def closed(stream: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    """End the call of a stream that its user has closed: the change of an `After` at the `close` of a library.

    The stream may be the library's own, or one of its helpers with that inside.
    """
    for found in (stream, getattr(stream, "_raw_stream", None)):
        tap = vars(found).get("_iterator") if hasattr(found, "__dict__") else None
        if isinstance(tap, (Tap, AsyncTap)):
            tap.end()
    return returned
