"""A task that is cancelled in the middle of a write leaves no transaction behind, which all others would wait for."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from servicekit.database import Database
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.runner import JobRun, JobRunner
from servicekit.jobs.sql import SqlJobStore
from servicekit.jobs.tables import job_tables
from servicekit.jobs.values import EventDraft, JobState
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
CANCELLATIONS = 40
SECONDS = 10  # a lock that is left behind holds for ever


async def _writes_without_end(run: JobRun) -> dict[str, Any]:
    while True:
        await run.emit(EventDraft("epoch"), progress={"epochs": 1})


async def test_jobs_cancelled_while_they_write_end_and_the_next_ones_run(tmp_path: Path) -> None:
    metadata = MetaData()
    tables = job_tables(metadata)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/jobs.db")
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    wakeups = Wakeups()
    store = SqlJobStore(database, tables, "trainingJobs", wakeups)
    follower = JobFollower(store, wakeups)
    runner = JobRunner(store, wakeups, _writes_without_end, name="one", concurrency=1)
    await runner.start()
    for number in range(CANCELLATIONS):
        job = f"job-{number}"
        await store.create(job, ANN, {}, 3)
        seen = 0
        async for _ in follower.follow(ANN, job, 0):  # a watcher that leaves in the middle, at another place each time
            seen += 1
            if seen > 4 + number % 7:
                break
        await store.request_cancel(ANN, job)
        async with asyncio.timeout(SECONDS):
            async for _ in follower.follow(ANN, job, 0):
                pass
        assert (await store.get(ANN, job)).state is JobState.CANCELLED
    await runner.drain()
    await database.close()
