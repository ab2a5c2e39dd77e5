"""MQTT against a real broker, in version 3 and 5."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

mqtt = pytest.importorskip("paho.mqtt.client")

from opentelemetry import trace  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402


def new_client(version: int) -> Any:
    """Make a client that isn't connected."""
    style = (mqtt.CallbackAPIVersion.VERSION2,) if hasattr(mqtt, "CallbackAPIVersion") else ()  # since 2.0
    return mqtt.Client(*style, protocol=version)


@contextmanager
def connected(version: int) -> Iterator[tuple[Any, str]]:
    """Give a connected client and a topic of its own."""
    try:
        socket.create_connection(("127.0.0.1", 1883), 2).close()
    except OSError:
        pytest.skip("Mosquitto does not answer at 127.0.0.1:1883; start it with: mosquitto -d")
    ready: queue.Queue[Any] = queue.Queue()
    client = new_client(version)
    client.on_connect = lambda *_: ready.put("connected")
    client.on_subscribe = lambda *_: ready.put("subscribed")
    client.connect("127.0.0.1", 1883)
    client.loop_start()
    topic = f"noops/test/{uuid.uuid4().hex}"
    try:
        assert ready.get(timeout=5) == "connected"
        client.subscribe(f"{topic}/#")
        assert ready.get(timeout=5) == "subscribed"
        yield client, topic
    finally:
        client.disconnect()
        client.loop_stop()


def both(seen: Seen) -> tuple[Any, Any]:
    """Give the only publish and the only processing."""
    (sent,) = [span for span in seen.spans if span.kind is SpanKind.PRODUCER]
    (processed,) = [span for span in seen.spans if span.kind is SpanKind.CONSUMER]
    return sent, processed


def exchange(seen: Seen, version: int, **given: Any) -> Any:
    """Publish a message and let it be processed; gives the message, and the span that was current then."""
    got: queue.Queue[Any] = queue.Queue()
    with connected(version) as (client, topic):
        client.on_message = lambda client, data, message: got.put((message, trace.get_current_span()))
        with seen.tracer.start_as_current_span("caller"):
            assert client.publish(f"{topic}/new", b"hello", **given).rc == 0
        return got.get(timeout=5)


def test_version_5_carries_the_context_in_user_properties(observed: Observe) -> None:
    """A message is processed as a child of its sender, and its callback runs in that span."""
    with observed("paho_mqtt") as seen:
        message, current = exchange(seen, mqtt.MQTTv5)
    sent, processed = both(seen)
    assert sent.parent.span_id == seen.named("caller").context.span_id
    assert processed.parent.span_id == sent.context.span_id
    assert current.get_span_context().span_id == processed.context.span_id
    assert {key for key, _ in message.properties.UserProperty} == {"traceparent", "noops-sent-at"}
    assert sent.name == f"publish {message.topic}"
    assert processed.name == f"process {message.topic}"
    assert sent.attributes == {
        "messaging.system": "mqtt",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": message.topic,
        "messaging.message.body.size": 5,
        "server.address": "127.0.0.1",
    }
    assert 0 <= processed.attributes["noops.messaging.dwell_time"] < 5


