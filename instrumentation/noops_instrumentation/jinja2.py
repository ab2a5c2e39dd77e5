"""Jinja templates: rendering, and, where they are not cached, loading and compiling.

No convention covers templates. The attributes are those that OpenTelemetry's own instrumentation has.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any

from noops_agent.instrument import INTERNAL, Args, Attributes, Call, Hook, Instrumentation, Kwargs

UNNAMED = "<template>"
"""Name of a template that was made of a text."""


@lru_cache(maxsize=4096)
def _span_name(verb: str, name: str | None) -> str:
    return f"{verb} {name or UNNAMED}"


def _described(verb: str, name: str | None) -> Call:
    return Call(_span_name(verb, name), {"jinja2.template_name": name or UNNAMED})


def _render(template: Any, args: Args, kwargs: Kwargs) -> Call | None:
    if template.environment.is_async:
        return None  # it runs the coroutine, which tells of itself
    name = template.name
    return Call(_span_name("render", name), {"jinja2.template_name": name or UNNAMED})


def _render_async(template: Any, args: Args, kwargs: Kwargs) -> Call:
    return _described("render", template.name)


def _load(environment: Any, args: Args, kwargs: Kwargs) -> Call | None:
    name = args[0] if args else kwargs["name"]
    cache = environment.cache
    if cache is not None and (weakref.ref(environment.loader), name) in cache:
        return None
    return _described("load", name)


def _loaded(call: Call, template: Any) -> Attributes | None:
    return {"jinja2.template_path": template.filename} if template.filename else None


def _compile(environment: Any, args: Args, kwargs: Kwargs) -> Call:
    return _described("compile", args[1] if len(args) > 1 else kwargs.get("name"))


INSTRUMENTATION = Instrumentation(
    library="jinja2",
    distribution="jinja2",
    versions=">=2.7",
    hooks=(
        Hook("jinja2.environment:Template.render", INTERNAL, _render),
        Hook("jinja2.environment:Template.render_async", INTERNAL, _render_async, optional=True),
        Hook("jinja2.environment:Template.generate", INTERNAL, _render),
        Hook("jinja2.environment:Template.generate_async", INTERNAL, _render_async, optional=True),
        Hook("jinja2.environment:Environment._load_template", INTERNAL, _load, result=_loaded),
        Hook("jinja2.environment:Environment.compile", INTERNAL, _compile),
    ),
)
