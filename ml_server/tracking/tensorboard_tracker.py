"""Shows trainings in TensorBoard: a folder of event files for each job."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf.struct_pb2 import Value
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.metadata import create_summary_metadata

from ml_server.tracking.event_folder import EventFolder
from ml_server.tracking.series import epoch_series, metric_series
from ml_server.tracking.tracker import StateChanged, TrackedEvent, TrackedJob
from ml_server.training.events import EpochFinished, TestFinished, TrainingStarted, TrainingWarning, VersionCreated
from servicekit.jobs.values import JobState

_STATUS = {
    JobState.SUCCEEDED: api_pb2.STATUS_SUCCESS,
    JobState.FAILED: api_pb2.STATUS_FAILURE,
    JobState.CANCELLED: api_pb2.STATUS_UNKNOWN,
}


class TensorBoardTracker:
    """Writes `{directory}/{model}/{job}`, which TensorBoard shows as a run of that name."""

    name = "tensorboard"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, EventFolder] = {}

    def write(self, job: TrackedJob, events: Sequence[TrackedEvent]) -> None:
        """As Tracker says."""
        if job.id not in self._open:
            self._open[job.id] = EventFolder(self._directory / job.model / job.id)
        folder = self._open[job.id]
        try:
            with folder.adding():
                for event in events:
                    step, values = _summary(job, event)
                    folder.add(event.time.timestamp(), step, values)
        except BaseException:
            self.leave(job)  # what of it is on the disk is read when it is opened again
            raise

    def leave(self, job: TrackedJob) -> None:
        """As Tracker says."""
        folder = self._open.pop(job.id, None)
        if folder is not None:
            folder.close()


def _summary(job: TrackedJob, event: TrackedEvent) -> tuple[int, list[Summary.Value]]:
    """The step that an event belongs to, and what is shown of it."""
    match event.content:
        case TrainingStarted() as started:
            about = {
                "device": started.device,
                "parameters": started.parameter_count,
                "features": started.feature_count,
                "training rows": started.train_rows,
                "validation rows": started.validation_rows,
                "test rows": started.test_rows,
                "epochs made before": started.resumed_epochs,
            }
            return event.attempt, [_text("attempt", _table(about))]
        case EpochFinished() as epoch:
            return epoch.epoch, _scalars(epoch_series(epoch))
        case TestFinished() as test:
            return test.best_epoch, _scalars(metric_series("test", test.metrics))
        case VersionCreated(version):
            return 0, [_text("version", version)]
        case TrainingWarning(message):
            return event.sequence, [_text("warnings", message)]
        case StateChanged(JobState.RUNNING):
            return 0, [_text("plan", _table(job.parameters)), _text("job", _table(_record(job))), _begun(job, event)]
        case StateChanged(state, error) if state.is_final:
            return 0, [_text("ended", f"{state.value}: {error}" if error else state.value), _ended(state, event)]
        case _:
            return 0, []


def _record(job: TrackedJob) -> dict[str, str]:
    found = {
        "job": job.name,
        "owner": job.owner,
        "model": f"models/{job.model}",
        "view": job.view,
        "view digest": job.view_digest,
        "base version": job.base_version,
        "sweep": job.sweep,
    }
    return {name: value for name, value in found.items() if value}


def _scalars(series: Mapping[str, float]) -> list[Summary.Value]:
    return [Summary.Value(tag=name, simple_value=value) for name, value in series.items()]


def _text(tag: str, text: str) -> Summary.Value:
    """Markdown for the tab of texts. Without dimensions: a list of one text would be shown as a table."""
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=TensorShapeProto())
    return Summary.Value(tag=tag, metadata=create_summary_metadata(display_name=tag, description=""), tensor=tensor)


def _table(rows: Mapping[str, object]) -> str:
    lines = (f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows.items())
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _begun(job: TrackedJob, event: TrackedEvent) -> Summary.Value:
    """What the tab of hyperparameters shows of a run."""
    parameters = {"model": job.model, "view": job.view, **job.parameters}
    begun = SessionStartInfo(group_name=job.id, start_time_secs=event.time.timestamp())
    for name, value in parameters.items():
        begun.hparams[name].CopyFrom(_value(value))
    return _session(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=begun))


def _ended(state: JobState, event: TrackedEvent) -> Summary.Value:
    ended = SessionEndInfo(status=_STATUS[state], end_time_secs=event.time.timestamp())
    return _session(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=ended))


def _session(tag: str, data: HParamsPluginData) -> Summary.Value:
    data.version = metadata.PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)


def _value(parameter: object) -> Value:
    if isinstance(parameter, bool):
        return Value(bool_value=parameter)
    return Value(number_value=parameter) if isinstance(parameter, int | float) else Value(string_value=str(parameter))
