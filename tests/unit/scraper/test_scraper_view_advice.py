"""What a view tells its author: what is warned of, and what is not."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from scraper_server.limits import Limits
from scraper_server.tables.conversion import TABLE_FILE, convert
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import ColumnType, TableWarning, WarningKind
from scraper_server.views import observing
from scraper_server.views.making import make_view
from scraper_server.views.spec import ColumnRole, ColumnSelection, ResolvedView, Split, SplitMethod, ViewSpec
from servicekit.errors import InvalidArgument, Reason

Made = Callable[..., ResolvedView]
RANDOM = np.random.default_rng(3)
ROWS = 600
X = RANDOM.normal(size=ROWS)
KINDS = RANDOM.choice(["a", "b", "c"], ROWS)
BY_CHANCE = Split(seed=1)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes a view of a table, or only checks it."""

    def make(
        frame: pd.DataFrame, *columns: ColumnSelection, split: Split = BY_CHANCE, is_kept: bool = False
    ) -> ResolvedView:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        source = tmp_path / "in.csv"
        frame.to_csv(source, index=False)
        known = convert(source, "in.csv", FileFormat(), Limits(), folder, lambda *_: None)
        spec = ViewSpec((ColumnSelection("y", ColumnRole.TARGET), *columns), split=split)
        return make_view(folder / TABLE_FILE, known, spec, folder if is_kept else None)

    return make


def ignored(name: str) -> ColumnSelection:
    return ColumnSelection(name, ColumnRole.IGNORED)


def told(view: ResolvedView, kind: WarningKind) -> list[TableWarning]:
    return [warning for warning in view.warnings if warning.kind is kind]


def test_an_ordinary_table_is_warned_of_nothing(made: Made) -> None:
    noise = RANDOM.normal(size=ROWS)
    frame = pd.DataFrame({"x": X, "kind": KINDS, "y": 2 * X + noise, "born": pd.to_datetime(X * 1e9 + 1e18)})
    assert made(frame).warnings == ()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("in_cents", X * 100 + 3, "moves exactly with"),
        ("backwards", -X, "moves exactly with"),
        ("on_another_scale", np.exp(X), "rises or falls exactly with"),
    ],
)
def test_a_number_that_gives_a_number_away_is_told(made: Made, name: str, values: np.ndarray, said: str) -> None:
    (leak,) = told(made(pd.DataFrame({"x": KINDS, name: values, "y": X})), WarningKind.TARGET_LEAK)
    assert leak.column == name
    assert f"input '{name}' {said} target 'y'" in leak.message


def test_classes_under_other_names_are_told_also_where_a_few_differ(made: Made) -> None:
    renamed = np.array([{"a": "10", "b": "20", "c": "30"}[kind] for kind in KINDS])
    renamed[:3] = "10"
    (leak,) = told(made(pd.DataFrame({"x": X, "code": renamed, "y": KINDS})), WarningKind.TARGET_LEAK)
    assert (leak.column, "names the same classes as target 'y'" in leak.message) == ("code", True)


def test_what_only_helps_to_tell_classes_apart_is_no_leak(made: Made) -> None:
    coarse = np.where(KINDS == "a", "left", "right")  # two of three classes in one value
    frame = pd.DataFrame({"coarse": coarse, "near": X + 0.2 * RANDOM.normal(size=ROWS), "y": KINDS})
    assert told(made(frame), WarningKind.TARGET_LEAK) == []
    few = pd.DataFrame({"x": [f"v{number}" for number in range(ROWS)], "y": KINDS})  # each value once: no mapping
    assert told(made(few), WarningKind.TARGET_LEAK) == []


