"""Which metrics a sweep can go by."""

import pytest

from ml_server.features.columns import ColumnType
from ml_server.features.targets import TargetColumn
from ml_server.sweeps.objectives import resolved
from ml_server.sweeps.values import Objective
from servicekit.errors import InvalidArgument

KIND = TargetColumn("kind", ColumnType.CATEGORICAL, 3)
PRICE = TargetColumn("price", ColumnType.FLOAT)
RED, ROUND = TargetColumn("red", ColumnType.BOOLEAN, 2), TargetColumn("round", ColumnType.BOOLEAN, 2)


@pytest.mark.parametrize(
    ("asked", "targets", "target", "maximise"),
    [
        (Objective(), [KIND, PRICE], "", False),
        (Objective(metric="accuracy"), [KIND], "kind", True),
        (Objective(metric="root_mean_squared_error"), [PRICE], "price", False),
        (Objective(metric="r2", target="price"), [KIND, PRICE], "price", True),
        (Objective(metric="hamming_distance"), [RED, ROUND], "", False),
        (Objective(metric="exact_match"), [RED, ROUND], "", True),
        (Objective(metric="auroc", target="round"), [RED, ROUND], "round", True),
    ],
    ids=str,
)
def test_an_objective_gets_its_target_and_its_direction(
    asked: Objective, targets: list[TargetColumn], target: str, maximise: bool
) -> None:
    found = resolved(asked, targets)
    assert (found.metric, found.target, found.maximise) == (asked.metric, target, maximise)


@pytest.mark.parametrize(
    ("asked", "targets", "problem", "field"),
    [
        (Objective(metric="r2"), [KIND], "target 'kind' has no metric 'r2'", "metric"),
        (Objective(metric="accuracy", target="price"), [PRICE], "has no metric 'accuracy'", "metric"),
        (Objective(metric="accuracy", target="x"), [KIND], "no target 'x': take one of kind", "target"),
        (Objective(metric="accuracy"), [KIND, PRICE], "name it, one of kind, price", "target"),
        (Objective(metric="exact_match"), [KIND, RED], "name it", "target"),
        (Objective(target="kind"), [KIND], "that of all targets", "target"),
    ],
    ids=str,
)
def test_an_objective_that_is_none_is_refused(
    asked: Objective, targets: list[TargetColumn], problem: str, field: str
) -> None:
    with pytest.raises(InvalidArgument, match=problem) as refused:
        resolved(asked, targets)
    assert refused.value.violations[0].field == f"sweep.objective.{field}"
