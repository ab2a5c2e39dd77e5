"""Celery's own messages and books; in a file of its own, as a process has but one worker at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .test_celery import LIMIT_S, application, ended, need, swept

__all__ = ["swept"]


@pytest.mark.parametrize("backend", ["rpc://", "db+sqlite:///{}/results.db"], ids=["rpc", "database"])
def test_results_events_and_remote_control_do_not_show_up(observed: Any, backend: str, tmp_path: Path) -> None:
    """Whatever they travel or are kept in; only the tasks are told."""
    from celery.contrib.testing.worker import start_worker

    if backend.startswith("db"):
        pytest.importorskip("sqlalchemy")
    app = application(
        broker_url=need("redis"),
        result_backend=backend.format(tmp_path),
        worker_send_task_events=True,
        task_send_sent_event=True,
        broker_connection_retry_on_startup=True,
    )
    with observed("celery", "kombu", "redis", "sqlite3") as seen:
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20, loglevel="critical"):
            assert app.tasks["add"].delay(1, 2).get(timeout=LIMIT_S) == 3
            assert app.control.ping(timeout=0.5, limit=1)
            ended(seen, 1)
        with app.connection() as connection:
            connection.default_channel.queue_delete(app.conf.task_default_queue)
        app.close()
    assert [span.name for span in seen.spans] == ["send add", "process add"]
