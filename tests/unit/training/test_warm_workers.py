"""Workers are there before their task, are replaced, and leave nothing behind."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ml_server.training.executors.warm_workers import WarmWorkers, Worker
from ml_server.training.plans import TrainingPlan
from ml_server.training.task import Failed, Provenance, Told, TrainingTask
from ml_server.training.threads import Threads
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture


async def _filled(workers: WarmWorkers) -> list[Worker]:
    """Those that wait, once they are all there."""
    assert workers._refilling is not None
    await workers._refilling
    return list(workers._waiting)


@pytest.mark.timeout(120)
async def test_a_waiting_worker_takes_the_task_another_takes_its_place_and_a_dead_one_is_passed_over(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
) -> None:
    task = replace(breast_cancer, checkpoints=tmp_path / "checkpoints", output=tmp_path / "version")
    workers = WarmWorkers(2)
    await workers.start()
    first, second = await _filled(workers)
    assert first.process.pid is not None
    os.kill(first.process.pid, signal.SIGKILL)
    await asyncio.to_thread(first.process.join)
    taken = await workers.take(task)
    assert taken.process.pid == second.process.pid
    assert isinstance(await asyncio.to_thread(taken.connection.recv), Told)
    replaced = await _filled(workers)
    assert len(replaced) == 2
    assert all(worker.process.is_alive() for worker in replaced)
    await workers.drain()
    assert not any(psutil.pid_exists(worker.process.pid or 0) for worker in [first, *replaced])
    taken.connection.close()  # as a server does that dies
    await asyncio.to_thread(taken.process.join)
    assert not psutil.pid_exists(second.process.pid or 0)


@pytest.mark.timeout(120)
async def test_without_warm_workers_one_is_started_for_each_task(breast_cancer: TrainingTask) -> None:  # noqa: F811
    workers = WarmWorkers(0)
    await workers.start()
    inputs = (replace(breast_cancer.inputs[0], name="x"),)
    broken = replace(breast_cancer, inputs=inputs, provenance=Provenance("job", "view", "e" * 64))
    worker = await workers.take(broken)
    message = await asyncio.to_thread(worker.connection.recv)
    assert not isinstance(message, (Told, Failed))  # a column that no file has: nobody foresaw that
    await asyncio.to_thread(worker.dismiss)
    await workers.drain()


@pytest.mark.parametrize(
    ("setting", "batch", "cores", "expected"),
    [(3, 64, 2, 3), ("auto", 64, 8, 1), ("auto", 512, 8, 8), ("auto", 512, 0, 1)],
)
def test_small_batches_have_one_thread_and_others_their_share_of_the_cores(
    setting: int, batch: int, cores: int, expected: int
) -> None:
    assert Threads(setting, cores).of(TrainingPlan(batch_size=batch)) == expected
