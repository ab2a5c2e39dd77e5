"""Django in one file: ORM on psycopg, sync and asyncio views, class-based views, includes, the admin's login page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import django
import metering
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path

metering.measure()


class Failing:
    """A middleware that fails where it is asked to."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        """Pass on, or fail."""
        if request.GET.get("fail") == "middleware":
            raise RuntimeError("in the middleware")
        return self.get_response(request)


if not settings.configured:
    settings.configure(
        DEBUG=False,
        SECRET_KEY="not-much-of-a-secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "NAME": "test",
                "USER": "postgres",
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        MIDDLEWARE=[
            f"{__name__}.Failing",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        LOGGING_CONFIG=None,
    )
    django.setup()

from django.contrib import admin  # noqa: E402  # needs settings
from django.db import connection  # noqa: E402
from django.views import View  # noqa: E402


def index(request: HttpRequest, **_: Any) -> HttpResponse:
    """Answer at once."""
    return HttpResponse("ok")


def query(number: int) -> Any:
    """Ask the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s + 1, 'secret-literal'", [number])
        return cursor.fetchone()


def user(request: HttpRequest, number: int) -> JsonResponse:
    """Ask the database."""
    return JsonResponse(query(number), safe=False)


async def auser(request: HttpRequest, number: int) -> JsonResponse:
    """Ask the database from a coroutine."""
    from asgiref.sync import sync_to_async

    return JsonResponse(await sync_to_async(query)(number), safe=False)


class Things(View):
    """A class-based view."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Answer with the name."""
        return HttpResponse(name)


def boom(request: HttpRequest) -> HttpResponse:
    """Fail."""
    raise RuntimeError("boom")


def missing(request: HttpRequest) -> HttpResponse:
    """Find nothing."""
    raise Http404("nothing")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Ask the database in the midst of the body."""

    def rows() -> Iterator[str]:
        yield "first\n"
        yield f"{query(1)[0]}\n"

    return StreamingHttpResponse(rows())


inner = [path("things/<slug:name>/", Things.as_view()), re_path(r"^years/(?P<year>[0-9]{4})/$", index)]
urlpatterns = [
    path("", index),
    path("users/<int:number>/", user),
    path("ausers/<int:number>/", auser),
    path("boom/", boom),
    path("missing/", missing),
    path("stream/", stream),
    path("inner/", include(inner)),
    path("admin/", admin.site.urls),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "django.conf.global_settings"
    execute_from_command_line()
