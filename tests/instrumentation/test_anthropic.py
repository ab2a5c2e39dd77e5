"""Anthropic's client against a model on the loopback: messages, streams, errors, and the library's own tracing."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from .fake_genai import ANSWER, KEY, Server, serving

anthropic = pytest.importorskip("anthropic")

SECRET = "the launch code is 0000"
ASKED: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": SECRET}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The model."""
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client of the model that does not try again."""
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as made:
        yield made


def asynchronous(server: Server) -> Any:
    """The asyncio client of the same model."""
    return anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, max_retries=0)


# ---- answers ---------------------------------------------------------------------------------------------


def test_a_message_is_described_in_the_conventions_words(observed: Any, client: Any, server: Server) -> None:
    """Cached tokens are part of the input, unlike in what the provider says."""
    with observed("anthropic") as seen:
        client.messages.create(
            model="m",
            **ASKED,
            stop_sequences=["END"],
            system="Be kind.",
            extra_body={"temperature": 0.5, "top_k": 3},  # no parameters any more since version 2
        )
    span = seen.span
    assert (span.name, span.kind, span.status.status_code) == ("chat m", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "server.address": "127.0.0.1",
        "server.port": server.server_address[1],
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 22,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_creation.input_tokens": 2,
    }


def test_the_asyncio_client_says_the_same(observed: Any, client: Any, server: Server) -> None:
    """Both flavours are one description."""

    async def ask() -> Any:
        async with asynchronous(server) as other:
            return await other.messages.create(model="m", **ASKED)

    with observed("anthropic") as seen:
        assert asyncio.run(ask()).content == client.messages.create(model="m", **ASKED).content
    first, second = seen.spans
    assert (first.name, dict(first.attributes)) == (second.name, dict(second.attributes))


def test_tokens_and_durations_are_measured(observed: Any, client: Any) -> None:
    """One point each for what went in, what came out, and how long it took."""
    with observed("anthropic") as seen:
        client.messages.create(model="m", **ASKED)
        metrics = seen.metrics()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 22, "output": 5}
    assert [point.count for point in metrics["gen_ai.client.operation.duration"]] == [1]


def test_the_beta_of_messages_is_observed(observed: Any, client: Any) -> None:
    """It is the same endpoint, with a query."""
    with observed("anthropic") as seen:
        client.beta.messages.create(model="m", **ASKED)
    assert seen.span.attributes["gen_ai.usage.output_tokens"] == 5


def test_a_raw_answer_is_read_without_touching_it(observed: Any, client: Any, server: Server) -> None:
    """Frameworks ask for the raw response, to see its headers; what is in it counts all the same."""

    async def ask() -> Any:
        async with asynchronous(server) as other:
            raw = await other.messages.with_raw_response.create(model="m", **ASKED)
            parsed = raw.parse()
            return await parsed if asyncio.iscoroutine(parsed) else parsed

    with observed("anthropic") as seen:
        raw = client.messages.with_raw_response.create(model="m", **ASKED)
        assert raw.parse().content[0].text == ANSWER
        assert asyncio.run(ask()).content[0].text == ANSWER
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in seen.spans] == [5, 5]


# ---- streams ---------------------------------------------------------------------------------------------


def test_a_stream_lasts_until_it_is_used_up(observed: Any, client: Any) -> None:
    """The span ends with the last event, and knows what the events said."""
    with observed("anthropic") as seen:
        stream = client.messages.create(model="m", **ASKED, stream=True)
        assert type(stream) is anthropic.Stream
        assert seen.spans == []
        kinds = [event.type for event in stream]
        metrics = seen.metrics()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    attributes = seen.span.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["gen_ai.usage.input_tokens"] == 22
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60
    assert metrics["gen_ai.client.operation.time_to_first_chunk"][0].count == 1


def test_an_asyncio_stream_says_the_same(observed: Any, server: Server) -> None:
    """With `async with` and `async for`."""

    async def ask() -> list[str]:
        async with asynchronous(server) as other:
            made = await other.messages.create(model="m", **ASKED, stream=True)
            assert type(made) is anthropic.AsyncStream
            async with made as stream:
                return [event.type async for event in stream]

    with observed("anthropic") as seen:
        assert asyncio.run(ask())[-1] == "message_stop"
    assert seen.span.attributes["gen_ai.usage.output_tokens"] == 5


def test_the_streaming_helper_makes_one_span(observed: Any, client: Any, server: Server) -> None:
    """It asks in its own way, and puts the pieces together itself."""

    async def ask() -> str:
        async with asynchronous(server) as other, other.messages.stream(model="m", **ASKED) as stream:
            return "".join([text async for text in stream.text_stream])

    with observed("anthropic") as seen:
        with client.messages.stream(model="m", **ASKED) as stream:
            assert "".join(stream.text_stream) == ANSWER
            assert stream.get_final_message().usage.output_tokens == 5
        assert asyncio.run(ask()) == ANSWER
    assert [span.name for span in seen.spans] == ["chat m", "chat m"]
    assert all(span.attributes["gen_ai.response.finish_reasons"] == ("end_turn",) for span in seen.spans)


def test_a_helper_that_is_left_early_has_ended(observed: Any, client: Any) -> None:
    """Leaving the block closes the connection."""
    with observed("anthropic") as seen:
        with client.messages.stream(model="m", **ASKED) as stream:
            next(stream)
        assert len(seen.spans) == 1
    assert seen.span.status.status_code is StatusCode.UNSET


def test_a_stream_that_is_dropped_has_ended(observed: Any, client: Any) -> None:
    """Nobody can read it any more."""
    with observed("anthropic") as seen:
        stream = client.messages.create(model="m", **ASKED, stream=True)
        next(stream)
        del stream
        gc.collect()
        assert len(seen.spans) == 1


def test_a_stream_that_breaks_off_is_an_error(observed: Any, client: Any) -> None:
    """The user gets the exception as it was, and the span its class."""
    with observed("anthropic") as seen, pytest.raises(Exception) as raised:
        list(client.messages.create(model="broken", **ASKED, stream=True))
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"].endswith(type(raised.value).__name__)


# ---- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "kind"), [("refused", "authentication_error"), ("busy", "rate_limit_error")])
def test_the_providers_type_is_the_type_of_the_error(observed: Any, client: Any, model: str, kind: str) -> None:
    """It says more than the class of the exception."""
    with observed("anthropic") as seen, pytest.raises(anthropic.APIStatusError):
        client.messages.create(model=model, **ASKED)
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == kind


def test_the_request_beneath_is_a_child(observed: Any, server: Server) -> None:
    """A call to a model has a meaning of its own, and the requests that it takes stay visible, with their status."""
    with observed("anthropic", "httpx") as seen, anthropic.Anthropic(base_url=server.url, api_key=KEY) as client:
        client.messages.create(model="m", **ASKED)
    request, call = seen.spans
    assert (call.name, request.name) == ("chat m", "POST")
    assert request.parent.span_id == call.context.span_id
    headers = {name.lower(): value for name, value in server.requests[-1][1].items()}
    assert f"{request.context.span_id:016x}" in headers["traceparent"]


# ---- the library's own tracing ---------------------------------------------------------------------------


def test_a_library_that_traces_by_itself_makes_no_second_span(
    observed: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """anthropic traces as soon as there is a provider; one call is one span all the same, also of a stream."""
    with observed("anthropic") as seen:
        monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", seen.tracer_provider)
        with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:
            client.messages.create(model="m", **ASKED)
            list(client.messages.create(model="m", **ASKED, stream=True))

        async def ask() -> None:
            async with asynchronous(server) as other:
                await other.messages.create(model="m", **ASKED)

        asyncio.run(ask())
    assert [span.name for span in seen.spans] == ["chat m"] * 3


def test_the_librarys_spans_of_other_calls_stay(observed: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not observed here is not taken away either."""
    pytest.importorskip("anthropic._tracing")
    with observed("anthropic") as seen:
        monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", seen.tracer_provider)
        with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:
            client.messages.count_tokens(model="m", messages=ASKED["messages"])
    assert [span.name for span in seen.spans] == ["anthropic.messages.count_tokens"]


