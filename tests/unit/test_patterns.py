"""Regular expressions of routes as templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noops_agent.instrument.patterns import template


@pytest.mark.parametrize(
    ("pattern", "route"),
    [
        (r"/plain", "/plain"),
        (r"/users/(?P<id>\d+)$", "/users/{id}"),
        (r"^/x/([0-9]{4})/y\.html\Z", "/x/{}/y.html"),
        (r"/a/(.*)", "/a/{}"),
        (r"/a/((?:b|c)[)]x)/d", "/a/{}/d"),
        (r"/o(/p)?", "/o{}"),
        (r"/a/[a-z]+", "/a/[a-z]+"),
        (r"/a/\d+", r"/a/\d+"),
        (r"/a\$", "/a$"),
        (r"/a(b", "/a(b"),
        ("", ""),
    ],
)
def test_a_pattern_is_written_as_a_template(pattern: str, route: str) -> None:
    """Groups are variables; what cannot be read better stays as it is."""
    assert template(pattern) == route


@given(st.text())
def test_no_pattern_makes_it_raise(pattern: str) -> None:
    """Some are written by hand."""
    template(pattern)
