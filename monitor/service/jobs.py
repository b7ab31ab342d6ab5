"""Periodic jobs: what runs by the clock, in one table. The only file that imports apscheduler."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

_THREADS = 4


class Job(NamedTuple):
    """One periodic job. It never overlaps with itself, and missed runs become one."""

    name: str
    every: float
    """Seconds."""
    run: Callable[[], object]


def schedule(
    jobs: Sequence[Job], ended: Callable[[str, bool], None] = lambda _name, _well: None
) -> BackgroundScheduler:
    """Make a scheduler for the jobs; the caller starts it and shuts it down.

    Args:
        jobs: what to run.
        ended: told after each run the job's name, and whether it ended well. Any thread.
    """
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(_THREADS)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone="UTC",
    )
    for job in jobs:
        scheduler.add_job(job.run, "interval", seconds=job.every, id=job.name, name=job.name)

    def report(event: JobExecutionEvent) -> None:
        ended(event.job_id, event.exception is None)

    scheduler.add_listener(report, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    return scheduler
