"""Sweeps, their trials and events between the contract and their values."""

from collections.abc import Callable
from typing import Any

from flare.common.v1 import job_pb2
from flare.ml.v1 import sweep_pb2, sweep_service_pb2, training_job_pb2

from ml_server.rpc.plan_converters import plan_message, training_plan
from ml_server.sweeps import events, values
from ml_server.sweeps.jobs import NewSweep
from ml_server.sweeps.values import SweepSpec
from ml_server.training.jobs import NewTraining
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

TRIAL_STATE = {
    events.TrialState.RUNNING: sweep_pb2.SweepTrial.STATE_RUNNING,
    events.TrialState.SUCCEEDED: sweep_pb2.SweepTrial.STATE_SUCCEEDED,
    events.TrialState.PRUNED: sweep_pb2.SweepTrial.STATE_PRUNED,
    events.TrialState.FAILED: sweep_pb2.SweepTrial.STATE_FAILED,
    events.TrialState.CANCELLED: sweep_pb2.SweepTrial.STATE_CANCELLED,
}


def new_sweep(message: sweep_pb2.Sweep) -> NewSweep:
    """What CreateSweep asks for. Raises InvalidArgument (INVALID_FIELD)."""
    plan = training_plan(message.plan)
    model_id = message.model.removeprefix("models/")
    search = values.Search(
        parameters=tuple(map(_parameter, message.parameters)),
        objective=values.Objective(
            metric=message.objective.metric or "validation_loss", target=message.objective.target
        ),
        sampler=_sampler(message),
        pruner=_pruner(message),
        max_trials=message.max_trials,
        parallel_trials=message.parallel_trials or 1,
        max_seconds=message.max_duration.ToNanoseconds() / 1e9,
        seed=message.seed,
    )
    return NewSweep(NewTraining(model_id, message.view, plan, message.priority, message.base_version), search)


def _parameter(message: sweep_pb2.SweepParameter) -> values.Parameter:
    match message.WhichOneof("values"):
        case "float_range":
            floats = message.float_range
            found: Any = values.FloatRange(min=floats.min, max=floats.max, log=floats.log)
        case "integer_range":
            integers = message.integer_range
            found = values.IntegerRange(min=integers.min, max=integers.max, step=integers.step or 1, log=integers.log)
        case _:
            found = values.Choices(values=tuple(map(_scalar, message.choices.values)))
    return values.Parameter(path=message.path, values=found)


def _scalar(message: sweep_pb2.ParameterValue) -> values.Scalar:
    found: values.Scalar = getattr(message, message.WhichOneof("value") or "string_value")
    return found


def _sampler(message: sweep_pb2.Sweep) -> values.Sampler:
    match message.WhichOneof("sampler"):
        case "random":
            return values.Random()
        case "grid":
            return values.Grid(points=message.grid.points or 5)
        case "gaussian_process":
            return values.GaussianProcess(startup_trials=message.gaussian_process.startup_trials or 10)
        case _:
            return values.Tpe(startup_trials=message.tpe.startup_trials or 10)


def _pruner(message: sweep_pb2.Sweep) -> values.Pruner:
    match message.WhichOneof("pruner"):
        case "median":
            median = message.median
            return values.MedianPruner(startup_trials=median.startup_trials or 5, warmup_epochs=median.warmup_epochs)
        case "percentile":
            percentile = message.percentile
            return values.PercentilePruner(
                percentile=percentile.percentile,
                startup_trials=percentile.startup_trials or 5,
                warmup_epochs=percentile.warmup_epochs,
            )
        case "successive_halving":
            halving = message.successive_halving
            return values.SuccessiveHalvingPruner(
                min_epochs=halving.min_epochs or 1, reduction_factor=halving.reduction_factor or 4
            )
        case "hyperband":
            band = message.hyperband
            return values.HyperbandPruner(min_epochs=band.min_epochs or 1, reduction_factor=band.reduction_factor or 3)
        case _:
            return values.NoPruner()


def sweep_message(job: Job) -> sweep_pb2.Sweep:
    """A sweep."""
    spec = SweepSpec.model_validate(job.spec)
    progress = events.Progress(**job.progress) if job.progress else events.Progress()
    message = unsaved_sweep_message(spec, job.priority)
    message.name = f"sweeps/{job.id}"
    message.state = STATE_OF[job.state]
    message.progress.MergeFrom(_progress_message(progress, spec.total_trials))
    if progress.best_trial is not None:
        message.best_trial.CopyFrom(trial_message(progress.best_trial))
    message.version = str(job.result["version"]) if job.result else ""
    if job.error is not None:
        message.error.CopyFrom(status_message(job.error))
    message.attempts.extend(map(attempt_message, job.attempts))
    message.last_sequence = job.last_sequence
    for name in ("create_time", "start_time", "end_time"):
        if (time := timestamp_message(getattr(job, name))) is not None:
            getattr(message, name).CopyFrom(time)
    return message


