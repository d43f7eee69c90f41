"""What a view does with columns and missing values, and how it says what can't work."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scraper_server.limits import Limits
from scraper_server.tables.conversion import TABLE_FILE, ConvertedTable, convert
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import ColumnType
from scraper_server.views.making import make_view, part_file
from scraper_server.views.spec import (
    PARTS,
    ColumnRole,
    ColumnSelection,
    MissingPolicy,
    ResolvedView,
    Split,
    SplitMethod,
    ViewSpec,
)
from servicekit.errors import InvalidArgument, Reason

TARGET = ColumnRole.TARGET
BY_PART = Split(SplitMethod.COLUMN, column="part")
PART_COLUMN = ColumnSelection("part", ColumnRole.IGNORED)


def rows_of(path: Path) -> dict[str, list[Any]]:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pydict()


@dataclass(frozen=True)
class Table:
    """A table of a test, and views of it."""

    folder: Path
    known: ConvertedTable

    def view(self, *columns: ColumnSelection, split: Split = BY_PART, **more: Any) -> tuple[ResolvedView, list[Any]]:
        """The view, and its parts as dictionaries of columns."""
        target = self.folder / f"view{len(list(self.folder.iterdir()))}"
        target.mkdir()
        spec = ViewSpec(columns, split=split, **more)
        view = make_view(self.folder / TABLE_FILE, self.known, spec, target)
        return view, [rows_of(part_file(target, part)) for part in PARTS]

    def refusal(self, *columns: ColumnSelection, split: Split = BY_PART, **more: Any) -> InvalidArgument:
        """Why the view is refused; nothing is written."""
        target = self.folder / "refused"
        target.mkdir(exist_ok=True)
        spec = ViewSpec(columns, split=split, **more)
        with pytest.raises(InvalidArgument) as caught:
            make_view(self.folder / TABLE_FILE, self.known, spec, target)
        assert list(target.iterdir()) == []
        return caught.value


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Table]:
    """Makes a table of CSV text."""

    def make(text: str) -> Table:
        (tmp_path / "in.csv").write_text(text)
        (tmp_path / "table").mkdir()
        known = convert(tmp_path / "in.csv", "in.csv", FileFormat(), Limits(), tmp_path / "table", lambda *_: None)
        return Table(tmp_path / "table", known)

    return make


MIXED = """part,age,score,sex,member,joined,y
train,10,1.5,f,true,2024-01-01,a
train,21,,m,true,2024-01-01,b
train,,2.5,m,,,a
train,30,8.0,,false,2024-03-01,
validation,,,f,,,b
test,40,3.5,,true,2024-05-01,a
left,50,9.5,f,false,2024-06-01,b
"""


def test_missing_values_become_what_the_training_rows_teach(table: Callable[[str], Table]) -> None:
    view, (train, validation, test) = table(MIXED).view(ColumnSelection("y", TARGET), PART_COLUMN)
    # The fourth training row has no target and leaves before anything is learned.
    assert view.row_counts == (3, 1, 1)
    assert view.dropped_row_count == 1
    assert {column.name: column.fill_value for column in view.columns} == {
        "age": "16",  # 15.5, halves to even
        "score": "2.0",
        "sex": None,
        "member": "true",
        "joined": "2024-01-01T00:00:00Z",
        "y": None,
    }
    assert {column.name: column.category_count for column in view.columns} == {
        "age": 0,
        "score": 0,
        "sex": 2,  # "m" and "f"; missing is none
        "member": 1,
        "joined": 0,
        "y": 2,
    }
    assert train["age"] == [10, 21, 16]
    assert validation == {
        "age": [16],
        "score": [2.0],
        "sex": ["f"],
        "member": [True],
        "joined": [datetime(2024, 1, 1, tzinfo=UTC)],
        "y": ["b"],
    }
    assert test["sex"] == [None]


def test_columns_are_renamed_cast_and_left_out_in_the_order_of_the_table(table: Callable[[str], Table]) -> None:
    view, (train, *_) = table(MIXED).view(
        ColumnSelection("y", TARGET, rename="label"),
        ColumnSelection("age", ColumnRole.INPUT, rename="years", cast=ColumnType.FLOAT),
        ColumnSelection("member", ColumnRole.INPUT, cast=ColumnType.INTEGER),
        default_role=ColumnRole.IGNORED,
    )
    assert [(column.name, column.source_column, column.type.value) for column in view.columns] == [
        ("years", "age", "float"),
        ("member", "member", "integer"),
        ("label", "y", "categorical"),
    ]
    assert train == {"years": [10.0, 21.0, 15.5], "member": [1, 1, 1], "label": ["a", "b", "a"]}


@pytest.mark.parametrize(
    ("policy", "fill", "expected"),
    [
        (MissingPolicy.FILL_MEAN, "", ([1.5, 4.0, 2.5, 8.0], "4.0")),
        (MissingPolicy.FILL_MEDIAN, "", ([1.5, 2.5, 2.5, 8.0], "2.5")),
        (MissingPolicy.FILL_MOST_FREQUENT, "", ([1.5, 1.5, 2.5, 8.0], "1.5")),
        (MissingPolicy.FILL_VALUE, "-1", ([1.5, -1.0, 2.5, 8.0], "-1.0")),
        (MissingPolicy.DROP_ROW, "", ([1.5, 2.5, 8.0], None)),
    ],
)
def test_each_policy_for_missing_values(
    table: Callable[[str], Table], policy: MissingPolicy, fill: str, expected: tuple[list[float], str | None]
) -> None:
    text = MIXED.replace("validation,,,", "validation,,1.0,").replace("2024-03-01,", "2024-03-01,a")
    chosen = ColumnSelection("score", missing=policy, fill_value=fill)
    view, (train, *_) = table(text).view(ColumnSelection("y", TARGET), PART_COLUMN, chosen)
    fills = {column.name: column.fill_value for column in view.columns}
    assert (train["score"], fills["score"]) == expected


@pytest.mark.parametrize(
    ("cast", "cells", "expected"),
    [
        (ColumnType.FLOAT, ["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (ColumnType.INTEGER, ["007", "8.0", "-3"], [7, 8, -3]),
        (ColumnType.BOOLEAN, ["yes", "No", "1"], [True, False, True]),
        (ColumnType.DATETIME, ["2024-01-01", "2024-01-01T01:00:00+01:00", "2024-01-02 10:00"], None),
        (ColumnType.TEXT, ["1.50", "x", "2"], ["1.50", "x", "2"]),
    ],
)
def test_text_is_read_as_the_type_that_a_cast_names(
    table: Callable[[str], Table], cast: ColumnType, cells: list[str], expected: list[Any] | None
) -> None:
    rows = "".join(f'{part},"{cell}",a\n' for part, cell in zip(PARTS, cells, strict=True))
    _, parts = table(f"part,x,y\n{rows}other,word,a\n".replace("other,word,a\n", "")).view(
        ColumnSelection("y", TARGET), ColumnSelection("x", cast=cast), PART_COLUMN
    )
    times = [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, 10, tzinfo=UTC)]
    assert [part["x"][0] for part in parts] == (times if expected is None else expected)


def test_a_cast_that_cells_do_not_fit_counts_them_and_shows_the_first(table: Callable[[str], Table]) -> None:
    ages = ["22", "38", "", "n/a", "35", "n/a", "54"]
    rows = "".join(f"train,{age},{'ab'[at % 2]}\n" for at, age in enumerate(ages))
    error = table(f"part,age,y\n{rows}").refusal(
        ColumnSelection("y", TARGET), PART_COLUMN, ColumnSelection("age", cast=ColumnType.INTEGER)
    )
    assert error.reason is Reason.CAST_FAILED
    assert error.message == (
        "column 'age': 2 of 6 values are not whole numbers, first at row 3: 'n/a'; leave out the cast, ignore the "
        "column, or correct the file and import it again"
    )
    assert [violation.field for violation in error.violations] == ["view.columns[2].cast"]


@pytest.mark.parametrize(
    ("columns", "reason", "field", "text"),
    [
        (
            [ColumnSelection("y", TARGET), ColumnSelection("agee")],
            Reason.COLUMN_NOT_FOUND,
            "view.columns[1].column",
            "no column 'agee': did you mean 'age'?",
        ),
        (
            [ColumnSelection("y", TARGET), ColumnSelection("age"), ColumnSelection("age")],
            Reason.COLUMN_DUPLICATE,
            "view.columns[2].column",
            "both select column 'age'",
        ),
        (
            [ColumnSelection("y", TARGET), ColumnSelection("age", rename="score")],
            Reason.COLUMN_DUPLICATE,
            "view.columns[1].rename",
            "would both be called 'score'",
        ),
        ([], Reason.ROLE_MISSING, "view.columns", "marks no target"),
        (
            [ColumnSelection("y", TARGET), ColumnSelection("sex", missing=MissingPolicy.FILL_MEAN)],
            Reason.INVALID_FIELD,
            "view.columns[1].missing",
            "column 'sex' has no mean",
        ),
        (
            [ColumnSelection("y", TARGET), ColumnSelection("age", missing=MissingPolicy.KEEP)],
            Reason.INVALID_FIELD,
            "view.columns[1].missing",
            "must have a value in each row",
        ),
        (
            [ColumnSelection("y", TARGET, missing=MissingPolicy.KEEP)],
            Reason.INVALID_FIELD,
            "view.columns[0].missing",
            "take DROP_ROW",
        ),
        (
            [ColumnSelection("y", TARGET), PART_COLUMN, ColumnSelection("score", missing=MissingPolicy.FAIL)],
            Reason.VALUES_MISSING,
            "view.columns[2].missing",
            "column 'score': 2 of 5 values are missing, first at row 1",
        ),
        (
            [
                ColumnSelection("y", TARGET),
                ColumnSelection("age", missing=MissingPolicy.FILL_VALUE, fill_value="old"),
            ],
            Reason.CAST_FAILED,
            "view.columns[1].fill_value",
            "fill_value 'old' is not a whole number",
        ),
        (
            [ColumnSelection("y", TARGET), ColumnSelection("joined", cast=ColumnType.FLOAT)],
            Reason.CAST_FAILED,
            "view.columns[1].cast",
            "column 'joined' is datetime, which can't become float",
        ),
    ],
)
def test_what_can_not_work_is_named(
    table: Callable[[str], Table], columns: list[ColumnSelection], reason: Reason, field: str, text: str
) -> None:
    error = table(MIXED).refusal(*columns)
    assert error.reason is reason
    assert [violation.field for violation in error.violations] == [field]
    assert text in error.message


def test_a_view_of_targets_alone_lacks_inputs(table: Callable[[str], Table]) -> None:
    error = table(MIXED).refusal(ColumnSelection("y", TARGET), default_role=ColumnRole.IGNORED)
    assert error.reason is Reason.ROLE_MISSING
    assert "marks no input" in error.message


def test_a_target_without_any_value_is_refused(table: Callable[[str], Table]) -> None:
    error = table("part,x,y\ntrain,1,\ntest,2,\n").refusal(ColumnSelection("y", TARGET))
    assert error.reason is Reason.TARGET_ALL_MISSING
    assert error.message == "target 'y' has no value in any of the 2 rows: choose another target"
    assert [violation.field for violation in error.violations] == ["view.columns[0]"]


def test_a_column_without_values_in_the_training_rows_teaches_nothing(table: Callable[[str], Table]) -> None:
    text = "part,x,y\ntrain,,a\nvalidation,1,b\ntest,2,a\n"
    error = table(text).refusal(ColumnSelection("y", TARGET), PART_COLUMN)
    assert error.reason is Reason.VALUES_MISSING
    assert "column 'x' has no value in the 1 training rows" in error.message


@pytest.mark.parametrize(
    ("split", "part", "cause"),
    [
        (Split(fractions=(0.98, 0.01, 0.01)), "validation", "7 rows are too few for its fraction"),
        (Split(SplitMethod.COLUMN, column="sex", values=(("f",), ("m",), ("x",))), "test", "is 'x'"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(
    table: Callable[[str], Table], split: Split, part: str, cause: str
) -> None:
    error = table(MIXED).refusal(ColumnSelection("y", TARGET), split=split)
    assert error.reason is Reason.SPLIT_EMPTY
    assert error.message.startswith(f"the split leaves no rows for {part} (")
    assert cause in error.message
    assert [violation.field for violation in error.violations] == ["view.split"]


def test_a_part_that_loses_all_its_rows_to_missing_values_is_refused(table: Callable[[str], Table]) -> None:
    drop = ColumnSelection("age", missing=MissingPolicy.DROP_ROW)
    error = table(MIXED).refusal(ColumnSelection("y", TARGET), drop)
    assert error.reason is Reason.SPLIT_EMPTY
    assert "all 1 of its rows lack a value" in error.message


def test_a_part_whose_fraction_is_zero_may_be_empty(table: Callable[[str], Table]) -> None:
    split = Split(fractions=(0.5, 0.0, 0.5))
    view, (_, validation, _) = table(MIXED).view(ColumnSelection("y", TARGET), split=split)
    assert view.row_counts[1] == 0
    assert validation["y"] == []


def test_the_digest_holds_all_that_decides_rows_and_values_and_nothing_else(table: Callable[[str], Table]) -> None:
    made = table(MIXED)
    target, age = ColumnSelection("y", TARGET), ColumnSelection("age")
    seeded = Split(fractions=(0.4, 0.3, 0.3), seed=7)
    digest = made.view(target, split=seeded)[0].digest
    # Said in other words, it is the same view.
    assert made.view(age, target, split=seeded)[0].digest == digest
    assert (
        made.view(ColumnSelection("age", missing=MissingPolicy.FILL_MEDIAN), target, split=seeded)[0].digest == digest
    )
    others = [
        made.view(target, split=Split(fractions=(0.4, 0.3, 0.3), seed=8)),
        made.view(target, split=Split(fractions=(0.5, 0.25, 0.25), seed=7)),
        made.view(target, ColumnSelection("age", rename="years"), split=seeded),
        made.view(target, ColumnSelection("age", cast=ColumnType.FLOAT), split=seeded),
        made.view(target, ColumnSelection("age", ColumnRole.IGNORED), split=seeded),
    ]
    assert len({digest, *(view.digest for view, _ in others)}) == 6


def test_validating_computes_the_same_and_writes_nothing(table: Callable[[str], Table]) -> None:
    made = table(MIXED)
    written, _ = made.view(ColumnSelection("y", TARGET))
    before = sorted(made.folder.rglob("*"))
    spec = ViewSpec((ColumnSelection("y", TARGET),), split=BY_PART)
    checked = make_view(made.folder / TABLE_FILE, made.known, spec, None)
    assert checked == written
    assert sorted(made.folder.rglob("*")) == before


def test_names_with_dots_are_columns_like_others(table: Callable[[str], Table]) -> None:
    made = table("a.b,a,part,y\n1,x,train,1\n2,y,validation,2\n3,x,test,1\n")
    _, (train, *_) = made.view(ColumnSelection("y", TARGET), PART_COLUMN, ColumnSelection("a", ColumnRole.IGNORED))
    assert train == {"a.b": [1], "y": [1]}
