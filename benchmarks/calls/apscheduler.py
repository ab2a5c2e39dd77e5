"""One run of a job, as an executor does it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone

CONTRIB = None
CONTRIB_PACKAGE = ""
DDTRACE = None
REQUIRES = ("apscheduler",)


def prepare() -> Callable[[], object]:
    """Make a job that is never missed."""
    from apscheduler.executors import base
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("calls").setLevel(logging.ERROR)
    job = BackgroundScheduler(timezone=timezone.utc).add_job(len, args=["x"], misfire_grace_time=None)
    job.modify(misfire_grace_time=None)
    due = [datetime.now(timezone.utc)]
    return lambda: base.run_job(job, "default", due, "calls")