def unsaved_sweep_message(spec: SweepSpec, priority: int) -> sweep_pb2.Sweep:
    """The sweep as it would be, for a request that only checks."""
    training, search = spec.training, spec.search
    message = sweep_pb2.Sweep(
        model=f"models/{training.model_id}",
        view=training.view,
        plan=plan_message(training.plan),
        parameters=map(_parameter_message, search.parameters),
        objective=sweep_pb2.SweepObjective(metric=search.objective.metric, target=search.objective.target),
        max_trials=spec.total_trials,
        parallel_trials=search.parallel_trials,
        max_duration=duration_message(search.max_seconds) if search.max_seconds else None,
        seed=search.seed,
        priority=priority,
        view_digest=training.view_digest,
        base_version=training.base.name if training.base else "",
    )
    for union in (search.sampler, search.pruner):
        member = getattr(message, union.kind)
        member.SetInParent()
        for name in type(union).model_fields:
            if name != "kind":
                setattr(member, name, getattr(union, name))
    return message


def _parameter_message(parameter: values.Parameter) -> sweep_pb2.SweepParameter:
    message = sweep_pb2.SweepParameter(path=parameter.path)
    match parameter.values:
        case values.FloatRange(min=low, max=high, log=log):
            message.float_range.min, message.float_range.max, message.float_range.log = low, high, log
        case values.IntegerRange() as integers:
            message.integer_range.min, message.integer_range.max = integers.min, integers.max
            message.integer_range.step, message.integer_range.log = integers.step, integers.log
        case values.Choices(values=choices):
            message.choices.values.extend(map(_value_message, choices))
    return message


def _value_message(value: values.Scalar) -> sweep_pb2.ParameterValue:
    match value:
        case bool():
            return sweep_pb2.ParameterValue(bool_value=value)
        case int():
            return sweep_pb2.ParameterValue(integer_value=value)
        case float():
            return sweep_pb2.ParameterValue(double_value=value)
        case str():
            return sweep_pb2.ParameterValue(string_value=value)


def _progress_message(progress: events.Progress, total: int) -> sweep_pb2.SweepProgress:
    return sweep_pb2.SweepProgress(
        total_trials=total,
        running_trials=progress.running,
        succeeded_trials=progress.succeeded,
        pruned_trials=progress.pruned,
        failed_trials=progress.failed,
        cancelled_trials=progress.cancelled,
    )


def trial_message(trial: events.Trial) -> sweep_pb2.SweepTrial:
    """A trial."""
    return sweep_pb2.SweepTrial(
        number=trial.number,
        training_job=f"trainingJobs/{trial.training_job}",
        parameters={path: _value_message(value) for path, value in trial.parameters.items()},
        state=TRIAL_STATE[trial.state],
        value=trial.value,
        epoch=trial.epoch,
        finished_epochs=trial.finished_epochs,
        error=status_message(trial.cause) if trial.cause is not None else None,
    )


def watch_message(message: Job | Event | Heartbeat) -> sweep_service_pb2.WatchSweepResponse:
    """A message of a watch."""
    match message:
        case Job():
            return sweep_service_pb2.WatchSweepResponse(snapshot=sweep_message(message))
        case Event():
            return sweep_service_pb2.WatchSweepResponse(event=event_message(message))
        case Heartbeat(sequence):
            return sweep_service_pb2.WatchSweepResponse(heartbeat=job_pb2.Heartbeat(sequence=sequence))


def event_message(event: Event) -> sweep_pb2.SweepEvent:
    """An event of a sweep's log."""
    message = sweep_pb2.SweepEvent(sequence=event.sequence, time=timestamp_message(event.time), attempt=event.attempt)
    member = getattr(message, event.kind)
    if event.kind == STATE_CHANGED:
        member.CopyFrom(state_changed_message(event.payload))
    else:
        value = events.event_of(event.kind, event.payload)
        member.CopyFrom(_MESSAGES[type(value)](value))
    return message


def _trial_of(event: events.TrialStarted | events.TrialEnded | events.BestChanged) -> sweep_pb2.SweepTrial:
    return trial_message(event.trial)


def _alike(message: Callable[..., Any]) -> Callable[[Any], Any]:
    """For events whose fields are those of their message."""
    return lambda event: message(**vars(event))


_MESSAGES: dict[type[Any], Callable[[Any], Any]] = {
    events.TrialStarted: _trial_of,
    events.TrialPruned: _alike(sweep_pb2.TrialPruned),
    events.TrialEnded: _trial_of,
    events.BestChanged: _trial_of,
    events.VersionCreated: _alike(training_job_pb2.VersionCreated),
    events.TimeOver: _alike(sweep_pb2.SweepTimeOver),
}
