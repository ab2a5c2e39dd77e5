"""One template, rendered."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.jinja2:Jinja2Instrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-jinja2"
DDTRACE = "jinja2"
REQUIRES = ("jinja2",)


def prepare() -> Callable[[], object]:
    """A text with one name in it."""
    import jinja2

    template = jinja2.Environment(loader=jinja2.DictLoader({"page.html": "hello {{ name }}"})).get_template("page.html")
    return lambda: template.render(name="Ann")
