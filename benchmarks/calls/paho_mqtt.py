"""One message of MQTT 5 handed to a client that has no connection: it is written down, and kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = None
CONTRIB_PACKAGE = None
DDTRACE = None
REQUIRES = ("paho-mqtt",)


class Wire:
    """A socket that takes all."""

    def send(self, packet: bytes) -> int:
        """Take it."""
        return len(packet)


def prepare() -> Callable[[], object]:
    """Give the call: a real client on a socket that takes all at once."""
    import paho.mqtt.client as mqtt

    client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client._sock = Wire()
    client._host = "127.0.0.1"
    return lambda: client.publish("noops/benchmark", b"x")