# ---- what was said ---------------------------------------------------------------------------------------


def test_nothing_that_was_said_is_recorded(observed: Any, client: Any) -> None:
    """Prompts and answers are the user's."""
    with observed("anthropic") as seen:
        client.messages.create(model="caller", **ASKED)
        list(client.messages.create(model="m", **ASKED, stream=True))
    everything = str([dict(span.attributes) for span in seen.spans])
    assert SECRET not in everything
    assert ANSWER not in everything
    assert "Paris" not in everything


def test_what_was_said_is_recorded_where_asked_for(observed: Any, client: Any) -> None:
    """As messages of the convention, from an answer as from a stream."""
    with observed("anthropic", capture_message_content=True) as seen:
        client.messages.create(model="m", **ASKED, system="Be kind.")
        list(client.messages.create(model="m", **ASKED, system="Be kind.", stream=True))
    for span in seen.spans:
        given = json.loads(span.attributes["gen_ai.input.messages"])
        assert given == [{"role": "user", "parts": [{"type": "text", "content": SECRET}]}]
        said = json.loads(span.attributes["gen_ai.output.messages"])
        parts = [{"type": "text", "content": ANSWER}]
        assert said == [{"role": "assistant", "parts": parts, "finish_reason": "end_turn"}]
        assert "Be kind." in span.attributes["gen_ai.system_instructions"]


def test_calls_of_tools_are_recorded_where_asked_for(observed: Any, client: Any) -> None:
    """Their arguments come whole, or in pieces that are put together."""
    with observed("anthropic", capture_message_content=True) as seen:
        client.messages.create(model="caller", **ASKED)
        list(client.messages.create(model="caller", **ASKED, stream=True))
    whole, pieces = (json.loads(span.attributes["gen_ai.output.messages"])[0] for span in seen.spans)
    assert whole["finish_reason"] == pieces["finish_reason"] == "tool_use"
    assert whole["parts"][0]["arguments"] == {"city": "Paris"}
    assert json.loads(pieces["parts"][0]["arguments"]) == {"city": "Paris"}
