"""NATS against a real server, with JetStream."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

nats = pytest.importorskip("nats")

from opentelemetry import trace  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402

URL = "nats://127.0.0.1:4222"
Use = Callable[[Any, str], Awaitable[Any]]


def run(use: Use) -> Any:
    """Call a coroutine function with a client and a subject of its own."""

    async def inner() -> Any:
        try:
            client = await nats.connect(URL, allow_reconnect=False, connect_timeout=2)
        except Exception:
            pytest.skip("NATS does not answer at 127.0.0.1:4222; start it with: nats-server -a 127.0.0.1 -js")
        try:
            return await use(client, f"noops.test.{uuid.uuid4().hex}")
        finally:
            await client.close()

    return asyncio.run(inner())


async def on_a_stream(client: Any, subject: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Call a coroutine function with a JetStream context, while a stream keeps the subject."""
    stream = client.jetstream()
    name = subject.replace(".", "-")
    await stream.add_stream(name=name, subjects=[f"{subject}.>"], storage="memory")
    try:
        return await use(stream)
    finally:
        await stream.delete_stream(name)


def spans(seen: Seen, operation: str) -> list[Any]:
    """Give the spans of one operation."""
    return [span for span in seen.spans if span.attributes.get("messaging.operation.name") == operation]


def test_a_message_is_processed_as_a_child_of_its_sender(observed: Observe) -> None:
    """The headers carry the trace; what the callback does belongs to the message."""

    async def use(client: Any, subject: str) -> str:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def handle(message: Any) -> None:
            done.set_result((message.data, trace.get_current_span().get_span_context().span_id))

        await client.subscribe(subject, "workers", cb=handle)
        headers = {"mine": "1"}
        with seen.tracer.start_as_current_span("caller"):
            await client.publish(subject, b"hello", headers=headers)
        assert headers == {"mine": "1"}, "the caller's own headers stay its own"
        data, current = await asyncio.wait_for(done, 5)
        assert data == b"hello"
        await client.drain()
        assert current == spans(seen, "process")[0].context.span_id
        return subject

    with observed("nats") as seen:
        subject = run(use)
    (sent,), (processed,) = spans(seen, "publish"), spans(seen, "process")
    assert sent.kind is SpanKind.PRODUCER
    assert processed.kind is SpanKind.CONSUMER
    assert sent.parent.span_id == seen.named("caller").context.span_id
    assert processed.parent.span_id == sent.context.span_id
    assert sent.name == f"publish {subject}"
    assert processed.name == f"process {subject}"
    assert sent.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": subject,
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
    }
    assert processed.attributes["messaging.consumer.group.name"] == "workers"
    assert 0 <= processed.attributes["noops.messaging.dwell_time"] < 5
    metrics = seen.metrics()
    assert metrics["messaging.client.sent.messages"][0].value == 1
    assert metrics["messaging.process.duration"][0].count == 1


def test_a_callback_that_fails_fails_its_span_alone(observed: Observe) -> None:
    """The client hands the error to its own error callback, as without us."""

    async def use(client: Any, subject: str) -> None:
        errors: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def failed(error: Exception) -> None:
            errors.set_result(error)

        async def handle(message: Any) -> None:
            raise LookupError("no order 7")

        client._error_cb = failed
        await client.subscribe(subject, cb=handle)
        await client.publish(subject, b"")
        assert type(await asyncio.wait_for(errors, 5)) is LookupError

    with observed("nats") as seen:
        run(use)
    (processed,) = spans(seen, "process")
    assert processed.attributes["error.type"] == "LookupError"
    assert processed.status.status_code is StatusCode.ERROR


def test_a_request_lasts_until_its_answer_and_names_no_inbox(observed: Observe) -> None:
    """Inboxes are made up for each request; as names of spans they would be a series each."""

    async def use(client: Any, subject: str) -> None:
        async def answer(message: Any) -> None:
            await message.respond(b"pong")

        await client.subscribe(subject, cb=answer)
        reply = await client.request(subject, b"ping", timeout=5)
        assert reply.data == b"pong"
        await client.drain()

    with observed("nats") as seen:
        run(use)
    (asked,), (answered,), (processed,) = spans(seen, "request"), spans(seen, "publish"), spans(seen, "process")
    assert asked.kind is SpanKind.CLIENT
    assert processed.parent.span_id == asked.context.span_id
    assert answered.parent.span_id == processed.context.span_id
    assert answered.name == "publish"
    assert answered.attributes["messaging.destination.name"] == "_INBOX"
    assert answered.attributes["messaging.destination.temporary"] is True
    assert len(seen.spans) == 3


def test_a_request_without_an_answer_is_a_failure(observed: Observe) -> None:
    """The error is the client's own."""

    async def use(client: Any, subject: str) -> None:
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request(subject, b"", timeout=5)
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request(subject, b"", timeout=5, old_style=True)

    with observed("nats") as seen:
        run(use)
    (asked,) = spans(seen, "request")
    assert asked.attributes["error.type"] == "nats.errors.NoRespondersError"
    assert len(spans(seen, "publish")) == 1, "the old style has no headers for its request; its message is sent"


