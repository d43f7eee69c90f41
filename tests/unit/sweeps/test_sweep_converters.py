"""Sweeps between the contract and their values."""

from datetime import UTC, datetime

import pytest
from flare.ml.v1 import sweep_pb2

from ml_server.rpc.plan_converters import check_plan
from ml_server.rpc.sweep_converters import event_message, new_sweep, trial_message, unsaved_sweep_message
from ml_server.sweeps.events import (
    BestChanged,
    SweepEvent,
    TimeOver,
    Trial,
    TrialEnded,
    TrialPruned,
    TrialStarted,
    TrialState,
    VersionCreated,
    draft_of,
    event_of,
)
from ml_server.sweeps.values import (
    Choices,
    FloatRange,
    GaussianProcess,
    Grid,
    HyperbandPruner,
    IntegerRange,
    MedianPruner,
    NoPruner,
    Objective,
    Parameter,
    PercentilePruner,
    Pruner,
    Random,
    Sampler,
    Search,
    SuccessiveHalvingPruner,
    SweepSpec,
    Tpe,
)
from ml_server.training import plans
from ml_server.training.jobs import TrainingSpec
from ml_server.training.plans import TrainingPlan
from servicekit.errors import InvalidArgument, Reason
from servicekit.jobs.values import Event

SAMPLERS = (Tpe(startup_trials=4), Random(), Grid(points=3), GaussianProcess(startup_trials=7))
PRUNERS = (
    NoPruner(),
    MedianPruner(startup_trials=2, warmup_epochs=1),
    PercentilePruner(percentile=30, startup_trials=2, warmup_epochs=3),
    SuccessiveHalvingPruner(min_epochs=2, reduction_factor=3),
    HyperbandPruner(min_epochs=2, reduction_factor=2),
)
PARAMETERS = (
    Parameter(path="learning_rate", values=FloatRange(min=0.001, max=0.1, log=True)),
    Parameter(path="epochs", values=IntegerRange(min=2, max=20, step=3)),
    Parameter(path="batch_size", values=IntegerRange(min=8, max=256, log=True)),
    Parameter(path="optimizer", values=Choices(values=("adam", "sgd"))),
    Parameter(path="class_weights.balanced", values=Choices(values=(True, False))),
    Parameter(path="warmup_steps", values=Choices(values=(0, 5))),
    Parameter(path="gradient_clip_norm", values=Choices(values=(0.5, 1.0))),
)
FAULT = InvalidArgument(Reason.TRAINING_DIVERGED, "the loss became nan")
TRIAL = Trial(3, "s-3", {"learning_rate": 0.5, "optimizer": "sgd", "epochs": 4, "class_weights.balanced": True})


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda value: value.kind)
@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda value: value.kind)
def test_a_sweep_that_is_shown_asks_for_the_same_one(sampler: Sampler, pruner: Pruner) -> None:
    search = Search(
        parameters=PARAMETERS,
        objective=Objective(metric="accuracy", target="kind"),
        sampler=sampler,
        pruner=pruner,
        max_trials=12,
        parallel_trials=3,
        max_seconds=90.5,
        seed=5,
    )
    training = TrainingSpec(
        model_id="iris", model_uid="u", view="datasets/d/views/v", view_digest="x", plan=TrainingPlan(epochs=9)
    )
    message = unsaved_sweep_message(SweepSpec(training=training, search=search, total_trials=12), priority=4)
    asked = new_sweep(sweep_pb2.Sweep.FromString(message.SerializeToString()))
    assert asked.search == search
    assert (asked.training.model_id, asked.training.view) == ("iris", "datasets/d/views/v")
    assert (asked.training.plan, asked.training.priority) == (training.plan, 4)


def test_what_is_left_out_takes_the_defaults_of_the_contract() -> None:
    message = sweep_pb2.Sweep(model="models/iris", view="datasets/d/views/v")
    message.parameters.add(path="epochs").integer_range.max = 9
    search = new_sweep(message).search
    assert search == Search(parameters=(Parameter(path="epochs", values=IntegerRange(min=0, max=9)),))
    message.median.SetInParent()
    assert new_sweep(message).search.pruner == MedianPruner()


@pytest.mark.parametrize(
    "event",
    [
        TrialStarted(TRIAL),
        TrialPruned(3, 7, 0.25),
        TrialEnded(Trial(3, "s-3", {"epochs": 4}, TrialState.SUCCEEDED, 0.25, 3, 4)),
        TrialEnded(Trial(3, "s-3", {"epochs": 4}, TrialState.FAILED, None, 0, 2, FAULT.to_json())),
        BestChanged(TRIAL),
        VersionCreated("models/iris/versions/3"),
        TimeOver(2),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_are_read_back_and_shown(event: SweepEvent) -> None:
    draft = draft_of(event)
    assert event_of(draft.kind, draft.payload) == event
    message = event_message(Event(5, datetime(2026, 1, 1, tzinfo=UTC), 1, draft.kind, draft.payload))
    assert (message.sequence, message.WhichOneof("event")) == (5, draft.kind)


def test_a_trial_tells_its_values_with_their_types_and_why_it_failed() -> None:
    message = trial_message(TRIAL)
    assert (message.number, message.training_job, message.HasField("value")) == (3, "trainingJobs/s-3", False)
    kinds = {path: value.WhichOneof("value") for path, value in message.parameters.items()}
    assert kinds == {
        "learning_rate": "double_value",
        "optimizer": "string_value",
        "epochs": "integer_value",
        "class_weights.balanced": "bool_value",
    }
    failed = trial_message(Trial(1, "s-1", {}, TrialState.FAILED, error=FAULT.to_json()))
    assert failed.state == sweep_pb2.SweepTrial.STATE_FAILED
    assert failed.error.message == "the loss became nan"


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (TrainingPlan(learning_rate=200.0), "learning_rate: .*less than or equal to 100"),
        (TrainingPlan(optimizer=plans.Sgd(nesterov=True)), "nesterov needs a momentum"),
        (TrainingPlan(schedule=plans.StepSchedule(epochs=2, factor=0.0)), "0 stands for the default"),
    ],
    ids=["rule", "together", "no words"],
)
def test_a_plan_that_the_contract_would_not_take_is_refused(plan: TrainingPlan, problem: str) -> None:
    check_plan(TrainingPlan())
    with pytest.raises(InvalidArgument, match=problem):
        check_plan(plan)
