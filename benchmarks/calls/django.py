"""One request through Django below WSGI, in-process: the smallest view, no middleware but that of a peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings

CONTRIB = "opentelemetry.instrumentation.django:DjangoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-django"
DDTRACE = "django"
REQUIRES = ("django",)

urlpatterns: list[Any] = []

if not settings.configured:  # contrib's instrumentation adds itself to the settings, so they must be there before it
    settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=__name__, SECRET_KEY="benchmark")


def prepare() -> Callable[[], object]:
    """Give the request."""
    import django
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    from .wsgi import request

    def user(received: Any, number: int) -> HttpResponse:
        return HttpResponse("user")

    urlpatterns[:] = [path("user/<int:number>", user)]
    django.setup()
    return request(get_wsgi_application())
