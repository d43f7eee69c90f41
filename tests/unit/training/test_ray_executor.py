"""What the Ray executor says before any cluster is there."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from ml_server.settings import Settings
from ml_server.training.executors import ray_worker
from ml_server.training.executors.local import LocalExecutor
from ml_server.training.executors.ray_cluster import RayCluster
from ml_server.training.executors.ray_executor import RayExecutor
from ml_server.training.plans import Precision, TrainingPlan
from ml_server.training.task import TrainingTask
from ml_server.views.folder_cache import FolderCache
from servicekit.errors import FlareError, Reason, Unavailable
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:no"])
def test_an_address_that_is_none_is_refused_by_its_setting(address: str) -> None:
    with pytest.raises(Unavailable, match=f"FLARE_ML_RAY_ADDRESS={address}"):
        RayCluster(address).connect()


def test_a_cluster_that_is_not_there_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
    with pytest.raises(Unavailable, match=f"FLARE_ML_RAY_ADDRESS={address}: .*refused") as refused:
        RayCluster(address).connect()
    assert refused.value.reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_an_executor_without_its_cluster_does_not_start() -> None:
    executor = RayExecutor(RayCluster("127.0.0.1:1"), warm_drivers=0)
    with pytest.raises(Unavailable, match="FLARE_ML_RAY_ADDRESS"):
        await executor.start()


@pytest.mark.parametrize(
    ("device", "precision", "gpus", "reason"),
    [
        ("auto", Precision.FLOAT32, 0, None),
        ("cpu", Precision.BFLOAT16, 1, None),
        ("cuda", Precision.FLOAT16, 1, None),
        ("auto", Precision.FLOAT16, 1, None),
        ("auto", Precision.FLOAT16, 0, Reason.INVALID_FIELD),
        ("cuda", Precision.FLOAT32, 0, Reason.DEVICE_UNAVAILABLE),
        ("cuda:1", Precision.FLOAT32, 1, Reason.DEVICE_UNAVAILABLE),
        ("mps", Precision.FLOAT32, 1, Reason.DEVICE_UNAVAILABLE),
    ],
)
def test_a_plan_may_have_the_devices_that_each_worker_takes(
    device: str, precision: Precision, gpus: int, reason: Reason | None
) -> None:
    executor = RayExecutor(RayCluster("auto", gpus=gpus))
    plan = TrainingPlan(device=device, precision=precision)
    if reason is None:
        executor.check(plan)
    else:
        with pytest.raises(FlareError) as refused:
            executor.check(plan)
        assert refused.value.reason is reason


def test_several_workers_need_a_cluster_and_rows_for_each() -> None:
    with pytest.raises(FlareError, match="FLARE_ML_EXECUTOR=ray") as refused:
        LocalExecutor().check(TrainingPlan(workers=2))
    assert refused.value.violations[0].field == "training_job.plan.workers"
    RayExecutor(RayCluster("auto")).check(TrainingPlan(workers=64, batch_size=64))
    with pytest.raises(FlareError, match="65 workers can't share batches of 64 rows"):
        RayExecutor(RayCluster("auto")).check(TrainingPlan(workers=65, batch_size=64))


def test_a_node_that_does_not_see_the_folder_of_the_server_says_so(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
) -> None:
    ray_worker._require_folder(replace(breast_cancer, cache=FolderCache(tmp_path, 0)))
    unseen = replace(breast_cancer, cache=FolderCache(tmp_path / "mnt" / "ml-views", 0))
    with pytest.raises(Unavailable, match=f"does not see {tmp_path / 'mnt'}: the folder FLARE_ML_RAY_STORAGE"):
        ray_worker._require_folder(unseen)


def test_the_settings_of_ray_belong_together() -> None:
    with pytest.raises(ValidationError, match="needs ray_storage"):
        Settings(executor="ray")
    assert Settings(executor="ray", ray_storage=Path("/shared")).ray_address == "auto"
