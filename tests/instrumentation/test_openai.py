"""OpenAI's client against a model on the loopback: answers, streams, errors, and what stays at home."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .fake_genai import ANSWER, KEY, Server, serving

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

SECRET = "the launch code is 0000"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": SECRET}]


class Greeting(pydantic.BaseModel):
    """A structured answer."""

    greeting: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The model."""
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client of the model that does not try again."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def asynchronous(server: Server) -> Any:
    """The asyncio client of the same model."""
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def port_of(server: Server) -> int:
    """The port that is in the attributes."""
    port: int = server.server_address[1]
    return port


# ---- answers ---------------------------------------------------------------------------------------------


def test_a_chat_is_described_in_the_conventions_words(observed: Any, client: Any, server: Server) -> None:
    """The request's settings, the answer's origin and its price; nothing of what was said."""
    with observed("openai") as seen:
        client.chat.completions.create(
            model="m", messages=MESSAGES, temperature=0.5, max_tokens=9, stop="END", n=2, seed=7, top_p=1
        )
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("chat m", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "server.address": "127.0.0.1",
        "server.port": port_of(server),
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.choice.count": 2,
        "openai.api.type": "chat_completions",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "openai.response.service_tier": "default",
        "openai.response.system_fingerprint": "fp_1",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 3,
    }


def test_a_response_says_the_same(observed: Any, client: Any) -> None:
    """The younger API has other words for all of it."""
    with observed("openai") as seen:
        client.responses.create(model="m", input=SECRET, max_output_tokens=9, conversation="conv_1")
    attributes = seen.span.attributes
    assert seen.span.name == "chat m"
    assert attributes["openai.api.type"] == "responses"
    assert attributes["gen_ai.conversation.id"] == "conv_1"
    assert attributes["gen_ai.request.max_tokens"] == 9
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 12
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 8
    assert SECRET not in str(dict(attributes))


def test_embeddings_and_completions_have_operations_of_their_own(observed: Any, client: Any) -> None:
    """An embedding has no output to count."""
    with observed("openai") as seen:
        client.embeddings.create(model="e", input=SECRET, dimensions=2, encoding_format="float")
        client.completions.create(model="c", prompt=SECRET)
    first, second = seen.spans
    assert (first.name, second.name) == ("embeddings e", "text_completion c")
    assert first.attributes["gen_ai.embeddings.dimension.count"] == 2
    assert first.attributes["gen_ai.request.encoding_formats"] == ("float",)
    assert first.attributes["gen_ai.usage.input_tokens"] == 4
    assert "gen_ai.usage.output_tokens" not in first.attributes
    assert second.attributes["gen_ai.response.finish_reasons"] == ("length",)


def test_the_asyncio_client_says_the_same(observed: Any, client: Any, server: Server) -> None:
    """Both flavours are one description."""

    async def ask() -> Any:
        async with asynchronous(server) as other:
            return await other.chat.completions.create(model="m", messages=MESSAGES)

    with observed("openai") as seen:
        bare = client.chat.completions.create(model="m", messages=MESSAGES)
        assert asyncio.run(ask()) == bare
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_tokens_and_durations_are_measured(observed: Any, client: Any) -> None:
    """One point each for what went in, what came out, and how long it took."""
    with observed("openai") as seen:
        client.chat.completions.create(model="m", messages=MESSAGES)
        metrics = seen.metrics()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 12, "output": 5}
    (duration,) = metrics["gen_ai.client.operation.duration"]
    assert duration.count == 1
    assert duration.attributes["gen_ai.response.model"] == "m-2026"
    assert "gen_ai.client.operation.time_to_first_chunk" not in metrics


def test_helpers_that_parse_make_one_span(observed: Any, client: Any) -> None:
    """They ask in their own way, and all of them go the same way out."""
    with observed("openai") as seen:
        first = client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Greeting)
        second = client.responses.parse(model="m", input="hi", text_format=Greeting)
    assert first.choices[0].message.parsed == second.output_parsed == Greeting(greeting="Hello")
    assert [span.name for span in seen.spans] == ["chat m", "chat m"]
    assert [span.attributes["gen_ai.output.type"] for span in seen.spans] == ["json", "json"]


