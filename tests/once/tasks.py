"""Celery tasks that send confirmations once, and die before the first one when told to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from celery import Celery

from webhook_dedup import InProgress, StoreUnavailable, once

BROKER = os.environ.get("BROKER", "memory://")
STORE = os.environ.get("STORE", "memory://")
LEDGER = Path(os.environ.get("LEDGER", os.devnull))

app = Celery("shop", broker=BROKER)
app.conf.update(
    task_acks_late=True,  # a task whose worker dies is run again
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
)


@app.task(
    bind=True,
    max_retries=None,
    autoretry_for=(StoreUnavailable,),
    retry_backoff=True,
)
def confirm(self, order: str, dies: bool = False) -> None:
    try:
        with once.sync(STORE, f"order-{order}-confirmation", lease=1) as first:
            if first:
                if dies:
                    die_once(order)
                send(order, first.idempotency_key)
    except InProgress as wait:
        raise self.retry(countdown=wait.retry_after) from wait


def die_once(order: str) -> None:
    try:
        LEDGER.with_name(f"{order}.killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def send(order: str, idempotency_key: str) -> None:
    """Stand in for an API that sends."""
    with LEDGER.open("a") as ledger:
        ledger.write(f"{order} {idempotency_key}\n")
