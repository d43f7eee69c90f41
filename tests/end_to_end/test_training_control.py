"""Trainings that people pause, resume, reorder and cancel, on the running services."""

from collections.abc import Iterator
from uuid import uuid4

import flare_client
import pytest
from flare_client import FlareError, TrainingJobHandle
from flare_client.jobs_state import state_name
from flare_client.sync.flare import Flare

from tests.services import FlareServices


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    with flare_client.connect(
        auth=flare_services.auth_address,
        scraper=flare_services.scraper_address,
        ml=flare_services.ml_address,
        username=flare_services.username,
        password=flare_services.password,
    ) as flare:
        yield flare


@pytest.fixture(scope="module")
def view(flare: Flare) -> str:
    name = f"b-{uuid4().hex[:8]}"
    flare.datasets.import_("breast-cancer", source="samples", dataset_id=name).wait()
    return flare.views.create(name, target="diagnosis", stratify="diagnosis", seed=1, view_id="main").name


def started(flare: Flare, view: str, epochs: int = 300, priority: int = 0) -> TrainingJobHandle:
    """A training with dropout, whose random numbers a pause must not disturb."""
    model = f"m-{uuid4().hex[:8]}"
    flare.models.create(model, flare_client.mlp([32, 16], dropout=0.2), view=view)
    return flare.train(model, view, epochs=epochs, batch_size=32, seed=5, priority=priority, engine="torch")


def states(job: TrainingJobHandle) -> Iterator[str]:
    for event in job.events():
        if event.HasField("state_changed"):
            yield state_name(event.state_changed.state)


def test_a_paused_training_ends_with_the_weights_of_one_that_never_paused(flare: Flare, view: str) -> None:
    whole = started(flare, view).wait()
    job = started(flare, view)
    seen, pauses = list[str](), 0
    for event in job.events():
        if event.HasField("epoch_finished") and pauses < 2 and event.epoch_finished.epoch == 20 + 100 * pauses:
            pauses += 1
            job.pause()
        if event.HasField("state_changed"):
            seen.append(state_name(event.state_changed.state))
            if seen[-1] == "paused":
                job.resume()
                with pytest.raises(FlareError, match="nothing to resume") as refused:
                    job.resume()
                assert refused.value.reason == "JOB_NOT_PAUSED"
    assert seen == ["queued", *["running", "pausing", "paused", "queued"] * 2, "running", "succeeded"]
    assert job.wait().digest == whole.digest
    assert all(not attempt.error.message for attempt in job.refresh().attempts)


def test_a_cancelled_training_keeps_its_best_epoch_if_asked(flare: Flare, view: str) -> None:
    job = started(flare, view, epochs=100_000)
    next(iter(job.epochs()))
    job.cancel(keep_best=True)
    assert list(states(job))[-2:] == ["cancelling", "cancelled"]
    version = flare.models.version(job.refresh().version)
    assert version.best_epoch >= 1
    rows = flare.datasets.to_dataframe(view, "test").drop(columns="diagnosis")
    assert len(flare.predict(version, rows)) == len(rows)


def test_a_paused_training_that_is_cancelled_keeps_its_best_epoch_if_asked_and_else_nothing(
    flare: Flare, flare_services: FlareServices, view: str
) -> None:
    folders, made = flare_services.data_dir / "ml" / "ml-jobs", list[str]()
    for keep_best in (False, True):
        job = started(flare, view, epochs=100_000)
        next(iter(job.epochs()))
        job.pause()
        for state in states(job):
            if state == "paused":
                break
        made.append(job.name.split("/")[1])
        assert (folders / made[-1]).is_dir()
        job.cancel(keep_best=keep_best)
        assert list(states(job))[-1] == "cancelled"
        assert bool(job.refresh().version) == keep_best
    assert flare.models.version(job.job.version).best_epoch >= 1
    assert not [each for each in made if (folders / each).exists()], "what they had saved is needed no more"


def test_jobs_that_wait_tell_their_place_and_leave_by_priority(flare: Flare, view: str) -> None:
    running = [started(flare, view, epochs=100_000) for _ in range(2)]  # as many as run at a time
    for job in running:
        next(iter(job.epochs()))
    low, high = started(flare, view, 3, priority=-1), started(flare, view, 3, priority=7)
    assert [low.refresh().queue_position, high.refresh().queue_position] == [2, 1]
    running[0].cancel()
    high.wait()
    assert low.refresh().start_time.ToNanoseconds() == 0 or (
        low.job.start_time.ToNanoseconds() > high.job.start_time.ToNanoseconds()
    )
    running[1].cancel()
    low.wait()
    assert low.refresh().queue_position == 0
