"""The training loop: what a step sees, what it changes, and which epoch wins."""

import io
import math
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ml_server.features.columns import ColumnType
from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.training import loop
from ml_server.training.events import EarlyStopped, EpochFinished, LimitKind, LimitReached, Progress
from ml_server.training.loop import LoopEvent, train
from ml_server.training.objective import Objective
from ml_server.training.optimizers import build_optimizer
from ml_server.training.plans import (
    Adagrad,
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    EarlyStopping,
    OneCycleSchedule,
    Optimizer,
    Precision,
    ReduceOnPlateauSchedule,
    RmsProp,
    Schedule,
    Sgd,
    StepSchedule,
    TrainingPlan,
)
from ml_server.training.rows import Rows
from ml_server.training.schedules import LearningRate
from ml_server.training.state import LoopState, steps_per_epoch
from servicekit.errors import FlareError, Reason

NUMBER = FittedTargets(targets=(FittedTarget(name="y", type=ColumnType.FLOAT, task=Task.REGRESSION),))
NONE = Rows(torch.empty(0, 1), (torch.empty(0),))


def line(rows: int) -> Rows:
    """Rows 0, 1, 2, ... with y = 2x on a scale that trains well."""
    x = torch.linspace(-1, 1, rows)
    return Rows(x[:, None], (2 * x,))


def numbered(rows: int) -> Rows:
    """Rows that are their own number."""
    return Rows(torch.arange(float(rows))[:, None], (torch.zeros(rows),))


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 400), size=st.integers(1, 150), seed=st.integers(0, 2**63 - 1))
def test_batches_cover_every_row_once_an_epoch_but_for_a_single_one_left_over(rows: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = [batch.features[:, 0].tolist() for batch in numbered(rows).shuffled_batches(size, generator)]
    together = [row for batch in batches for row in batch]
    assert len(set(together)) == len(together)
    is_single = rows % size == 1 and rows > 1 and size > 1
    assert len(together) == rows - is_single
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches) == steps_per_epoch(TrainingPlan(batch_size=size), rows)


def test_another_row_is_left_out_each_time_and_targets_stay_with_their_rows() -> None:
    rows = Rows(torch.arange(5.0)[:, None], (torch.arange(5.0) * 10,))
    generator = torch.Generator().manual_seed(0)
    left_out = set()
    for _ in range(50):
        seen = set()
        for batch in rows.shuffled_batches(2, generator):
            assert torch.equal(batch.features[:, 0] * 10, batch.targets[0])
            seen |= set(batch.features[:, 0].tolist())
        left_out |= set(range(5)) - seen
    assert left_out == set(range(5))


