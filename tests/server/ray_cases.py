"""What `test_ray.py` runs in a namespace of its own: a cluster of a head without processors and two nodes with one."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from ray.cluster_utils import Cluster

from ml_server.registry.bundle import read_details
from ml_server.training.events import EpochFinished, TrainingEvent, TrainingStarted
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.ray_executor import RayExecutor
from ml_server.training.stop import Stop
from ml_server.training.task import Finished, Told, TrainingTask, WorkerMessage
from ml_server.training.worker import run
from tests.namespaces import is_isolated
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Messages enough that some would overtake others, if they could.
EPOCHS = 150
# How Ray names the process of a task; one that has ended has no name.
WORK = "ray::work"
STORE_BYTES = 80 * 1024**2


@dataclass
class Control:
    """What a job's run tells its attempt."""

    finish_requested: asyncio.Event = field(default_factory=asyncio.Event)
    is_abandoned: bool = False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    assert is_isolated(), (
        "Ray listens on every address: run tests/server/test_ray.py, which sees to it that none is real"
    )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Not pytest's: paths of sockets are short.
    directory = tempfile.mkdtemp(prefix="ray-")
    # Where Ray notes its last cluster, in a folder that it expects to be there.
    os.environ["RAY_TMPDIR"] = directory
    (Path(directory) / "ray").mkdir()
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "temp_dir": directory,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, wait=False)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]
    shutil.rmtree(directory)


@pytest.fixture
def task(breast_cancer: TrainingTask, tmp_path: Path) -> TrainingTask:  # noqa: F811
    breast_cancer.cache.root.mkdir(exist_ok=True)  # as the server does when it fetches rows
    return replace(breast_cancer, checkpoints=tmp_path / "ray" / "checkpoints", output=tmp_path / "ray" / "version")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor(cluster: Cluster) -> AsyncIterator[RayExecutor]:
    executor = RayExecutor(RayCluster(cluster.address), warm_drivers=1)
    await executor.start()
    yield executor
    await executor.drain()


def _events(messages: Iterable[WorkerMessage]) -> list[TrainingEvent]:
    return [event for message in messages if isinstance(message, Told) for event in message.events]


async def test_a_worker_of_the_cluster_makes_the_weights_that_this_machine_makes(
    executor: RayExecutor, task: TrainingTask, tmp_path: Path
) -> None:
    base = replace(task, checkpoints=tmp_path / "base" / "checkpoints", output=tmp_path / "base" / "version")
    list(run(base, Stop()))
    task = replace(task, base=base.output, plan=task.plan.model_copy(update={"epochs": EPOCHS}))
    async with aclosing(executor.run(task, Control())) as messages:
        *told, last = [message async for message in messages]
    events = _events(told)
    assert len([event for event in events if isinstance(event, TrainingStarted)]) == 1
    assert [event.epoch for event in events if isinstance(event, EpochFinished)] == list(range(1, EPOCHS + 1))
    assert isinstance(last, Finished)
    assert read_details(task.output) == last.details
    assert (task.checkpoints.parent / "start" / "version").is_dir(), "nodes see no files of the server but those here"
    local = replace(task, checkpoints=tmp_path / "local" / "checkpoints", output=tmp_path / "local" / "version")
    *_, expected = run(local, Stop())
    assert isinstance(expected, Finished)
    assert last.details.digest == expected.details.digest


async def test_a_paused_training_goes_on_elsewhere_and_a_cancelled_one_leaves_nothing(
    executor: RayExecutor, task: TrainingTask
) -> None:
    endless = replace(task, plan=task.plan.model_copy(update={"epochs": 100_000}))
    async with aclosing(executor.run(endless, Control())) as messages:
        async for message in messages:
            if any(isinstance(event, EpochFinished) for event in _events([message])):
                break  # as a pause and a drain do
    assert list(task.checkpoints.iterdir())
    control = Control()
    async with aclosing(executor.run(endless, control)) as messages:
        async for message in messages:
            if started := [event for event in _events([message]) if isinstance(event, TrainingStarted)]:
                assert started[0].resumed_epochs or started[0].resumed_epoch_steps
                control.is_abandoned = True
                break
    # The driver is gone, and the worker goes with it.
    left = [each for each in psutil.process_iter(["cmdline"]) if " ".join(each.info["cmdline"] or ()).startswith(WORK)]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive
    assert not task.output.exists()


async def test_two_workers_train_together_on_two_nodes_as_one_does(
    executor: RayExecutor, task: TrainingTask, tmp_path: Path
) -> None:
    architecture = task.specification.architecture.model_copy(update={"dropout": 0.0})
    specification = task.specification.model_copy(update={"architecture": architecture})
    one = replace(task, specification=specification, output=tmp_path / "one" / "version")
    alone = _losses(_events(run(replace(one, checkpoints=tmp_path / "one" / "checkpoints"), Stop())))
    two = replace(task, specification=specification, plan=task.plan.model_copy(update={"workers": 2}))
    async with aclosing(executor.run(two, Control())) as messages:
        *told, last = [message async for message in messages]
    assert isinstance(last, Finished)
    assert read_details(two.output) == last.details
    assert _losses(_events(told)) == pytest.approx(alone, rel=1e-4)


def _losses(events: Iterable[TrainingEvent]) -> list[float]:
    return [event.train_loss for event in events if isinstance(event, EpochFinished)]
