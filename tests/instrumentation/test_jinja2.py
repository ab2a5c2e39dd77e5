"""Templates: rendering, loading and compiling."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from .conftest import Observe

jinja2 = pytest.importorskip("jinja2")

TEMPLATES = {
    "page.html": "{% include 'part.html' %}, {{ name }}",
    "part.html": "hello",
    "broken.html": "{{ 1 // zero }}",
    "wrong.html": "{% if %}",
}


def environment(**options: Any) -> Any:
    return jinja2.Environment(loader=jinja2.DictLoader(TEMPLATES), **options)


def told(seen: Any) -> list[tuple[str, Any]]:
    return [(span.name, span.attributes["jinja2.template_name"]) for span in seen.spans]


def test_rendering_is_told_with_the_name_of_the_template(observed: Observe) -> None:
    """What it was rendered with is the user's data."""
    template = environment().get_template("part.html")
    with observed("jinja2") as seen:
        assert template.render(name="secret") == "hello"
    assert told(seen) == [("render part.html", "part.html")]
    assert "secret" not in str(dict(seen.span.attributes))


def test_loading_and_compiling_are_told_once(observed: Observe) -> None:
    """From then on the template comes from the cache, which is no operation. An included part is within its page."""
    with observed("jinja2") as seen:
        pages = environment()
        assert pages.get_template("page.html").render(name="Ann") == "hello, Ann"
        first = told(seen)
        seen.clear()
        pages.get_template("page.html").render(name="Ann")
    assert first == [
        ("compile page.html", "page.html"),
        ("load page.html", "page.html"),
        ("compile part.html", "part.html"),
        ("load part.html", "part.html"),
        ("render page.html", "page.html"),
    ]
    assert told(seen) == [("render page.html", "page.html")]


def test_a_template_that_is_loaded_tells_its_file(observed: Observe, tmp_path: Path) -> None:
    """Where it came from one."""
    (tmp_path / "mail.txt").write_text("dear")
    with observed("jinja2") as seen:
        jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path)).get_template("mail.txt")
    assert seen.named("load mail.txt").attributes["jinja2.template_path"] == str(tmp_path / "mail.txt")


def test_a_template_made_of_a_text_has_no_name(observed: Observe) -> None:
    """Nor is its text one."""
    with observed("jinja2") as seen:
        jinja2.Template("hello {{ name }}").render(name="Ann")
    assert told(seen) == [("compile <template>", "<template>"), ("render <template>", "<template>")]


def test_an_async_environment_makes_one_span_whichever_way_it_is_rendered(observed: Observe) -> None:
    """`render` runs the coroutine there, which would be told twice."""
    template = environment(enable_async=True).get_template("part.html")
    with observed("jinja2") as seen:
        assert template.render() == "hello"
        assert asyncio.run(template.render_async()) == "hello"
    assert [name for name, _ in told(seen)] == ["render part.html"] * 2


def test_a_stream_is_told_when_it_is_used_up(observed: Observe) -> None:
    """It renders while it is consumed."""
    template = environment().get_template("page.html")
    with observed("jinja2") as seen:
        parts = template.generate(name="Ann")
        assert seen.spans == []
        assert "".join(parts) == "hello, Ann"
        stream = template.stream(name="Ann")
        assert "".join(stream) == "hello, Ann"
    assert [name for name, _ in told(seen) if name.startswith("render")] == ["render page.html"] * 2


def test_an_async_stream_is_told_too(observed: Observe) -> None:
    """One span for all of its parts."""
    template = environment(enable_async=True).get_template("page.html")

    async def main() -> str:
        return "".join([part async for part in template.generate_async(name="Ann")])

    with observed("jinja2") as seen:
        assert asyncio.run(main()) == "hello, Ann"
    assert [name for name, _ in told(seen) if name.startswith("render")] == ["render page.html"]


def test_errors_are_told_and_raised_as_ever(observed: Observe) -> None:
    """A mistake in a template, and one that shows when it is rendered."""
    pages = environment()
    broken = pages.get_template("broken.html")
    with observed("jinja2") as seen:
        with pytest.raises(ZeroDivisionError):
            broken.render(zero=0)
        with pytest.raises(jinja2.TemplateSyntaxError):
            pages.get_template("wrong.html")
        with pytest.raises(jinja2.TemplateNotFound):
            pages.get_template("none.html")
    failed = [(span.name, span.attributes["error.type"]) for span in seen.spans]
    assert failed == [
        ("render broken.html", "ZeroDivisionError"),
        ("compile wrong.html", "jinja2.exceptions.TemplateSyntaxError"),
        ("load wrong.html", "jinja2.exceptions.TemplateSyntaxError"),
        ("load none.html", "jinja2.exceptions.TemplateNotFound"),
    ]
    assert {span.status.status_code for span in seen.spans} == {StatusCode.ERROR}


def test_an_environment_without_a_loader_complains_as_ever(observed: Observe) -> None:
    """Our look at its cache must not come first."""
    with observed("jinja2"), pytest.raises(TypeError, match="no loader"):
        jinja2.Environment().get_template("page.html")
