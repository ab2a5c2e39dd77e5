"""The worker: takes jobs from the queue, has the money captured and tells the orders service about it."""

import logging
import signal
import threading
from typing import Any

import requests

from .jobs import READY, Job, Jobs
from .settings import JOBS_PATH, ORDERS_URL, PAYMENTS_URL

POLL_S = 0.05
HANDS = 3  # jobs at a time
ATTEMPTS = 3

log = logging.getLogger("shop.worker")
stopping = threading.Event()


def pack(body: dict[str, Any]) -> None:
    """Capture the payment of an order, then send its parcel."""
    captured = requests.post(f"{PAYMENTS_URL}/captures", json={"authorisation": body["authorisation"]}, timeout=10)
    captured.raise_for_status()
    parcel = f"P{body['order']:06d}-{body['weight_g']}g"
    requests.post(
        f"{ORDERS_URL}/orders/{body['order']}/shipment", json={"parcel": parcel}, timeout=10
    ).raise_for_status()


KINDS = {"pack": pack}


def work(jobs: Jobs, job: Job) -> None:
    """Do one job; one that fails is tried again, three times in all."""
    try:
        with jobs.processing(job):
            KINDS[job.kind](job.body)
    except requests.RequestException as error:
        again = job.attempts < ATTEMPTS
        log.warning("job %s failed: %s; %s", job.id, error, "comes again" if again else "given up")
        if again:
            jobs.put_back(job, delay_s=0.2 * job.attempts)
            return
    jobs.remove(job)


def take_jobs(jobs: Jobs) -> None:
    """Do one job after the other until the process is told to end."""
    while not stopping.is_set():
        job = jobs.take()
        if job is None:
            stopping.wait(POLL_S)
        else:
            work(jobs, job)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    jobs = Jobs(JOBS_PATH)
    hands = [threading.Thread(target=take_jobs, args=(jobs,)) for _ in range(HANDS)]
    for hand in hands:
        hand.start()
    log.info(READY)
    for hand in hands:
        hand.join()


if __name__ == "__main__":
    main()
