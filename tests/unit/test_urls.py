"""What a URL and a header may show, and what they may not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noops_agent.instrument.headers import REQUEST, RESPONSE, captured
from noops_agent.instrument.urls import Excluded, redacted_query, redacted_url, split


@pytest.mark.parametrize(
    "key",
    [
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Security-Token",
        "AWSAccessKeyId",
        "Signature",
        "sig",
        "X-Goog-Signature",
        "%73ig",
        "X%2DAmz%2DSignature",
    ],
)
def test_the_values_of_secret_keys_are_replaced_and_the_keys_stay(key: str) -> None:
    """A signed URL is a credential; its keys say that it was signed, which helps and harms nobody."""
    assert redacted_query(f"a=1&{key}=s3cr3t&b=2") == f"a=1&{key}=REDACTED&b=2"
    assert redacted_url(f"https://h/p?{key}=s3cr3t#top") == f"https://h/p?{key}=REDACTED#top"


@pytest.mark.parametrize("query", ["", "a=1&b=2", "SIG=1&signature=2", "sig", "sig=", "design=x", "a=%20", "x=sig=2"])
def test_other_queries_stay_as_they_are(query: str) -> None:
    """Keys are compared with their case, and nothing is encoded anew."""
    assert redacted_query(query) == query


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host/p", "https://REDACTED:REDACTED@host/p"),
        ("https://token@host/p", "https://REDACTED:REDACTED@host/p"),
        ("https://us@er:p@ss@host:1/p", "https://REDACTED:REDACTED@host:1/p"),
        ("https://user:pass@host?a=@", "https://REDACTED:REDACTED@host?a=@"),
        ("//user:pass@host", "//REDACTED:REDACTED@host"),
        ("https://host/@me?mail=a@b", "https://host/@me?mail=a@b"),
        ("mailto:a@b", "mailto:a@b"),
        ("https://host", "https://host"),
        ("https://u:p@h/?sig=1&sig=2", "https://REDACTED:REDACTED@h/?sig=REDACTED&sig=REDACTED"),
    ],
)
def test_a_url_shows_no_credentials(url: str, shown: str) -> None:
    """What stands before the host is replaced as the convention says; an @ elsewhere is no credential."""
    assert redacted_url(url) == shown


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://host/a/b?c=d#e", ("http", "host", None, "/a/b", "c=d")),
        ("HTTPS://user:pw@Example.COM:8443", ("https", "example.com", 8443, "", "")),
        ("http://[::1]:80/x", ("http", "::1", 80, "/x", "")),
        ("http://[fe80::1]?q", ("http", "fe80::1", None, "", "q")),
        ("http://host?a=http://other/", ("http", "host", None, "", "a=http://other/")),
        ("http://host:port/", ("http", "host", None, "/", "")),
        ("http://host:99999/", ("http", "host", None, "/", "")),
        ("http://host:/", ("http", "host", None, "/", "")),
        ("/path?x=1", ("", "", None, "/path", "x=1")),
        ("*", ("", "", None, "*", "")),
        ("", ("", "", None, "", "")),
    ],
)
def test_a_url_is_taken_apart(url: str, parts: tuple[Any, ...]) -> None:
    """`server.address` is the host alone: no port, no brackets, no credentials."""
    assert split(url) == parts


@given(st.text())
def test_no_text_makes_them_raise(text: str) -> None:
    """URLs come from users and from the network."""
    split(text)
    redacted_query(text)
    redacted_url(text)
    Excluded(("a",))(text)


def test_excluded_urls_are_found_anywhere_in_the_url(caplog: pytest.LogCaptureFixture) -> None:
    """Patterns mean what they mean to OpenTelemetry's packages: regular expressions, searched for."""
    excluded = Excluded("health, ^https://ads\\.,(?i)PING")
    assert [excluded(f"http://h/{path}") for path in ("healthz", "ping", "orders")] == [True, True, False]
    assert excluded("https://ads.example/")
    assert not Excluded(())
    assert not Excluded("")("http://h/health")


def test_a_bad_pattern_is_said_and_the_others_count(caplog: pytest.LogCaptureFixture) -> None:
    """A typing error in one pattern neither stops the program nor switches the others off."""
    with caplog.at_level(logging.WARNING, "noops_agent"):
        excluded = Excluded(("*/health", "ready"))
    assert "'*/health' is no regular expression" in caplog.text
    assert (excluded("http://h/health"), excluded("http://h/ready")) == (False, True)


def test_wanted_headers_are_attributes_with_all_their_values() -> None:
    """Names are regular expressions for whole names, and case doesn't matter."""
    headers = [("X-Trace", "1"), ("x-trace", "2"), ("X-Tracer", "3"), ("Content-Type", "a/b")]
    assert captured(REQUEST, ("x-trace", "CONTENT-.*"), headers) == {
        "http.request.header.x-trace": ["1", "2"],
        "http.request.header.content-type": ["a/b"],
    }
    assert captured(RESPONSE, ("b",), {b"B": b"\xe9", "C": "1"}) == {"http.response.header.b": ["é"]}
    assert captured(RESPONSE, ("b",), {"b": ["1", "2"]}) == {"http.response.header.b": ["1", "2"]}
    assert captured(RESPONSE, (), {"b": "1"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Api-Key",
        "apikey",
        "X-Auth",
        "X-Auth-Token",
        "X-Session-Id",
        "X-Amz-Security-Token",
        "X-CSRF-Token",
        "Ocp-Apim-Subscription-Key",
        "Private-Token",
    ],
)
def test_secret_headers_are_always_redacted(name: str) -> None:
    """Asking for all headers must not put passwords into a backend; no setting switches this off."""
    assert captured(REQUEST, (".*",), [(name, "s3cr3t")]) == {f"http.request.header.{name.lower()}": ["[REDACTED]"]}


def test_more_headers_are_redacted_where_the_user_says_so() -> None:
    """The fields to sanitize are found anywhere in a name, as in OpenTelemetry's packages."""
    headers = {"X-Customer": "Ann", "X-Authority": "a"}
    assert captured(REQUEST, (".*",), headers, ("customer",)) == {
        "http.request.header.x-customer": ["[REDACTED]"],
        "http.request.header.x-authority": ["a"],
    }


def test_a_bad_header_pattern_is_passed_over() -> None:
    """The good ones still count."""
    assert captured(REQUEST, ("*", "a"), {"a": "1", "*": "2"}) == {"http.request.header.a": ["1"]}
