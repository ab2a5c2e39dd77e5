"""The libraries that are instrumented: one file each, named as here."""

from __future__ import annotations

LIBRARIES: dict[str, tuple[str, ...]] = {
    # servers
    "aiohttp_server": ("aiohttp.web",),
    "asgi": ("uvicorn.config", "hypercorn.app_wrappers", "granian.server", "daphne.server"),
    "django": ("django.core.handlers.base",),
    "fastapi": ("fastapi.applications",),
    "flask": ("flask.app",),
    "granian": ("granian.server",),
    "grpc": ("grpc",),
    "gunicorn": ("gunicorn.arbiter",),
    "starlette": ("starlette.applications",),
    "tornado": ("tornado.web", "tornado.httpclient"),
    "uvicorn": ("uvicorn.server",),
    "wsgi": ("gunicorn.app.base", "waitress.server", "wsgiref.simple_server", "werkzeug.serving", "cheroot.wsgi"),
    # clients
    "aiohttp_client": ("aiohttp.client",),
    "anthropic": ("anthropic",),
    "botocore": ("botocore.client",),
    "elasticsearch": ("elasticsearch", "elastic_transport"),
    "http_client": ("http.client",),
    "httpx": ("httpx", "httpx2"),
    "openai": ("openai",),
    "opensearch": ("opensearchpy",),
    "requests": ("requests.sessions",),
    "urllib": ("urllib.request",),
    "urllib3": ("urllib3.connectionpool",),
    # databases
    "aiosqlite": ("aiosqlite",),
    "asyncpg": ("asyncpg",),
    "mysql": ("mysql.connector",),
    "mysqlclient": ("MySQLdb",),
    "psycopg": ("psycopg",),
    "psycopg2": ("psycopg2",),
    "pymongo": ("pymongo",),
    "pymysql": ("pymysql",),
    "redis": ("redis",),
    "sqlalchemy": ("sqlalchemy",),
    "sqlite3": ("sqlite3",),
    # messages and jobs
    "aio_pika": ("aio_pika",),
    "aiokafka": ("aiokafka",),
    "apscheduler": ("apscheduler",),
    "celery": ("celery",),
    "confluent_kafka": ("confluent_kafka",),
    "kafka": ("kafka",),
    "kombu": ("kombu",),
    "nats": ("nats",),
    "paho_mqtt": ("paho.mqtt.client",),
    "pika": ("pika",),
    "rq": ("rq",),
    # inside of a process
    "asyncio": ("asyncio",),
    "click": ("click",),
    "concurrent_futures": ("concurrent.futures.thread", "concurrent.futures.process"),
    "jinja2": ("jinja2",),
    "logging": ("logging",),
    "multiprocessing": ("multiprocessing.process",),
    "subprocess": ("subprocess",),
    "threading": ("threading",),
}
"""Name of a file -> the modules after whose import it is loaded. A file is loaded once one of them is there."""

ELSEWHERE: dict[str, str] = {
    "aiopg": "psycopg2",
    "dbapi": "sqlite3",
    "elasticsearch_sdk": "elasticsearch",
    "grpc_aio_client": "grpc",
    "grpc_aio_server": "grpc",
    "grpc_client": "grpc",
    "grpc_server": "grpc",
    "kafka_python": "kafka",
    "openai_v2": "openai",
    "opensearch_py": "opensearch",
    "paho": "paho_mqtt",
    "tornado_client": "tornado",
}
"""Other names under which a library of the list is known, those of its OpenTelemetry instrumentor among them."""
