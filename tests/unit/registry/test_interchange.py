"""Which versions can stand in for each other: those that take the same columns and predict the same targets."""

import numpy as np
import pytest

from ml_server.features.columns import Column, ColumnType, NumberColumn
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.registry.bundle import Preprocessing
from ml_server.registry.interchange import misfit_between
from servicekit.errors import Reason
from tests.made_versions import made_version, texts

PRICE = TargetColumn("price", ColumnType.FLOAT)


def preprocessing(*names: str, kind: ColumnType = ColumnType.FLOAT, target: TargetColumn = PRICE) -> Preprocessing:
    """Of a version over columns of numbers, with one target."""
    numbers = NumberColumn(np.arange(6, dtype=np.float64))
    labels = [f"label {row % (target.category_count or 1)}" for row in range(6)]
    table: dict[str, Column] = dict.fromkeys(names, numbers)
    table[target.name] = numbers if target.type is ColumnType.FLOAT else texts(labels)
    specification = ModelSpecification(architecture=MlpSpecification(hidden_units=()))
    made = made_version([InputColumn(name, kind) for name in names], [target], table, specification)
    return Preprocessing(features=made.features, targets=made.targets)


def classes(name: str, count: int) -> TargetColumn:
    return TargetColumn(name, ColumnType.CATEGORICAL, count)


@pytest.mark.parametrize(
    ("version", "other"),
    [
        (preprocessing("a", "b"), preprocessing("b", "a")),
        (preprocessing("a", target=classes("kind", 2)), preprocessing("a", target=classes("kind", 3))),
    ],
)
def test_order_and_known_classes_may_differ(version: Preprocessing, other: Preprocessing) -> None:
    assert misfit_between(version, other) is None
    assert misfit_between(other, version) is None


@pytest.mark.parametrize(
    ("other", "reason", "problem", "column"),
    [
        (preprocessing("a"), Reason.COLUMN_MISSING, "does not take 'b'", "b"),
        (preprocessing("a", "c"), Reason.COLUMN_MISSING, "does not take 'b', and takes 'c'", "b"),
        (preprocessing("a", "b", "c"), Reason.COLUMN_UNEXPECTED, "also takes 'c'", "c"),
        (
            preprocessing("a", "b", kind=ColumnType.INTEGER),
            Reason.COLUMN_UNSUPPORTED,
            "takes 'a' as INTEGER, not as FLOAT",
            "a",
        ),
        (
            preprocessing("a", "b", target=TargetColumn("rent", ColumnType.FLOAT)),
            Reason.COLUMN_UNSUPPORTED,
            "predicts 'rent', not 'price'",
            "price",
        ),
        (
            preprocessing("a", "b", target=classes("price", 2)),
            Reason.COLUMN_UNSUPPORTED,
            "predicts classes of 'price', not values",
            "price",
        ),
    ],
)
def test_what_differs_is_named(other: Preprocessing, reason: Reason, problem: str, column: str) -> None:
    found = misfit_between(preprocessing("a", "b"), other)
    assert found is not None
    assert (found.reason, found.problem, found.column) == (reason, problem, column)