def test_a_loop_processes_each_message_until_it_asks_for_the_next(observed: Observe) -> None:
    """The body of the loop runs in the span of its message, and what comes after the loop in none."""

    async def use(client: Any, subject: str) -> list[int]:
        subscription = await client.subscribe(f"{subject}.*")
        for number in range(3):
            with seen.tracer.start_as_current_span("caller"):
                await client.publish(f"{subject}.{number}", b"")
        current = []
        async for _message in subscription.messages:
            current.append(trace.get_current_span().get_span_context().span_id)
            if len(current) == 3:
                break
        await subscription.unsubscribe()
        assert not trace.get_current_span().get_span_context().is_valid
        return current

    with observed("nats") as seen:
        current = run(use)
    sent, processed = spans(seen, "publish"), spans(seen, "process")
    assert [span.context.span_id for span in processed] == current
    assert [span.parent.span_id for span in processed] == [span.context.span_id for span in sent]
    assert len({span.name for span in processed}) == 1, "what was subscribed to is the name, not each subject"
    assert processed[0].attributes["messaging.destination.template"].endswith(".*")


def test_asking_for_a_message_links_to_its_sender_and_waiting_in_vain_is_nothing(observed: Observe) -> None:
    """A poller that finds nothing must not fill the backend with traces."""

    async def use(client: Any, subject: str) -> None:
        subscription = await client.subscribe(subject)
        with pytest.raises(nats.errors.TimeoutError):
            await subscription.next_msg(timeout=0.02)
        assert seen.spans == []
        await client.publish(subject, b"hello")
        with seen.tracer.start_as_current_span("caller"):
            message = await subscription.next_msg(timeout=5)
        assert message.data == b"hello"

    with observed("nats") as seen:
        run(use)
    (sent,), (received,) = spans(seen, "publish"), spans(seen, "receive")
    assert received.kind is SpanKind.CLIENT
    assert received.parent.span_id == seen.named("caller").context.span_id
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]


def test_jetstream_publishes_fetches_and_acknowledges(observed: Observe) -> None:
    """A batch links to each sender; the requests to the stream's own API are no messages."""

    async def use(client: Any, subject: str) -> None:
        async def stored(stream: Any) -> None:
            consumer = await stream.pull_subscribe(f"{subject}.new", "durable")
            with pytest.raises(nats.errors.TimeoutError):
                await consumer.fetch(1, timeout=0.02)
            assert seen.spans == [], "a fetch that finds nothing is not told of"
            for number in range(3):
                ack = await stream.publish(f"{subject}.new", b"order", headers={"Nats-Msg-Id": f"id-{number}"})
                assert ack.seq == number + 1
            messages = await consumer.fetch(3, timeout=5)
            assert len(messages) == 3
            await messages[0].ack()
            await messages[1].nak()
            await messages[2].ack_sync(timeout=5)

        await on_a_stream(client, subject, stored)

    with observed("nats") as seen:
        run(use)
    sent, (fetched,) = spans(seen, "publish"), spans(seen, "fetch")
    assert [span.attributes["messaging.message.id"] for span in sent] == ["id-0", "id-1", "id-2"]
    assert [link.context.span_id for link in fetched.links] == [span.context.span_id for span in sent]
    assert fetched.attributes["messaging.batch.message_count"] == 3
    assert fetched.attributes["messaging.destination.subscription.name"] == "durable"
    assert 0 <= fetched.attributes["noops.messaging.dwell_time"] < 5
    for operation in ("ack", "nak", "ack_sync"):
        (settled,) = spans(seen, operation)
        assert settled.attributes["messaging.operation.type"] == "settle"
    assert {span.attributes["messaging.operation.name"] for span in seen.spans} == {
        "publish",
        "fetch",
        "ack",
        "nak",
        "ack_sync",
    }


def test_a_push_consumer_processes_messages_that_wait_in_a_stream(observed: Observe) -> None:
    """The stream tells when each was stored, so that their dwell time needs no header of ours."""

    async def use(client: Any, subject: str) -> None:
        async def stored(stream: Any) -> None:
            await stream.publish(f"{subject}.new", b"order")
            done = asyncio.Event()

            async def handle(message: Any) -> None:
                assert "noops-sent-at" not in message.headers
                done.set()

            subscription = await stream.subscribe(f"{subject}.new", durable="pushed", cb=handle)
            await asyncio.wait_for(done.wait(), 5)
            await subscription.drain()

        await on_a_stream(client, subject, stored)

    with observed("nats") as seen:
        run(use)
    (sent,), (processed,), (settled,) = spans(seen, "publish"), spans(seen, "process"), spans(seen, "ack")
    assert processed.parent.span_id == sent.context.span_id
    assert processed.attributes["messaging.destination.subscription.name"] == "pushed"
    assert 0 <= processed.attributes["noops.messaging.dwell_time"] < 5
    assert settled.parent.span_id == processed.context.span_id


def test_keys_of_a_bucket_are_not_destinations(observed: Observe) -> None:
    """A bucket is a stream with a subject for each key."""

    async def use(client: Any, subject: str) -> str:
        stream = client.jetstream()
        bucket = subject.replace(".", "-")
        store = await stream.create_key_value(bucket=bucket, storage="memory")
        try:
            await store.put("user.7", b"secret")
            assert (await store.get("user.7")).value == b"secret"
        finally:
            await stream.delete_key_value(bucket)
        return bucket

    with observed("nats") as seen:
        bucket = run(use)
    assert {span.name for span in seen.spans} == {f"publish $KV.{bucket}"}


def test_messages_are_left_as_they_are_without_us(observed: Observe) -> None:
    """No header comes with a message once the library is disabled, and none that the caller didn't write before."""

    async def use(client: Any, subject: str) -> None:
        subscription = await client.subscribe(subject)
        await client.publish(subject, b"")
        assert "traceparent" in (await subscription.next_msg()).headers
        seen.handle.disable()  # type: ignore[union-attr]
        await client.publish(subject, b"")
        assert (await subscription.next_msg()).headers is None

    with observed("nats") as seen:
        run(use)
