"""Disks that are full or can't be written to: what was saved before is used, and the job's events say so."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ml_server.engines.engine import EngineName
from ml_server.training import worker
from ml_server.training.events import CheckpointSaved, EpochFinished, TrainingStarted, TrainingWarning
from ml_server.training.stop import Stop
from ml_server.training.task import Finished, Lost, Told, TrainingTask
from ml_server.training.worker import run
from ml_server.training.worker_process import messages
from ml_server.views.fetched import FetchedViews
from ml_server.views.folder_cache import FolderCache
from servicekit.errors import Reason, ResourceExhausted
from tests.fault.small_disks import SmallDisk, small_disk
from tests.unit.fetching.test_fetched_views import VIEW, Source, assert_whole, unheard
from tests.unit.training.test_worker import breast_cancer  # noqa: F401  # a fixture

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True)
def every_epoch_has_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CHECKPOINT_GAP_SECONDS", 0.0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 512 * 1024) as disk:
        yield disk


@pytest.fixture
def task(breast_cancer: TrainingTask, disk: SmallDisk, tmp_path: Path) -> TrainingTask:  # noqa: F811
    return replace(breast_cancer, checkpoints=disk.directory / "checkpoints", output=tmp_path / "version")


def events_of(told: Sequence[object]) -> list[object]:
    return [event for message in told if isinstance(message, Told) for event in message.events]


def trained(task: TrainingTask, after_epoch: int, do: Callable[[], None]) -> list[object]:
    """What a worker says, if something is done after an epoch."""
    said: list[object] = []
    for message in run(task, Stop()):
        said.append(message)
        if any(isinstance(event, EpochFinished) and event.epoch == after_epoch for event in events_of([message])):
            do()
    return said


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_training_outlives_a_disk_that_takes_no_checkpoint_and_resumes_from_the_one_before(
    task: TrainingTask, disk: SmallDisk, tmp_path: Path, how: str
) -> None:
    *said, finished = trained(task, after_epoch=3, do=disk.fill if how == "full" else disk.protect)
    assert isinstance(finished, Finished)
    events = events_of(said)
    assert [event.epoch for event in events if isinstance(event, CheckpointSaved)] == [1, 2, 3]
    warnings = [event.message for event in events if isinstance(event, TrainingWarning)]
    assert len(warnings) == 3
    assert all("could not be written, so the one before is kept" in warning for warning in warnings)

    # The server is lost before it hears of the end: the next attempt begins where the last good checkpoint is.
    *resumed_said, resumed = run(replace(task, output=tmp_path / "again", logged_epochs=6), Stop())
    started = events_of(resumed_said)[0]
    assert isinstance(started, TrainingStarted)
    assert started.resumed_epochs == 3
    assert isinstance(resumed, Finished)
    assert resumed.details.digest == finished.details.digest


@pytest.mark.parametrize("engine", [None, EngineName.TORCH])
def test_a_version_for_which_there_is_no_room_costs_an_attempt_and_no_step(
    task: TrainingTask, disk: SmallDisk, engine: EngineName | None
) -> None:
    plan = task.plan.model_copy(update={"engine": engine})
    task = replace(task, plan=plan, output=disk.directory / "version")
    said: list[object] = []
    for message in messages(task, Stop()):
        said.append(message)
        if any(isinstance(event, EpochFinished) and event.epoch == 6 for event in events_of([message])):
            disk.fill()
    assert isinstance(said[-1], Lost)
    assert "No space left on device" in said[-1].error.message
    disk.free()
    *again, last = messages(replace(task, logged_epochs=6), Stop())
    started = events_of(again)[0]
    assert isinstance(started, TrainingStarted)
    assert started.resumed_epochs == 6
    assert isinstance(last, Finished)


async def test_a_disk_that_fills_up_in_mid_fetch_keeps_nothing_and_says_what_helps(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 32 * 1024) as disk:  # the view takes 50 kB
        fetched = FetchedViews(FolderCache(disk.directory / "views", 10**9), Source())
        with pytest.raises(
            ResourceExhausted, match=r"disk is full: nothing was kept; .*FLARE_ML_VIEW_CACHE_BYTES"
        ) as told:
            await fetched.fetch("accounts/ann", VIEW, unheard)
        assert told.value.reason is Reason.LIMIT_EXCEEDED
        assert [each.name for each in (disk.directory / "views").iterdir()] == [".locks"]
    with small_disk(tmp_path / "larger", 1024 * 1024) as disk:
        view = await FetchedViews(FolderCache(disk.directory / "views", 10**9), Source()).fetch("ann", VIEW, unheard)
        assert_whole(view.files)