def test_rows_of_the_test_part_that_training_has_too_are_told_with_their_numbers(made: Made) -> None:
    frame = pd.DataFrame({"x": np.tile(X[: ROWS // 2], 2), "y": np.tile(KINDS[: ROWS // 2], 2)})
    shared = told(made(frame), WarningKind.ROWS_SHARED)
    assert [warning.message.split()[1] for warning in shared] == ["validation", "test"]
    assert all(0 < warning.count <= 90 for warning in shared)
    assert len(shared[1].examples) == 20


def test_a_group_that_keeps_repeated_rows_together_shares_none(made: Made) -> None:
    frame = pd.DataFrame({"x": np.tile(X[: ROWS // 2], 2), "y": np.tile(KINDS[: ROWS // 2], 2)})
    frame["group"] = np.tile(np.arange(ROWS // 2), 2)
    view = made(frame, ignored("group"), split=Split(SplitMethod.GROUP, column="group"))
    assert told(view, WarningKind.ROWS_SHARED) == []


def test_shared_rows_are_estimated_where_there_are_more_than_can_be_kept(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "MOST_HASHES", 200)
    frame = pd.DataFrame({"x": np.tile(X[: ROWS // 2], 2), "y": np.tile(KINDS[: ROWS // 2], 2)})
    (_, tested) = told(made(frame), WarningKind.ROWS_SHARED)
    assert 30 < tested.count < 140  # about 70 percent of 90


@pytest.mark.parametrize("is_constant", [True, False])
def test_an_input_that_training_sees_one_value_of_is_told(made: Made, is_constant: bool) -> None:
    parts = np.where(np.arange(ROWS) < 400, "train", np.where(np.arange(ROWS) < 500, "validation", "test"))
    flat = np.where(parts == "train", 7.0, X)
    if not is_constant:
        flat[5] = 8.0
    frame = pd.DataFrame({"flat": flat, "x": X, "y": KINDS, "part": parts})
    view = made(frame, ignored("part"), split=Split(SplitMethod.COLUMN, column="part"))
    assert [each.column for each in told(view, WarningKind.COLUMN_CONSTANT)] == ["flat"] * is_constant


def test_ids_are_told_only_where_a_model_sees_them(made: Made) -> None:
    frame = pd.DataFrame({"id": np.arange(ROWS), "x": X, "y": KINDS})
    assert [each.column for each in told(made(frame), WarningKind.COLUMN_ID_LIKE)] == ["id"]
    assert told(made(frame, ignored("id")), WarningKind.COLUMN_ID_LIKE) == []


def test_classes_that_a_part_has_no_row_of_are_told_with_their_counts(made: Made) -> None:
    kinds = KINDS.astype(object)
    kinds[:2] = "rare"
    (rare,) = told(made(pd.DataFrame({"x": X, "y": kinds})), WarningKind.CLASS_RARE)
    assert (rare.column, rare.count) == ("y", 1)
    assert rare.examples[0].value.startswith("rare: ")
    assert "stratify the split by it" in rare.message


@pytest.mark.parametrize(
    ("split", "is_ordered", "is_told"),
    [
        (BY_CHANCE, True, True),
        (BY_CHANCE, False, False),  # a date that rows are not ordered by says nothing of when they were known
        (Split(SplitMethod.STRATIFIED, column="y", seed=1), True, True),
        (Split(SplitMethod.TIME, column="at"), True, False),
    ],
)
def test_training_on_what_comes_after_the_test_is_told(
    made: Made, split: Split, is_ordered: bool, is_told: bool
) -> None:
    times = pd.date_range("2024-01-01", periods=ROWS, freq="h").to_numpy()
    frame = pd.DataFrame({"x": X, "y": KINDS, "at": times if is_ordered else RANDOM.permutation(times)})
    view = made(frame, ignored("at"), split=split)
    assert [each.column for each in told(view, WarningKind.FUTURE_LEAK)] == ["at"] * is_told


def test_a_check_tells_the_first_cells_that_do_not_fit_their_cast_and_a_view_that_is_kept_refuses_them(
    made: Made,
) -> None:
    ages = [str(number) for number in range(ROWS)]
    for row in range(3, 300, 10):
        ages[row] = f"about {row}"
    frame = pd.DataFrame({"age": ages, "half": X, "y": KINDS})
    casts = (ColumnSelection("age", cast=ColumnType.INTEGER), ColumnSelection("half", cast=ColumnType.INTEGER))
    view = made(frame, *casts)
    age, half = view.bad_cells
    assert (age.column, age.field, age.type, age.count) == ("age", "view.columns[1].cast", ColumnType.INTEGER, 30)
    assert [(each.row, each.value) for each in age.examples[:2]] == [(3, "about 3"), (13, "about 13")]
    assert len(age.examples) == 20
    assert (half.column, half.count) == ("half", ROWS)
    with pytest.raises(InvalidArgument) as refused:
        made(frame, *casts, is_kept=True)
    assert refused.value.reason is Reason.CAST_FAILED
    assert "30 of 600 values are not whole numbers, first at row 3: 'about 3'" in refused.value.message
