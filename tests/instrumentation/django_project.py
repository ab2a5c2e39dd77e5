"""A Django project in one file: what the tests of Django make requests to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import django
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path
from django.views import View
from opentelemetry import trace


class Failing:
    """A middleware that makes a response of some exceptions, and raises some of its own."""

    sync_capable = async_capable = True

    def __new__(cls, get_response: Callable[..., Any]) -> Any:
        """Give the middleware of the kind that is asked for."""
        import asyncio

        made = super().__new__(cls)
        if asyncio.iscoroutinefunction(get_response):

            async def later(request: HttpRequest) -> Any:
                return await get_response(request)

            later.process_exception = made.process_exception  # type: ignore[attr-defined]
            return later
        made.get_response = get_response  # type: ignore[attr-defined]
        return made

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)  # type: ignore[attr-defined]

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Make an unavailable service of a lookup that failed."""
        return HttpResponse("later", status=503) if isinstance(error, KeyError) else None


def user(request: HttpRequest, number: int) -> HttpResponse:
    """Answer with the number."""
    return HttpResponse(f"user {number}")


async def later(request: HttpRequest) -> HttpResponse:
    """Answer from a coroutine."""
    return HttpResponse("later")


def boom(request: HttpRequest) -> HttpResponse:
    """Fail."""
    raise ZeroDivisionError("on purpose")


def missing(request: HttpRequest) -> HttpResponse:
    """Fail in a way that the middleware knows."""
    raise KeyError("on purpose")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer piece by piece, each with the span that is current then."""

    def pieces() -> Iterator[str]:
        for _ in range(3):
            yield f"{trace.get_current_span().get_span_context().span_id:x} "

    async def apieces() -> AsyncIterator[str]:
        for piece in pieces():
            yield piece

    return StreamingHttpResponse(apieces() if hasattr(request, "scope") else pieces())


def file(request: HttpRequest) -> FileResponse:
    """Answer with a file."""
    return FileResponse(open(__file__, "rb"))


class Order(View):
    """A view that is a class."""

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        """Answer with the name."""
        return HttpResponse(slug)


orders = [path("orders/<slug:slug>", Order.as_view()), re_path(r"^archive/(?P<number>[0-9]{4})/$", user)]
urlpatterns: list[Any] = [
    path("users/<int:number>", user),
    path("later", later),
    path("boom", boom),
    path("missing", missing),
    path("stream", stream),
    path("file", file),
    path("shop/", include(orders)),
    re_path(r"^old/(?P<number>[0-9]+)$", user),
]


def configured() -> None:
    """Set Django up, once in a process."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            DEBUG=False,
            LOGGING_CONFIG=None,
            MIDDLEWARE=["tests.instrumentation.django_project.Failing"],
            ROOT_URLCONF="tests.instrumentation.django_project",
            SECRET_KEY="for tests",
        )
        django.setup()


def wsgi() -> Any:
    """Give the application for WSGI."""
    configured()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def asgi() -> Any:
    """Give the application for ASGI."""
    configured()
    from django.core.asgi import get_asgi_application

    return get_asgi_application()
