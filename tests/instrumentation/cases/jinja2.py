"""A template, rendered in both flavours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Render, and fail to; the async flavour has an environment of its own."""
    jinja2 = pytest.importorskip("jinja2")
    templates = {"page.html": "hello {{ name }}", "broken.html": "{{ 1 // zero }}"}
    loader = jinja2.DictLoader(templates)
    plain, later = (jinja2.Environment(loader=loader, enable_async=flavour) for flavour in (False, True))
    page, page_later = plain.get_template("page.html"), later.get_template("page.html")
    broken = plain.get_template("broken.html")

    def generate() -> str:
        return "".join(page.generate(name="Ann"))

    async def generate_later() -> str:
        return "".join([part async for part in page_later.generate_async(name="Ann")])

    yield [
        Case(
            "jinja2",
            lambda: page.render(name="Ann"),
            lambda: page_later.render_async(name="Ann"),
            fails=lambda: broken.render(zero=0),
            name="render",
        ),
        Case("jinja2", generate, generate_later, name="generate"),
    ]
