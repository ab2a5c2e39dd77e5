"""A Celery application whose task records one span."""

import os

from celery import Celery
from spans import record

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.task_default_queue = app.conf.result_backend_transport_options["global_keyprefix"] = os.environ["QUEUE"]
app.conf.broker_connection_retry_on_startup = True


@app.task(name="work")
def work(number):
    """Record, in a child that ends after it."""
    record("task", number=number)
    return os.getpid()