def test_a_raw_answer_is_read_without_touching_it(observed: Any, client: Any, server: Server) -> None:
    """Frameworks ask for the raw response, to see its headers; what is in it counts all the same."""

    async def ask() -> Any:
        async with asynchronous(server) as other:
            raw = await other.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
            return raw.parse()

    with observed("openai") as seen:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        assert raw.parse().choices[0].message.content == ANSWER
        assert asyncio.run(ask()).choices[0].message.content == ANSWER
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in seen.spans] == [5, 5]


def test_a_client_made_earlier_is_observed(observed: Any, server: Server) -> None:
    """Its resources were bound before anything was patched."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY) as early:
        completions = early.chat.completions
        with observed("openai") as seen:
            completions.create(model="m", messages=MESSAGES)
    assert seen.span.name == "chat m"


def test_other_requests_of_the_client_are_left_alone(observed: Any, client: Any) -> None:
    """A list of models is no call to one."""
    with observed("openai") as seen, pytest.raises(openai.APIError):
        client.models.list()
    assert seen.spans == []


# ---- streams ---------------------------------------------------------------------------------------------


def test_a_stream_lasts_until_it_is_used_up(observed: Any, client: Any) -> None:
    """The span ends with the last piece, and knows what the pieces said."""
    with observed("openai") as seen:
        stream = client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        assert type(stream) is openai.Stream
        assert seen.spans == []
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        metrics = seen.metrics()
    assert text == ANSWER
    attributes = seen.span.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60
    assert metrics["gen_ai.client.operation.time_to_first_chunk"][0].count == 1
    assert len(metrics["gen_ai.client.token.usage"]) == 2


def test_an_asyncio_stream_says_the_same(observed: Any, server: Server) -> None:
    """With `async with` and `async for`."""

    async def ask() -> str:
        async with asynchronous(server) as other:
            made = await other.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            assert type(made) is openai.AsyncStream
            async with made as stream:
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    with observed("openai") as seen:
        assert asyncio.run(ask()) == ANSWER
    assert seen.span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert seen.span.attributes["gen_ai.response.model"] == "m-2026"


def test_a_stream_that_is_closed_has_ended(observed: Any, client: Any) -> None:
    """Whoever has read enough closes it; that is no error."""
    with observed("openai") as seen:
        with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
            next(stream)
        assert len(seen.spans) == 1
    assert seen.span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.finish_reasons" not in seen.span.attributes


def test_a_stream_that_is_dropped_has_ended(observed: Any, client: Any) -> None:
    """Nobody can read it any more."""
    with observed("openai") as seen:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        next(stream)
        del stream
        gc.collect()
        assert len(seen.spans) == 1


def test_a_stream_that_breaks_off_is_an_error(observed: Any, client: Any) -> None:
    """The user gets the library's exception, and the span its class."""
    with observed("openai") as seen, pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(model="broken", messages=MESSAGES, stream=True))
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == "openai.APIConnectionError"
    assert seen.span.attributes["gen_ai.response.id"] == "chatcmpl-1"


def test_a_cancelled_stream_is_no_error(observed: Any, server: Server) -> None:
    """Who cancels has changed their mind; the exception goes its way."""

    async def ask() -> None:
        async with asynchronous(server) as other:
            stream = await other.chat.completions.create(model="endless", messages=MESSAGES, stream=True)
            started = asyncio.Event()

            async def read() -> None:
                async for _ in stream:
                    started.set()

            task = asyncio.create_task(read())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with observed("openai") as seen:
        asyncio.run(ask())
    assert seen.span.status.status_code is StatusCode.UNSET
    assert seen.span.attributes["error.type"].endswith("CancelledError")


def test_a_streamed_response_says_the_same(observed: Any, client: Any) -> None:
    """Its last event has the whole answer."""
    with observed("openai") as seen:
        kinds = [event.type for event in client.responses.create(model="m", input=SECRET, stream=True)]
    assert kinds[-1] == "response.completed"
    assert seen.span.attributes["gen_ai.usage.output_tokens"] == 5
    assert seen.span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_helpers_that_stream_make_one_span(observed: Any, client: Any, server: Server) -> None:
    """They wrap the stream, and put the pieces together themselves."""

    async def ask() -> str:
        async with asynchronous(server) as other, other.responses.stream(model="m", input="hi") as stream:
            return (await stream.get_final_response()).output_text

    with observed("openai") as seen:
        with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            assert stream.get_final_completion().choices[0].message.content == ANSWER
        assert asyncio.run(ask()) == ANSWER
    assert [span.name for span in seen.spans] == ["chat m", "chat m"]
    assert all(span.attributes["gen_ai.response.finish_reasons"] == ("stop",) for span in seen.spans)


