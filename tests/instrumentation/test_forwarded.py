"""What headers tell of client, host and scheme: read as the RFCs say, and never at the cost of the request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noops_agent.instrument.forwarded import authority, first_address, first_scheme, forwarding, text, whole

VALUES = st.one_of(st.text(max_size=600), st.binary(max_size=600))


@pytest.mark.parametrize(
    ("value", "scheme", "told"),
    [
        ("shop.example", "http", ("shop.example", 80)),
        (b"Shop.Example:8000", "http", ("shop.example", 8000)),
        ("shop.example", "https", ("shop.example", 443)),
        ("shop.example", "gopher", ("shop.example", None)),
        ("[2001:DB8::1]:8000", "http", ("2001:db8::1", 8000)),
        ("[2001:db8::1]", "wss", ("2001:db8::1", 443)),
        ("user:secret@shop.example:1", "http", ("shop.example", 1)),
        ("first.example, second.example", "http", ("first.example", 80)),
        ("shop.example:99999", "http", ("shop.example", 80)),
        ("", "http", ("", 80)),
    ],
)
def test_a_host_is_told_apart_from_its_port(value: Any, scheme: str, told: tuple[str, int | None]) -> None:
    """`server.address` never holds the port, and never a user's name."""
    assert authority(value, scheme) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (b"203.0.113.7:80, 10.0.0.1", "203.0.113.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("_secret", ""),
        ("Unknown", ""),
    ],
)
def test_the_first_address_of_a_list_is_the_clients(value: Any, told: str) -> None:
    """Each proxy adds the one that it was called from."""
    assert first_address(value) == told


@pytest.mark.parametrize(
    ("value", "default", "told"),
    [("https", "http", "https"), (b"HTTPS, http", "http", "https"), ("https", "ws", "wss"), ("gopher", "http", "http")],
)
def test_a_scheme_is_one_of_http(value: Any, default: str, told: str) -> None:
    """Anything else would be a label that clients can make up."""
    assert first_scheme(value, default) == told


def test_the_first_element_of_the_standard_header_counts() -> None:
    """RFC 7239: the names are in any case, and values may be quoted."""
    value = 'For="[2001:db8::1]:99";PROTO=https;host="shop.example", for=10.0.0.1;proto=http'
    assert forwarding(value) == ("[2001:db8::1]:99", "shop.example", "https")


@pytest.mark.parametrize(
    ("value", "told"), [("12", 12), (b"12", 12), (12, 12), ("-1", None), ("²", None), ("", None), ("9" * 30, None)]
)
def test_a_length_is_a_whole_number(value: Any, told: int | None) -> None:
    """Or none at all."""
    assert whole(value) == told


@given(VALUES, st.sampled_from(["http", "https", "ws", ""]))
def test_no_value_raises(value: Any, scheme: str) -> None:
    """Anyone can send anything; what can't be read is no address, and what is read is text."""
    address, port = authority(value, scheme)
    assert isinstance(address, str)
    assert port is None or 0 <= port < 65536
    assert isinstance(first_address(value), str)
    assert isinstance(first_scheme(value, scheme), str)
    assert len(forwarding(value)) == 3
    assert whole(value) is None or whole(value) >= 0  # type: ignore[operator]
    assert isinstance(text(value), str)
