"""Event files, read back as TensorBoard reads them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ml_server.tracking.tensorboard_tracker import TensorBoardTracker
from ml_server.tracking.tracker import StateChanged, TrackedEvent
from servicekit.jobs.values import JobState
from tests.unit.tracking.tracked_jobs import BEGAN, RUNNING, STARTED, WHOLE, epoch, job_of, told

JOB = job_of("3f2a")


def write(directory: Path, events: Sequence[TrackedEvent], *, whole: bool = True) -> None:
    """By a tracker of its own, as that of a new server is."""
    tracker = TensorBoardTracker(directory)
    tracker.write(JOB, events)
    if whole:
        tracker.leave(JOB)


def read(directory: Path) -> EventAccumulator:
    """The job's run."""
    found = EventAccumulator(str(directory / "tumours" / "3f2a"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values, rounded to what a float32 keeps."""
    return [(event.step, round(event.value, 6)) for event in read(directory).Scalars(tag)]


def texts(directory: Path, tag: str) -> list[tuple[int, str]]:
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in read(directory).Tensors(tag)]


def session(directory: Path, tag: str) -> HParamsPluginData:
    content = read(directory).SummaryMetadata(tag).plugin_data.content
    return HParamsPluginData.FromString(content)


def test_a_job_is_a_run_with_every_number_of_its_epochs(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    assert set(read(tmp_path).Tags()["scalars"]) == {
        "loss/train",
        "loss/validation",
        "validation/area _mm__/accuracy",
        "validation/subset",
        "learning_rate",
        "samples_per_second",
        "test/area _mm__/accuracy",
    }
    assert scalars(tmp_path, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 0.333333)]
    assert scalars(tmp_path, "loss/validation") == [(1, 2.0), (2, 1.0), (3, 0.666667)]
    assert scalars(tmp_path, "validation/area _mm__/accuracy") == [(1, 0.51), (2, 0.52), (3, 0.53)]
    assert scalars(tmp_path, "learning_rate") == [(1, 0.02), (2, 0.01), (3, 0.006667)]
    assert scalars(tmp_path, "samples_per_second") == [(1, 200.0), (2, 200.0), (3, 200.0)]
    assert scalars(tmp_path, "test/area _mm__/accuracy") == [(3, 0.875)]
    first = read(tmp_path).Scalars("loss/train")[0]
    assert first.wall_time == BEGAN.timestamp() + 4


def test_plan_and_record_are_texts_and_hyperparameters(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    ((_, plan),) = texts(tmp_path, "plan")
    assert "| optimizer.kind | sgd |" in plan
    # A text of its own, and not a list of one, which is shown as a table around it.
    assert not read(tmp_path).Tensors("plan")[0].tensor_proto.tensor_shape.dim
    assert "| learning_rate | 0.02 |" in plan
    ((_, record),) = texts(tmp_path, "job")
    assert "| owner | accounts/ann |" in record
    assert "| sweep | sweeps/s1 |" in record
    assert f"| view digest | {'d' * 64} |" in record
    assert texts(tmp_path, "version") == [(0, "models/tumours/versions/4")]
    assert texts(tmp_path, "warnings") == [(3, "mind the gap")]
    assert texts(tmp_path, "ended") == [(0, "succeeded")]
    begun = session(tmp_path, metadata.SESSION_START_INFO_TAG).session_start_info
    assert begun.hparams["optimizer.momentum"].number_value == 0.5
    assert begun.hparams["optimizer.kind"].string_value == "sgd"
    assert begun.hparams["compile"].HasField("bool_value")
    assert begun.start_time_secs == BEGAN.timestamp() + 1
    ended = session(tmp_path, metadata.SESSION_END_INFO_TAG).session_end_info
    assert (ended.status, ended.end_time_secs) == (api_pb2.STATUS_SUCCESS, BEGAN.timestamp() + 9)


def test_what_was_told_before_is_not_there_twice(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    tracker.write(JOB, WHOLE[:5])
    tracker.write(JOB, WHOLE[:6])
    write(tmp_path, WHOLE)
    assert scalars(tmp_path, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 0.333333)]
    assert len(texts(tmp_path, "plan")) == len(texts(tmp_path, "ended")) == len(texts(tmp_path, "warnings")) == 1
    assert scalars(tmp_path, "test/area _mm__/accuracy") == [(3, 0.875)]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_run_whose_server_was_killed_while_it_wrote_goes_on(tmp_path: Path, cut: int) -> None:
    write(tmp_path, WHOLE[:6], whole=False)
    (file,) = (tmp_path / "tumours" / "3f2a").glob("*tfevents*")
    file.write_bytes(file.read_bytes()[:-cut])
    write(tmp_path, WHOLE)
    assert scalars(tmp_path, "loss/train") == [(1, 1.0), (2, 1 / 2), (3, 0.333333)]
    assert scalars(tmp_path, "samples_per_second") == [(1, 200.0), (2, 200.0), (3, 200.0)]


def test_two_servers_that_show_one_job_at_the_same_time_write_it_once(tmp_path: Path) -> None:
    leaving, coming = TensorBoardTracker(tmp_path), TensorBoardTracker(tmp_path)
    events = told(RUNNING, STARTED, epoch(1), epoch(2), epoch(3))
    for count in range(1, len(events) + 1):
        for tracker in (coming, leaving):
            tracker.write(JOB, events[:count])
    assert [step for step, _ in scalars(tmp_path, "loss/train")] == [1, 2, 3]
    assert len(texts(tmp_path, "attempt")) == 1


def test_what_is_written_can_be_read_at_once(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    for number in (1, 2):
        tracker.write(JOB, told(RUNNING, epoch(number), first=number))
        assert [step for step, _ in scalars(tmp_path, "loss/train")] == list(range(1, number + 1))


def test_a_second_attempt_adds_to_the_run_of_the_first(tmp_path: Path) -> None:
    lost = told(RUNNING, STARTED, epoch(1), StateChanged(JobState.QUEUED, "the worker died"))
    write(tmp_path, lost)
    failed = StateChanged(JobState.FAILED, "the loss became nan")
    write(tmp_path, told(RUNNING, STARTED, epoch(2), failed, first=5, attempt=2))
    assert [step for step, _ in scalars(tmp_path, "loss/train")] == [1, 2]
    assert [step for step, _ in texts(tmp_path, "attempt")] == [1, 2]
    assert texts(tmp_path, "ended") == [(0, "failed: the loss became nan")]
    assert session(tmp_path, metadata.SESSION_END_INFO_TAG).session_end_info.status == api_pb2.STATUS_FAILURE


def test_a_folder_that_can_not_be_written_is_an_error_and_works_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "tumours").write_text("in the way")
    tracker = TensorBoardTracker(tmp_path)
    with pytest.raises(OSError, match="tumours"):
        tracker.write(JOB, WHOLE)
    (tmp_path / "tumours").unlink()
    tracker.write(JOB, WHOLE)
    assert [step for step, _ in scalars(tmp_path, "loss/train")] == [1, 2, 3]