def test_a_helper_that_is_left_early_has_ended(observed: Any, client: Any) -> None:
    """It closes the connection by another way than the stream does."""
    with observed("openai") as seen:
        with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            next(stream)
        assert len(seen.spans) == 1


def test_a_raw_stream_is_followed(observed: Any, client: Any) -> None:
    """The user parses it themselves, and gets the same stream each time."""
    with observed("openai") as seen:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES, stream=True)
        stream = raw.parse()
        assert stream is raw.parse()
        assert len(list(stream)) == 4
    assert seen.span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


# ---- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "code"), [("refused", "invalid_api_key"), ("busy", "rate_limit_exceeded")])
def test_the_providers_code_is_the_type_of_the_error(observed: Any, client: Any, model: str, code: str) -> None:
    """It says more than the class of the exception."""
    with observed("openai") as seen:
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=model, messages=MESSAGES)
        (point,) = seen.metrics()["gen_ai.client.operation.duration"]
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == point.attributes["error.type"] == code


def test_retries_are_inside_of_one_span(observed: Any, server: Server) -> None:
    """The user asked once."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=1) as client, observed("openai") as seen:
        server.requests.clear()
        client._calculate_retry_timeout = lambda *given: 0
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="busy", messages=MESSAGES)
        assert len(server.requests) == 2
    assert seen.span.name == "chat busy"


# ---- what was said ---------------------------------------------------------------------------------------


def test_nothing_that_was_said_is_recorded(observed: Any, client: Any) -> None:
    """Prompts and answers are the user's."""
    with observed("openai") as seen:
        client.chat.completions.create(model="caller", messages=MESSAGES)
        list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    everything = str([dict(span.attributes) for span in seen.spans])
    assert SECRET not in everything
    assert ANSWER not in everything
    assert "Paris" not in everything


def test_what_was_said_is_recorded_where_asked_for(observed: Any, client: Any) -> None:
    """As messages of the convention, from an answer as from a stream."""
    with observed("openai", capture_message_content=True) as seen:
        client.chat.completions.create(model="m", messages=MESSAGES)
        list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    for span in seen.spans:
        given = json.loads(span.attributes["gen_ai.input.messages"])
        assert given[1] == {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
        said = json.loads(span.attributes["gen_ai.output.messages"])
        parts = [{"type": "text", "content": ANSWER}]
        assert said == [{"role": "assistant", "parts": parts, "finish_reason": "stop"}]


def test_calls_of_tools_are_recorded_where_asked_for(observed: Any, client: Any) -> None:
    """Their arguments come whole, or in pieces that are put together."""
    with observed("openai", capture_message_content=True) as seen:
        client.chat.completions.create(model="caller", messages=MESSAGES)
        list(client.chat.completions.create(model="caller", messages=MESSAGES, stream=True))
        client.responses.create(model="m", input="hi", instructions="Be kind.")
    call = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
    for span in seen.spans[:2]:
        assert json.loads(span.attributes["gen_ai.output.messages"])[0]["parts"] == [call]
        assert span.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert "Be kind." in seen.spans[2].attributes["gen_ai.system_instructions"]
    assert ANSWER in seen.spans[2].attributes["gen_ai.output.messages"]


def test_the_request_beneath_is_a_child(observed: Any, server: Server) -> None:
    """A call to a model has a meaning of its own, and the requests that it takes stay visible, with their status."""
    with observed("openai", "httpx") as seen, openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
    request, call = seen.spans
    assert (call.name, request.name) == ("chat m", "POST")
    assert request.parent.span_id == call.context.span_id
    headers = {name.lower(): value for name, value in server.requests[-1][1].items()}
    assert f"{request.context.span_id:016x}" in headers["traceparent"]


# ---- what the user's program sees ------------------------------------------------------------------------


def test_what_goes_over_the_wire_is_the_same(observed: Any, client: Any, server: Server) -> None:
    """A request is what it would have been."""
    client.chat.completions.create(model="m", messages=MESSAGES)
    with observed("openai"):
        client.chat.completions.create(model="m", messages=MESSAGES)
    (_, _, bare), (_, _, ours) = list(server.requests)[-2:]
    assert bare == ours
