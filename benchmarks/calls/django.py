"""One request through Django below WSGI, in-process: the smallest view, no middleware but our neighbours'."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.django:DjangoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-django"
DDTRACE = "django"
REQUIRES = ("django",)

urlpatterns: list[Any] = []


def prepare() -> Callable[[], object]:
    """Give the request."""
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    from .wsgi import request

    def user(received: Any, number: int) -> HttpResponse:
        return HttpResponse("user")

    urlpatterns[:] = [path("user/<int:number>", user)]
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=sys.modules[__name__].__name__, SECRET_KEY="benchmark")
        django.setup()
    from django.core.wsgi import get_wsgi_application

    return request(get_wsgi_application())
