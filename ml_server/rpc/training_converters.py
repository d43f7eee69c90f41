"""Training jobs and their events between the contract and their values."""

from collections.abc import Callable
from typing import Any

from flare.common.v1 import job_pb2
from flare.ml.v1 import training_job_pb2, training_service_pb2

from ml_server.rpc.model_converters import metric_message, report_message
from ml_server.rpc.plan_converters import plan_message, training_plan
from ml_server.rpc.specification_converters import model_specification_message
from ml_server.training import events
from ml_server.training.jobs import NewTraining, TrainingSpec, record_of, version_name
from ml_server.training.record import TrainingRecord
from servicekit.jobs.follow import Heartbeat
from servicekit.jobs.values import STATE_CHANGED, Event, Job
from servicekit.rpc.jobs import (
    STATE_OF,
    attempt_message,
    duration_message,
    state_changed_message,
    timestamp_message,
)
from servicekit.rpc.status import status_message

LIMIT_KIND = {
    events.LimitKind.STEPS: training_job_pb2.LimitReached.KIND_STEPS,
    events.LimitKind.DURATION: training_job_pb2.LimitReached.KIND_DURATION,
}


def new_training(message: training_job_pb2.TrainingJob) -> NewTraining:
    """What CreateTrainingJob asks for."""
    plan = training_plan(message.plan)
    model_id = message.model.removeprefix("models/")
    return NewTraining(model_id, message.view, plan, message.priority, message.base_version)


def job_message(job: Job, *, with_network: bool = True) -> training_job_pb2.TrainingJob:
    """A training job; without its network in lists, which many large ones would make larger than a message may be."""
    spec = TrainingSpec.of(job, with_network=with_network)
    return training_job_pb2.TrainingJob(
        name=f"trainingJobs/{job.id}",
        model=f"models/{spec.model_id}",
        view=spec.view,
        plan=plan_message(spec.plan),
        state=STATE_OF[job.state],
        progress=progress_message(events.Progress(**job.progress)) if job.progress else None,
        version=version_name(job),
        error=status_message(job.error) if job.error else None,
        attempts=map(attempt_message, job.attempts),
        last_sequence=job.last_sequence,
        create_time=timestamp_message(job.create_time),
        start_time=timestamp_message(job.start_time),
        end_time=timestamp_message(job.end_time),
        view_digest=spec.view_digest,
        priority=job.priority,
        queue_position=job.queue_position,
        sweep=f"sweeps/{spec.sweep}" if spec.sweep else "",
        base_version=spec.base.name if spec.base else "",
        record=_record_message(spec, record_of(job)),
    )


def unsaved_job_message(spec: TrainingSpec) -> training_job_pb2.TrainingJob:
    """The job as it would be, for a request that only checks."""
    return training_job_pb2.TrainingJob(
        model=f"models/{spec.model_id}",
        view=spec.view,
        plan=plan_message(spec.plan),
        view_digest=spec.view_digest,
        base_version=spec.base.name if spec.base else "",
        record=_record_message(spec, TrainingRecord()),
    )


def _record_message(spec: TrainingSpec, record: TrainingRecord) -> training_job_pb2.TrainingRecord:
    network = model_specification_message(spec.specification) if spec.specification else None
    return training_job_pb2.TrainingRecord(specification=network, **record.model_dump())


def watch_message(message: Job | Event | Heartbeat) -> training_service_pb2.WatchTrainingJobResponse:
    """A message of a watch."""
    match message:
        case Job():
            return training_service_pb2.WatchTrainingJobResponse(snapshot=job_message(message))
        case Event():
            return training_service_pb2.WatchTrainingJobResponse(event=event_message(message))
        case Heartbeat(sequence):
            return training_service_pb2.WatchTrainingJobResponse(heartbeat=job_pb2.Heartbeat(sequence=sequence))


def event_message(event: Event) -> training_job_pb2.TrainingEvent:
    """An event of a training job's log."""
    message = training_job_pb2.TrainingEvent(
        sequence=event.sequence,
        time=timestamp_message(event.time),
        attempt=event.attempt,
        coalesced_from=event.coalesced_from,
    )
    member = getattr(message, event.kind)
    if event.kind == STATE_CHANGED:
        member.CopyFrom(state_changed_message(event.payload))
    else:
        value = events.event_of(event.kind, event.payload)
        member.CopyFrom(_MESSAGES[type(value)](value))
    return message


def progress_message(progress: events.Progress) -> training_job_pb2.TrainingProgress:
    """How far a training is."""
    return training_job_pb2.TrainingProgress(
        finished_epochs=progress.finished_epochs,
        total_epochs=progress.total_epochs,
        epoch_steps=progress.epoch_steps,
        total_epoch_steps=progress.total_epoch_steps,
        train_loss=progress.train_loss,
        samples_per_second=progress.samples_per_second,
        remaining_time=duration_message(progress.remaining_seconds),
        best_epoch=progress.best_epoch,
        best_validation_loss=progress.best_validation_loss or 0.0,
    )


def _epoch_message(event: events.EpochFinished) -> training_job_pb2.EpochFinished:
    return training_job_pb2.EpochFinished(
        epoch=event.epoch,
        train_loss=event.train_loss,
        validation_loss=event.validation_loss,
        validation_metrics=map(metric_message, event.validation_metrics),
        learning_rate=event.learning_rate,
        duration=duration_message(event.seconds),
        samples_per_second=event.samples_per_second,
        is_best=event.is_best,
        validation_reports=map(report_message, event.validation_reports),
    )


def _test_message(event: events.TestFinished) -> training_job_pb2.TestFinished:
    return training_job_pb2.TestFinished(
        metrics=map(metric_message, event.metrics),
        best_epoch=event.best_epoch,
        reports=map(report_message, event.reports),
    )


def _limit_message(event: events.LimitReached) -> training_job_pb2.LimitReached:
    return training_job_pb2.LimitReached(kind=LIMIT_KIND[event.kind], steps=event.steps)


def _alike(message: Callable[..., Any]) -> Callable[[Any], Any]:
    """For events whose fields are those of their message."""
    return lambda event: message(**vars(event))


_MESSAGES: dict[type[events.TrainingEvent], Callable[[Any], Any]] = {
    events.DataFetched: _alike(training_job_pb2.DataFetched),
    events.TrainingStarted: _alike(training_job_pb2.TrainingStarted),
    events.Progress: progress_message,
    events.EpochFinished: _epoch_message,
    events.CheckpointSaved: _alike(training_job_pb2.CheckpointSaved),
    events.EarlyStopped: _alike(training_job_pb2.EarlyStopped),
    events.LimitReached: _limit_message,
    events.TestFinished: _test_message,
    events.VersionCreated: _alike(training_job_pb2.VersionCreated),
    events.TrainingWarning: _alike(training_job_pb2.TrainingWarning),
}