def test_properties_of_the_application_arrive_as_they_were(observed: Observe) -> None:
    """They are packed by paho, its own user properties first, and the object that was given isn't changed."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.CorrelationData = bytes(200)  # so that the length needs two bytes
    properties.UserProperty = ("mine", "1")
    before = properties.json()
    with observed("paho_mqtt") as seen:
        message, _ = exchange(seen, mqtt.MQTTv5, qos=1, properties=properties)
    assert properties.json() == before
    assert message.properties.ContentType == "text/plain"
    assert message.properties.CorrelationData == bytes(200)
    assert message.properties.UserProperty[0] == ("mine", "1")
    sent, processed = both(seen)
    assert processed.parent.span_id == sent.context.span_id


def test_what_is_packed_is_what_paho_would_have_packed() -> None:
    """Our way of writing user properties is only the faster one."""
    from noops_instrumentation.paho_mqtt import Extended, length

    given = Properties(PacketTypes.PUBLISH)
    given.ContentType = "text/plain"
    given.UserProperty = ("mine", "1")
    extended = Extended(given)
    extended("key", "välue")
    extended("other", "x" * 300)
    whole = Properties(PacketTypes.PUBLISH)
    whole.ContentType = "text/plain"
    whole.UserProperty = [("mine", "1"), ("key", "välue"), ("other", "x" * 300)]
    assert isinstance(extended, Properties)
    assert extended.pack() == whole.pack()
    assert str(extended) == str(whole)
    assert [length(number) for number in (0, 127, 128, 16383, 16384)] == [
        b"\x00",
        b"\x7f",
        b"\x80\x01",
        b"\xff\x7f",
        b"\x80\x80\x01",
    ]


def test_version_3_has_no_room_for_headers(observed: Observe) -> None:
    """Each side is told of, in a trace of its own."""
    with observed("paho_mqtt") as seen:
        message, _ = exchange(seen, mqtt.MQTTv311)
    sent, processed = both(seen)
    assert message.payload == b"hello"
    assert processed.parent is None
    assert processed.context.trace_id != sent.context.trace_id
    assert "noops.messaging.dwell_time" not in processed.attributes


def test_filtered_callbacks_share_the_span_of_their_message(observed: Observe) -> None:
    """A message that several callbacks get is processed once."""
    got: queue.Queue[int] = queue.Queue()

    def note(*_: Any) -> None:
        got.put(trace.get_current_span().get_span_context().span_id)

    with observed("paho_mqtt") as seen, connected(mqtt.MQTTv5) as (client, topic):
        client.message_callback_add(f"{topic}/#", note)
        client.message_callback_add(f"{topic}/+", note)
        client.publish(f"{topic}/new", "hello")
        current = {got.get(timeout=5), got.get(timeout=5)}
    assert current == {both(seen)[1].context.span_id}


def test_a_callback_that_raises_fails_its_span(observed: Observe) -> None:
    """paho lets it end its loop; so do we."""
    with observed("paho_mqtt") as seen:
        client = new_client(mqtt.MQTTv5)

        def fail(*_: Any) -> None:
            raise LookupError("no order 7")

        client.on_message = fail
        message = mqtt.MQTTMessage(0, b"orders")
        message.payload = b""
        with pytest.raises(LookupError):
            client._handle_on_message(message)
    assert seen.span.attributes["error.type"] == "LookupError"


def test_a_message_that_is_dropped_is_a_failure_and_one_that_waits_is_none(observed: Observe) -> None:
    """Without a connection only messages of a higher quality of service are kept."""
    with observed("paho_mqtt") as seen:
        client = new_client(mqtt.MQTTv5)
        for quality in (0, 1):
            assert client.publish("orders", b"", quality).rc == mqtt.MQTT_ERR_NO_CONN
    dropped, waiting = seen.spans
    assert dropped.attributes["error.type"] == "MQTT_ERR_NO_CONN"
    assert dropped.status.status_code is StatusCode.ERROR
    assert "error.type" not in waiting.attributes


def test_a_client_that_only_listens_to_the_wire_makes_no_spans(observed: Observe) -> None:
    """Without a callback nothing is processed."""
    with observed("paho_mqtt") as seen:
        client = new_client(mqtt.MQTTv5)
        client._handle_on_message(mqtt.MQTTMessage(0, b"orders"))
        with pytest.raises(ValueError):
            client.publish("orders/#", b"")
    assert [span.attributes["error.type"] for span in seen.spans] == ["ValueError"]


def test_the_import_of_the_client_brings_the_integration_in() -> None:
    """Its file is read while the package that it is for is still being imported."""
    code = (
        "from noops_agent._imports import on_import\n"
        "from noops_agent.instrument import registry\n"
        "on_import('paho.mqtt.client', registry.arrival('paho_mqtt'))\n"
        "import paho.mqtt.client\n"
        "print([report.state for report in registry.reports()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['patched']", done.stderr
