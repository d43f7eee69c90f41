"""What `test_ray_nodes.py` runs in a namespace of its own: the three services, with a Ray cluster whose nodes die."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flare_client.sync.flare import Flare
from ray._private.node import Node
from ray.cluster_utils import Cluster

from tests.fault.trainings import Watcher, assert_whole, breast_cancer_view, connect, train
from tests.namespaces import is_isolated
from tests.services import start_services, stop_services

pytestmark = pytest.mark.timeout(400)

# How Ray names the process of a task, and of a worker of Ray Train.
WORKERS = ("ray::work", "ray::RayTrainWorker")
STORE_BYTES = 80 * 1024**2


class RayNodes:
    """A cluster of a head without processors, and nodes with one."""

    def __init__(self, directory: str) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES, "temp_dir": directory}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Node] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, count: int) -> None:
        for _ in range(count):
            self._nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, wait=False))
        self._cluster.wait_for_nodes()

    def kill_one_at_work(self) -> None:
        """Kills everything of a node that has a worker, all at once, as a machine goes that loses its power."""
        for node in self._nodes:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            processes = raylet.children(recursive=True)
            if any(" ".join(each.cmdline()).startswith(WORKERS) for each in processes):
                for each in [raylet, *processes]:
                    each.kill()
                self._nodes.remove(node)
                self._cluster.worker_nodes.remove(node)
                return
        raise AssertionError("no node has a worker that works")

    def shut_down(self) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    assert is_isolated(), (
        "Ray listens on every address: run tests/fault/test_ray_nodes.py, which sees to it that none is real"
    )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    directory = tempfile.mkdtemp(prefix="ray-")
    # Where Ray notes its last cluster, in a folder that it expects to be there.
    os.environ["RAY_TMPDIR"] = directory
    (Path(directory) / "ray").mkdir()
    nodes = RayNodes(directory)
    nodes.add(2)
    yield nodes
    nodes.shut_down()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def flare(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flare]:
    directory = tmp_path_factory.mktemp("flare")
    os.environ |= {
        "FLARE_ML_EXECUTOR": "ray",
        "FLARE_ML_RAY_ADDRESS": nodes.address,
        "FLARE_ML_RAY_STORAGE": str(directory / "shared"),
    }
    services = start_services(directory / "data")
    with connect(services) as flare:
        yield flare
    stop_services(services)


@pytest.fixture(scope="module")
def view(flare: Flare) -> str:
    return breast_cancer_view(flare)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_goes_on_at_another_node(flare: Flare, view: str, nodes: RayNodes, workers: int) -> None:
    batch_size = 32 * workers**2  # workers that wait for each other at every step are slow where others compute too
    train(flare, view, f"unbroken-{workers}", workers, batch_size).wait()
    job = train(flare, view, f"broken-{workers}", workers, batch_size)
    watcher = Watcher(job)
    saved = watcher.wait_for_checkpoint()
    nodes.kill_one_at_work()
    nodes.add(1)
    events = watcher.finish()
    assert_whole(events)
    started = [event.training_started for event in events if event.HasField("training_started")]
    assert len(started) == 2
    assert started[1].resumed_epochs >= saved
    attempts = job.refresh().attempts
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert "of the Ray cluster was lost" in attempts[0].error.message
    assert flare.models.version(f"broken-{workers}").digest == flare.models.version(f"unbroken-{workers}").digest
