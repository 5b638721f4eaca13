# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
# ruff: noqa: ANN001, ANN002, ANN003, ANN202
"""Argilla's background jobs as tasks of the server process, where there is no Redis.

Argilla queues a job with `.delay(...)`, answers with its id, and lets clients ask for its status. The queue's
bookkeeping stays as it is, in a stand-in for Redis that lives in memory; only the worker is replaced.
"""

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import fakeredis
import redis

_LOGGER = logging.getLogger("uncited")
_REDIS_ANSWERS_WITHIN_S = 5.0
_running: set[asyncio.Task] = set()  # asyncio itself holds tasks only weakly


def replace_redis() -> None:
    """Make Argilla connect to the stand-in; call before anything of argilla_server is imported."""
    stand_in = fakeredis.FakeRedis()
    redis.from_url = lambda *_, **__: stand_in


def check_redis() -> None:
    """End the process where ARGILLA_REDIS_URL cannot be reached: Argilla would try for a minute, and tell its password.

    Call before anything of argilla_server is imported.
    """
    try:
        redis.from_url(os.environ["ARGILLA_REDIS_URL"], socket_connect_timeout=_REDIS_ANSWERS_WITHIN_S).ping()
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"Redis cannot be reached: {error}")


def run_in_process() -> None:
    """Run every job of Argilla's in the server process from now on; call once argilla_server is imported."""
    from argilla_server.jobs import dataset_jobs, hub_jobs, queues, webhook_jobs

    for job, queue, waits in (
        (dataset_jobs.update_dataset_records_status_job, queues.DEFAULT_QUEUE, (1, 5, 15)),
        (hub_jobs.import_dataset_from_hub_job, queues.DEFAULT_QUEUE, ()),
        (hub_jobs.export_dataset_to_hub_job, queues.DEFAULT_QUEUE, ()),
    ):
        job.delay = functools.partial(_delay, job, job, queue, waits)
    notify = webhook_jobs.notify_event_job
    notify.delay = functools.partial(_delay, notify, _notify, queues.HIGH_QUEUE, (10, 60, 180))


def _delay(job: Callable, work: Callable[..., Awaitable[None]], queue, waits_s: tuple[int, ...], *args, **kwargs):
    queued = queue.create_job(job, args=args, kwargs=kwargs)
    queued.save()
    task = asyncio.get_running_loop().create_task(_run(queued, functools.partial(work, *args, **kwargs), waits_s))
    _running.add(task)
    task.add_done_callback(_running.discard)
    return queued


async def _run(queued, work: Callable[[], Awaitable[None]], waits_s: tuple[int, ...]) -> None:
    queued.set_status("started")
    for wait_s in (*waits_s, None):
        try:
            await work()
            queued.set_status("finished")
            return
        except Exception:
            _LOGGER.exception("job %s failed%s", queued.func_name, "" if wait_s is None else f", again in {wait_s} s")
        if wait_s is not None:
            await asyncio.sleep(wait_s)
    queued.set_status("failed")


async def _notify(webhook_id: UUID, event: str, timestamp: datetime, data: dict) -> None:
    """Call a webhook as Argilla's own job does, but in a thread: that one would hold up the whole server."""
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.models import Webhook
    from argilla_server.webhooks.v1.commons import notify_event

    async with AsyncSessionLocal() as session:
        webhook = await Webhook.get_or_raise(session, webhook_id)
    response = await asyncio.to_thread(notify_event, webhook, event, timestamp, data)
    response.raise_for_status()
