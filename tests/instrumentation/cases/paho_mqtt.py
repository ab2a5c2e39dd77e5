"""MQTT: a message that is published."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a message that nobody has subscribed to."""
    mqtt = pytest.importorskip("paho.mqtt.client")
    try:
        socket.create_connection(("127.0.0.1", 1883), 2).close()
    except OSError:
        pytest.skip("Mosquitto does not answer at 127.0.0.1:1883; start it with: mosquitto -d")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    client.connect("127.0.0.1", 1883)
    client.loop_start()
    assert ready.wait(5)
    topic = f"noops/test/{uuid.uuid4().hex}"
    try:
        yield [
            Case(
                "paho_mqtt",
                call=lambda: client.publish(topic, b"x").wait_for_publish(5),
                fails=lambda: client.publish("#", b"x"),
                many=2000,
            )
        ]
    finally:
        client.disconnect()
        client.loop_stop()
