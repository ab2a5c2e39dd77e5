"""MQTT with paho: `publish`, and the callbacks for messages.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md; the convention doesn't know MQTT, so
`messaging.system` is a name of ours. MQTT 5.0, section 3.3.2.3.7 (User Property).

With MQTT 5 the context travels in user properties, and a message is processed as a child of its sender. MQTT 3 has no
room for headers: there a message begins a trace of its own. The callbacks that one message goes to are one span; a
client without any makes none. What `publish` returns says whether the client has taken the message: a message that
waits for a connection is no failure, one that is dropped is.
"""

from __future__ import annotations

from typing import Any, cast

from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from noops_agent.instrument import CONSUMER, PRODUCER, Args, Attributes, Call, Hook, Instrumentation, Kwargs, messaging
from noops_agent.instrument.leaf import Leaf

SYSTEM = "mqtt"
_DEFAULT_PORT = 1883
_NO_CONNECTION = 4
_ERRORS = {code: name for name, code in vars(mqtt).items() if name.startswith("MQTT_ERR_")}
_USER_PROPERTY = b"\x26"


class Extended(Properties):
    """The properties of a message with user properties of ours; those that the application made stay its own.

    paho looks at each of MQTT's 27 properties to write three of them down, which takes longer than all else that a
    publish does; what is known to be there is written directly.
    """

    def __init__(self, given: Any) -> None:
        state = self.__dict__  # `Properties` looks every attribute up among the names of MQTT's
        state.update(_EMPTY.__dict__ if given is None else given.__dict__)
        state["UserProperty"] = list(state.get("UserProperty", ()))
        state["_given"] = given
        state["_own"] = b""

    def __call__(self, key: str, value: str) -> None:
        """Add a user property."""
        state = self.__dict__
        state["UserProperty"].append((key, value))
        name, text = key.encode(), value.encode()
        state["_own"] += b"".join(
            (_USER_PROPERTY, len(name).to_bytes(2, "big"), name, len(text).to_bytes(2, "big"), text)
        )

    def pack(self) -> bytes:
        """Write the properties: their length, the application's own, and ours."""
        state = self.__dict__
        body = state["_own"] if state["_given"] is None else without_length(state["_given"].pack()) + state["_own"]
        return length(len(body)) + body


_EMPTY = cast(Any, Properties)(PacketTypes.PUBLISH)


def length(number: int) -> bytes:
    """Write a variable byte integer: seven bits a byte, the lowest first."""
    if number < 128:
        return bytes((number,))
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def without_length(packed: bytes) -> bytes:
    """Take the variable byte integer in front of packed properties away."""
    at = 0
    while packed[at] & 128:
        at += 1
    return packed[at + 1 :]


def _server(client: Any) -> tuple[str, int | None]:
    return client._host, None if client._port == _DEFAULT_PORT else client._port


def _size(payload: Any) -> int | None:
    """Give the bytes of a payload, where they need not be made to be counted."""
    if isinstance(payload, (bytes, bytearray)) or (isinstance(payload, str) and payload.isascii()):
        return len(payload)
    return None


def _publish(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    topic = args[0] if args else kwargs.get("topic")
    if not isinstance(topic, str):
        return None  # the client will say so
    payload = args[1] if len(args) > 1 else kwargs.get("payload")
    carrier = None
    if client._protocol == mqtt.MQTTv5:
        carrier = Extended(args[4] if len(args) > 4 else kwargs.get("properties"))
        if len(args) > 4:
            args = (*args[:4], carrier)
        else:
            kwargs["properties"] = carrier
    address, port = _server(client)
    call = messaging.send(
        SYSTEM,
        topic,
        carrier,
        operation="publish",
        address=address,
        port=port,
        body_size=_size(payload),
        args=args,
    )
    call.state = args[2] if len(args) > 2 else kwargs.get("qos", 0)
    return call


def _taken(call: Call, returned: Any) -> Attributes | None:
    """Tell of a message that the client didn't take; one of a higher quality of service waits for a connection."""
    code = returned.rc
    if code == 0 or (code == _NO_CONNECTION and call.state):
        return None
    return {"error.type": _ERRORS.get(code, str(code))}


def _delivered(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    message = args[0]
    if client.on_message is None and not client._on_message_filtered._root._children:
        return None
    properties = getattr(message, "properties", None)
    pairs = getattr(properties, "UserProperty", None)
    address, port = _server(client)
    return messaging.process(
        SYSTEM,
        message.topic,
        dict(pairs) if pairs else None,
        address=address,
        port=port,
        message_id=str(message.mid) if message.mid else None,
        body_size=len(message.payload),
    )


INSTRUMENTATION = Instrumentation(
    library="paho_mqtt",
    distribution="paho-mqtt",
    versions=">=1.6",
    hooks=(
        Leaf(
            "paho.mqtt.client:Client.publish",
            PRODUCER,
            _publish,
            result=_taken,
            duration=messaging.SENDING,
            layer=messaging.LAYER,
        ),
        Hook(
            "paho.mqtt.client:Client._handle_on_message",
            CONSUMER,
            _delivered,
            duration=messaging.PROCESSING,
        ),
    ),
)