def test_rows_beyond_what_is_gathered_at_a_time_are_all_there() -> None:
    rows = numbered(70_001)
    batches = list(rows.shuffled_batches(1000, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [1000] * 70
    assert len({row for batch in batches for row in batch.features[:, 0].tolist()}) == 70_000


def rates(schedule: Schedule, *, epochs: int, steps: int, warmup: int = 0) -> list[float]:
    """The learning rate of each step, from a first rate of 1."""
    plan = TrainingPlan(epochs=epochs, learning_rate=1.0, schedule=schedule, warmup_steps=warmup, optimizer=Sgd())
    optimizer = build_optimizer(plan, [nn.Parameter(torch.zeros(1))])
    rate = LearningRate(plan, optimizer, steps)
    found = []
    for _ in range(epochs * steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        rate.step_finished()
    return found


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (ConstantSchedule(), lambda step: 1.0),
        (StepSchedule(epochs=2, factor=0.5), lambda step: 0.5 ** (step // 5 // 2)),
        (CosineSchedule(), lambda step: (1 + math.cos(math.pi * step / 30)) / 2),
        (CosineSchedule(final_fraction=0.2), lambda step: 0.2 + 0.8 * (1 + math.cos(math.pi * step / 30)) / 2),
    ],
)
def test_the_learning_rate_follows_its_formula_step_by_step(
    schedule: Schedule, formula: Callable[[int], float]
) -> None:
    assert rates(schedule, epochs=6, steps=5) == pytest.approx([formula(step) for step in range(30)])


def test_the_learning_rate_warms_up_before_its_schedule_begins() -> None:
    warm = rates(CosineSchedule(), epochs=6, steps=5, warmup=10)
    assert warm[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert warm[10:] == pytest.approx([(1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)])
    assert rates(ConstantSchedule(), epochs=1, steps=4, warmup=100) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def train_all(
    model: nn.Module, plan: TrainingPlan, rows: Rows, validation: Rows = NONE, targets: FittedTargets = NUMBER
) -> tuple[LoopState, list[LoopEvent]]:
    state = LoopState.start(model, plan, len(rows))
    return state, list(train(state, plan, Objective.of(plan, targets, rows), rows, validation))


def epochs_of(events: Sequence[object]) -> list[EpochFinished]:
    return [event for event in events if isinstance(event, EpochFinished)]


def test_an_epoch_tells_the_learning_rate_of_its_last_step() -> None:
    plan = TrainingPlan(
        epochs=4, batch_size=5, learning_rate=0.1, optimizer=Sgd(), schedule=StepSchedule(epochs=2, factor=0.1)
    )
    _, events = train_all(nn.Linear(1, 1), plan, line(20))
    assert [epoch.learning_rate for epoch in epochs_of(events)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        (Sgd(momentum=0.9, nesterov=True, weight_decay=0.1), torch.optim.SGD),
        (Adam(weight_decay=0.1), torch.optim.Adam),
        (AdamW(), torch.optim.AdamW),
        (RmsProp(momentum=0.5, weight_decay=0.1), torch.optim.RMSprop),
        (Adagrad(weight_decay=0.1), torch.optim.Adagrad),
    ],
)
def test_every_optimizer_takes_the_steps_of_pytorchs_own(
    optimizer: Optimizer, reference: Callable[..., torch.optim.Optimizer]
) -> None:
    rows = line(8)
    ours, theirs = nn.Linear(1, 1), nn.Linear(1, 1)
    theirs.load_state_dict(ours.state_dict())
    plan = TrainingPlan(epochs=5, batch_size=8, learning_rate=0.05, optimizer=optimizer)
    train_all(ours, plan, rows)
    options = {name: value for name, value in optimizer.model_dump().items() if name != "kind"}
    stepper = reference(theirs.parameters(), lr=0.05, **options)
    for _ in range(5):
        stepper.zero_grad()
        nn.functional.mse_loss(theirs(rows.features)[:, 0], rows.targets[0]).backward()  # type: ignore[no-untyped-call]
        stepper.step()
    assert ours.weight.item() == pytest.approx(theirs.weight.item(), rel=1e-5)
    assert ours.bias.item() == pytest.approx(theirs.bias.item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("clip", "moved"), [(0.5, 0.05), (0.0, 0.1 * 2000)])
def test_gradients_are_scaled_down_to_the_norm_of_the_plan(clip: float, moved: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    far = Rows(torch.ones(2, 1), (torch.full((2,), 1000.0),))  # the gradient is -2000
    plan = TrainingPlan(epochs=1, batch_size=2, learning_rate=0.1, optimizer=Sgd(), gradient_clip_norm=clip)
    train_all(model, plan, far)
    assert model.weight.item() == pytest.approx(moved, rel=1e-4)


class Scripted(nn.Module):
    """A network whose error on validation rows is scripted, epoch by epoch; its weight grows with each step."""

    def __init__(self, losses: Sequence[float]) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(()))
        self.losses = list(losses)
        self.epoch = 0

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            return features * 0 - self.steps  # each step takes the weight further from 0
        loss = self.losses[self.epoch]
        self.epoch += 1
        return torch.full((len(features), 1), math.sqrt(loss)) + 0 * self.steps


def scripted(losses: Sequence[float], stopping: EarlyStopping | None) -> tuple[LoopState, list[object]]:
    zeros = Rows(torch.zeros(4, 1), (torch.full((4,), 100.0),))
    plan = TrainingPlan(epochs=len(losses), batch_size=4, optimizer=Sgd(), learning_rate=1e-3, early_stopping=stopping)
    validation = Rows(torch.zeros(1, 1), (torch.zeros(1),))
    state, events = train_all(Scripted(losses), plan, zeros, validation)
    return state, list(events)


def test_patience_counts_the_epochs_since_the_best() -> None:
    state, events = scripted([5, 4, 6, 3, 7, 7, 7, 1], EarlyStopping(patience=3))
    assert events[-1] == EarlyStopped(7, 4)
    assert [epoch.is_best for epoch in epochs_of(events)] == [True, True, False, True, False, False, False]
    assert state.best.epoch == 4
    assert state.best.loss == pytest.approx(3)


def test_min_delta_decides_when_to_stop_and_the_lowest_loss_which_weights_stay() -> None:
    # Each epoch is a little better than the one before, but none by as much as the plan asks for.
    state, events = scripted([5, 4.9, 4.8, 4.7, 4.6], EarlyStopping(patience=3, min_delta=0.5))
    assert events[-1] == EarlyStopped(4, 4)
    assert state.best.epoch == 4
    assert state.best.loss == pytest.approx(4.7)
    assert all(epoch.is_best for epoch in epochs_of(events))
    # Together they are: 5 to 4.4 is enough.
    _, events = scripted([5, 4.8, 4.6, 4.4, 4.3, 4.2, 4.1], EarlyStopping(patience=3, min_delta=0.5))
    assert events[-1] == EarlyStopped(7, 7)


def test_without_early_stopping_all_epochs_run_and_the_best_weights_stay() -> None:
    state, events = scripted([5, 1, 7, 7, 7, 7], None)
    assert len(epochs_of(events)) == 6
    assert not any(isinstance(event, EarlyStopped) for event in events)
    final = float(state.model.state_dict()["steps"])
    assert abs(float(state.best.weights["steps"])) < abs(final)  # those of epoch 2, not a view of the last ones


def test_where_validation_knows_no_class_the_training_loss_decides() -> None:
    targets = FittedTargets(
        targets=(
            FittedTarget(name="y", type=ColumnType.CATEGORICAL, task=Task.BINARY_CLASSIFICATION, classes=("a", "b")),
        )
    )
    rows = Rows(torch.tensor([[-1.0], [1.0]]), (torch.tensor([0, 1]),))
    unseen = Rows(torch.ones(3, 1), (torch.full((3,), UNSEEN),))
    _, events = train_all(nn.Linear(1, 2), TrainingPlan(epochs=2, batch_size=2), rows, unseen, targets)
    for epoch in epochs_of(events):
        assert epoch.validation_loss == epoch.train_loss
        assert epoch.validation_metrics[0].value == 0.0


def test_the_training_loss_is_the_mean_over_the_rows_of_uneven_batches() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = nn.Parameter(torch.zeros(1))

        def forward(self, features: Tensor) -> Tensor:
            return features + 0 * self.nothing

    x = torch.arange(7.0)
    rows = Rows(x[:, None], (torch.zeros(7),))
    _, events = train_all(Fixed(), TrainingPlan(epochs=1, batch_size=4, optimizer=Sgd()), rows)
    (epoch,) = epochs_of(events)
    assert epoch.train_loss == pytest.approx(float((x**2).mean()))


def test_a_loss_that_is_not_finite_ends_the_training_with_the_remedy() -> None:
    rows = Rows(torch.full((4, 1), 1e30), (torch.zeros(4),))
    with pytest.raises(FlareError) as failed:
        train_all(nn.Linear(1, 1), TrainingPlan(epochs=1, batch_size=2), rows)
    assert failed.value.reason is Reason.TRAINING_DIVERGED
    assert failed.value.metadata["epoch"] == "1"
    assert "lower the learning rate, or set gradient_clip_norm" in failed.value.message


def test_the_one_cycle_is_that_of_pytorch() -> None:
    optimizer = build_optimizer(TrainingPlan(), [nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=1001, cycle_momentum=False)
    expected = []
    for _ in range(1000):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        theirs.step()
    ours = rates(OneCycleSchedule(), epochs=100, steps=10)
    assert ours[0] == pytest.approx(1 / 25)
    assert max(ours) == pytest.approx(1.0)
    assert ours == pytest.approx(expected, abs=5e-3)  # PyTorch's has one step less to rise in


def test_on_a_plateau_the_rate_falls_to_its_least() -> None:
    schedule = ReduceOnPlateauSchedule(patience=2, factor=0.1, min_delta=0.5, min_learning_rate=0.005)
    optimizer = build_optimizer(TrainingPlan(), [nn.Parameter(torch.zeros(1))])
    rate = LearningRate(TrainingPlan(learning_rate=1.0, schedule=schedule), optimizer, 5)
    seen = []
    for loss in (5, 4, 3.9, 3.8, 3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4):
        rate.epoch_finished(loss)
        seen.append(rate.current)
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005, 0.005])
    other = LearningRate(TrainingPlan(learning_rate=1.0, schedule=schedule), optimizer, 5)
    other.load_state_dict(rate.state_dict())
    assert other.current == pytest.approx(0.005)


def test_gradients_of_several_batches_make_the_step_of_one_large_batch() -> None:
    rows = line(22)  # the last of the small batches, and the last step, have fewer rows
    small, large = nn.Linear(1, 1), nn.Linear(1, 1)
    large.load_state_dict(small.state_dict())
    plan = TrainingPlan(epochs=3, learning_rate=0.1, optimizer=Sgd(momentum=0.5), seed=3)
    in_parts = plan.model_copy(update={"batch_size": 4, "accumulation_steps": 3})
    assert steps_per_epoch(in_parts, 22) == 2
    train_all(small, in_parts, rows)
    train_all(large, plan.model_copy(update={"batch_size": 12}), rows)
    assert small.weight.item() == pytest.approx(large.weight.item(), rel=1e-5)


def test_a_limit_of_steps_ends_the_loop_in_the_middle_of_an_epoch_with_its_validation() -> None:
    plan = TrainingPlan(epochs=10, batch_size=4, max_steps=7)
    state, events = train_all(nn.Linear(1, 1), plan, line(20), line(6))
    assert events[-1] == LimitReached(LimitKind.STEPS, 7)
    assert len(epochs_of(events)) == 2
    assert state.best.epoch > 0
    _, events = train_all(nn.Linear(1, 1), plan.model_copy(update={"epochs": 1}), line(20), line(6))
    assert not any(isinstance(event, LimitReached) for event in events)  # the epochs were over first


def test_a_limit_of_time_ends_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("ml_server.training.loop.time.monotonic", lambda: float(next(clock)))
    _, events = train_all(nn.Linear(1, 1), TrainingPlan(epochs=1000, batch_size=4, max_seconds=50), line(20))
    assert isinstance(events[-1], LimitReached)
    assert events[-1].kind is LimitKind.DURATION
    assert 0 < events[-1].steps < 60


def test_half_precision_trains_and_keeps_weights_in_float32() -> None:
    plan = TrainingPlan(epochs=60, batch_size=8, learning_rate=0.05, precision=Precision.BFLOAT16)
    model = nn.Linear(1, 1)
    _, events = train_all(model, plan, line(64))
    assert model.weight.dtype is torch.float32
    assert model.weight.item() == pytest.approx(2, abs=0.1)
    losses = {epoch.train_loss for epoch in epochs_of(events)}
    _, exact = train_all(nn.Linear(1, 1), plan.model_copy(update={"precision": Precision.FLOAT32}), line(64))
    assert losses != {epoch.train_loss for epoch in epochs_of(exact)}  # it did compute with other numbers


class Noisy(nn.Module):
    """A network that draws from torch's random state at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return result


def test_an_event_comes_after_each_step_while_somebody_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", math.inf)
    plan, rows = TrainingPlan(epochs=1, batch_size=4), line(40)
    state, asked = LoopState.start(nn.Linear(1, 1), plan, len(rows)), 0

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        return 3 <= asked <= 5

    events = train(state, plan, Objective.of(plan, NUMBER, rows), rows, NONE, is_wanted=is_wanted)
    assert [event.epoch_steps for event in events if isinstance(event, Progress)] == [1, 4, 5, 6]


@settings(max_examples=25, deadline=None)
@given(
    breaks=st.lists(st.integers(1, 60), max_size=4),
    accumulation=st.integers(1, 3),
    schedule=st.sampled_from([CosineSchedule(), ReduceOnPlateauSchedule(patience=1), OneCycleSchedule()]),
)
def test_a_loop_broken_at_any_event_ends_with_the_weights_of_an_unbroken_one(
    breaks: list[int], accumulation: int, schedule: Schedule
) -> None:
    rows, validation = line(50), line(9)
    plan = TrainingPlan(
        epochs=4,
        batch_size=4,
        accumulation_steps=accumulation,
        schedule=schedule,
        learning_rate=0.02,
        early_stopping=EarlyStopping(patience=3),
        max_steps=40,
        seed=5,
    )

    def fresh() -> LoopState:
        torch.manual_seed(9)
        return LoopState.start(Noisy(), plan, len(rows))

    def events_of(state: LoopState) -> Iterator[LoopEvent]:
        return train(state, plan, Objective.of(plan, NUMBER, rows), rows, validation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_SECONDS", 0.0)  # an event after every step
        whole = fresh()
        losses = [event.validation_loss for event in epochs_of(list(events_of(whole)))]
        state, told = fresh(), dict[int, float]()
        for survived in [*breaks, 1000]:
            for number, event in enumerate(events_of(state), 1):
                if isinstance(event, EpochFinished):
                    told[event.epoch] = event.validation_loss
                if number == survived:
                    break
            content = io.BytesIO()
            torch.save(state.state_dict(), content)
            content.seek(0)
            torch.manual_seed(1234)  # another process knows nothing of this one's random state
            state = LoopState.start(Noisy(), plan, len(rows))
            state.load_state_dict(torch.load(content, weights_only=True))
    assert [told[epoch] for epoch in sorted(told)] == losses
    for mine, theirs in (
        (state.model.state_dict(), whole.model.state_dict()),
        (state.best.weights, whole.best.weights),
    ):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
