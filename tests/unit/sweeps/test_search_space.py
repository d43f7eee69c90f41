"""The points of a search, and what is refused before it begins."""

import pytest

from ml_server.sweeps import search_space
from ml_server.sweeps.plan_fields import with_values
from ml_server.sweeps.values import Choices, FloatRange, Grid, IntegerRange, Parameter, Search
from ml_server.training import plans
from ml_server.training.plans import TrainingPlan
from servicekit.errors import InvalidArgument

PLAN = TrainingPlan()
LEARNING_RATE = Parameter(path="learning_rate", values=FloatRange(min=0.001, max=0.1, log=True))
EPOCHS = Parameter(path="epochs", values=IntegerRange(min=1, max=9))
OPTIMIZER = Parameter(path="optimizer", values=Choices(values=("adam", "sgd")))
MOMENTUM = Parameter(path="optimizer.sgd.momentum", values=FloatRange(min=0.0, max=0.9))


def search(*parameters: Parameter, points: int = 3, max_trials: int = 0) -> Search:
    return Search(parameters=parameters, sampler=Grid(points=points), max_trials=max_trials)


def test_each_bound_and_each_choice_makes_a_plan_to_be_checked() -> None:
    probes = search_space.checked(PLAN, search(LEARNING_RATE, OPTIMIZER, MOMENTUM))
    assert [(probe.index, probe.path, probe.value) for probe in probes] == [
        (0, "learning_rate", 0.001),
        (0, "learning_rate", 0.1),
        (1, "optimizer", "adam"),
        (1, "optimizer", "sgd"),
        (2, "optimizer.sgd.momentum", 0.0),
        (2, "optimizer.sgd.momentum", 0.9),
    ]
    assert probes[1].plan == TrainingPlan(learning_rate=0.1)
    assert probes[5].plan == TrainingPlan(optimizer=plans.Sgd(momentum=0.9))


@pytest.mark.parametrize(
    ("parameter", "problem"),
    [
        (Parameter(path="weight_decay", values=Choices(values=(0.1,))), "no such field"),
        (Parameter(path="device", values=Choices(values=("cpu",))), "no such field"),
        (Parameter(path="batch_size", values=FloatRange(min=1, max=2)), "holds integers: take an integer range"),
        (Parameter(path="learning_rate", values=IntegerRange(min=1, max=2)), "floating-point numbers: take a float"),
        (Parameter(path="optimizer", values=IntegerRange(min=1, max=2)), "holds names: take choices"),
        (Parameter(path="optimizer", values=Choices(values=("lion",))), "choice 'lion' is not one of sgd, adam"),
        (Parameter(path="batch_size", values=Choices(values=(32, 0.5))), "choice 0.5 is not integers"),
        (Parameter(path="max_steps", values=Choices(values=(True,))), "choice True is not integers"),
        (Parameter(path="batch_size", values=Choices(values=(8, 8))), "stands there twice"),
        (Parameter(path="batch_size", values=IntegerRange(min=-4, max=4)), "value -4 makes no valid plan: batch_size"),
        (Parameter(path="learning_rate", values=FloatRange(min=0, max=1)), "value 0.0 makes no valid plan"),
        (Parameter(path="schedule.step.epochs", values=IntegerRange(min=1, max=9)), "no trial has the schedule step"),
        (EPOCHS, "two parameters of this path"),
    ],
    ids=lambda value: value.path if isinstance(value, Parameter) else value.split()[0],
)
def test_a_parameter_that_can_not_be_searched_is_refused_by_its_name(parameter: Parameter, problem: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        search_space.checked(PLAN, search(EPOCHS, parameter))
    assert refused.value.message.startswith(f"parameter '{parameter.path}': ")
    assert problem in refused.value.message
    assert [violation.field for violation in refused.value.violations] == ["sweep.parameters[1]"]


def test_a_schedule_whose_values_are_searched_too_needs_no_others() -> None:
    schedule = Parameter(path="schedule", values=Choices(values=("constant", "step")))
    epochs = Parameter(path="schedule.step.epochs", values=IntegerRange(min=2, max=9))
    probes = search_space.checked(PLAN, search(schedule, epochs))
    assert probes[1].plan.schedule == plans.StepSchedule(epochs=2)


def test_a_grid_has_each_point_once_and_members_only_their_own_parameters() -> None:
    space = search(LEARNING_RATE, OPTIMIZER, MOMENTUM)
    total = search_space.total_trials(PLAN, space)
    points = [search_space.grid_point(PLAN, space, 3, number) for number in range(1, total + 1)]
    assert total == 3 + 3 * 3
    assert len({tuple(point.items()) for point in points}) == total
    assert points[0] == {"optimizer": "adam", "learning_rate": 0.001}
    assert points[1] == {"optimizer": "adam", "learning_rate": pytest.approx(0.01)}
    assert points[4] == {"optimizer": "sgd", "learning_rate": 0.001, "optimizer.sgd.momentum": 0.45}
    assert points[-1] == {"optimizer": "sgd", "learning_rate": 0.1, "optimizer.sgd.momentum": 0.9}
    assert len({with_values(PLAN, point).model_dump_json() for point in points}) == total
    with pytest.raises(IndexError):
        search_space.grid_point(PLAN, space, 3, total + 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (IntegerRange(min=1, max=3), [1, 2, 3]),
        (IntegerRange(min=0, max=100), [0, 50, 100]),
        (IntegerRange(min=0, max=100, step=30), [0, 60, 90]),
        (IntegerRange(min=8, max=128, log=True), [8, 32, 128]),
        (Choices(values=(1, 5, 2, 9)), [1, 5, 2, 9]),
    ],
    ids=str,
)
def test_the_values_of_a_range_in_a_grid_spread_from_bound_to_bound(
    values: IntegerRange | Choices, expected: list[int]
) -> None:
    space = search(Parameter(path="warmup_steps", values=values))
    total = search_space.total_trials(PLAN, space)
    points = [search_space.grid_point(PLAN, space, 3, number) for number in range(1, total + 1)]
    assert [point["warmup_steps"] for point in points] == expected


def test_trials_are_limited() -> None:
    large = Parameter(path="seed", values=IntegerRange(min=1, max=1_000_000))
    assert search_space.total_trials(PLAN, Search(parameters=(large,))) == 20
    assert search_space.total_trials(PLAN, search(large, points=1_000, max_trials=7)) == 7
    with pytest.raises(InvalidArgument, match="the grid has 1000000 points, the most is 10000: set max_trials"):
        search_space.total_trials(PLAN, search(large, points=1_000_000))
