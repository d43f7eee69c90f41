"""What a view does with a column of weights, and what it refuses in one."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scraper_server.limits import Limits
from scraper_server.tables.conversion import TABLE_FILE, ConvertedTable, convert
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import ColumnType
from scraper_server.views.layouts import LayoutKind, layout_of
from scraper_server.views.making import make_view, part_file
from scraper_server.views.spec import ColumnRole, ColumnSelection, MissingPolicy, Split, SplitMethod, ViewSpec
from servicekit.errors import InvalidArgument, Reason

TABLE = """part,x,count,share,note,flag,y
train,1.5,2,0.5,7,true,a
train,2.5,0,,8,false,b
train,3.5,3,2.5,9,true,a
validation,4.5,1,1,1,true,b
test,5.5,1,1,1,false,a
"""
BASE = (ColumnSelection("y", ColumnRole.TARGET), ColumnSelection("x", ColumnRole.INPUT))
WEIGHT = ColumnRole.WEIGHT


@pytest.fixture
def known(tmp_path: Path) -> Callable[[str], ConvertedTable]:
    def make(text: str) -> ConvertedTable:
        (tmp_path / "in.csv").write_text(text)
        (tmp_path / "table").mkdir()
        return convert(tmp_path / "in.csv", "in.csv", FileFormat(), Limits(), tmp_path / "table", lambda *_: None)

    return make


def spec_with(*columns: ColumnSelection, default_role: ColumnRole = ColumnRole.IGNORED) -> ViewSpec:
    return ViewSpec((*BASE, *columns), default_role, Split(SplitMethod.COLUMN, column="part"))


@pytest.fixture
def refusal(known: Callable[[str], ConvertedTable], tmp_path: Path) -> Callable[..., InvalidArgument]:
    def of(*columns: ColumnSelection, text: str = TABLE) -> InvalidArgument:
        target = tmp_path / "view"
        target.mkdir()
        with pytest.raises(InvalidArgument) as caught:
            make_view(tmp_path / "table" / TABLE_FILE, known(text), spec_with(*columns), target)
        assert list(target.iterdir()) == []
        return caught.value

    return of


def test_weights_are_a_column_of_their_own_beside_the_matrix_of_inputs(
    known: Callable[[str], ConvertedTable], tmp_path: Path
) -> None:
    table = known(TABLE)
    spec = spec_with(ColumnSelection("count", WEIGHT, rename="w"), ColumnSelection("flag", ColumnRole.INPUT))
    view = make_view(tmp_path / "table" / TABLE_FILE, table, spec, tmp_path)
    assert [(column.name, column.role.value, column.missing.value) for column in view.columns] == [
        ("x", "input", "fill_median"),
        ("w", "weight", "fail"),
        ("flag", "input", "fill_most_frequent"),
        ("y", "target", "drop_row"),
    ]
    stored = pa.ipc.open_file(pa.memory_map(str(part_file(tmp_path, "train")))).read_all()
    (rows,) = stored.to_batches()
    layout = layout_of(LayoutKind.FEATURES, view.columns, stored.schema)
    assert layout.feature_names == ("x", "flag")
    assert layout.laid_out(rows).to_pydict() == {
        "features": [[1.5, 1.0], [2.5, 0.0], [3.5, 1.0]],
        "w": [2, 0, 3],
        "y": ["a", "b", "a"],
    }


def test_the_role_of_weights_makes_another_digest(known: Callable[[str], ConvertedTable], tmp_path: Path) -> None:
    table = known(TABLE)
    specs = [spec_with(ColumnSelection("count", role)) for role in (WEIGHT, ColumnRole.INPUT, ColumnRole.IGNORED)] + [
        spec_with(ColumnSelection("note", WEIGHT))
    ]
    digests = {make_view(tmp_path / "table" / TABLE_FILE, table, spec, None).digest for spec in specs}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("policy", "fill", "weights"),
    [
        (MissingPolicy.DROP_ROW, "", [0.5, 2.5]),
        (MissingPolicy.FILL_MEAN, "", [0.5, 1.5, 2.5]),
        (MissingPolicy.FILL_VALUE, "0", [0.5, 0.0, 2.5]),
    ],
)
def test_a_missing_weight_follows_the_policy_of_its_column(
    known: Callable[[str], ConvertedTable], tmp_path: Path, policy: MissingPolicy, fill: str, weights: list[float]
) -> None:
    table = known(TABLE)
    spec = spec_with(ColumnSelection("share", WEIGHT, missing=policy, fill_value=fill))
    make_view(tmp_path / "table" / TABLE_FILE, table, spec, tmp_path)
    rows = pa.ipc.open_file(pa.memory_map(str(part_file(tmp_path, "train")))).read_all()
    assert rows["share"].to_pylist() == weights


@pytest.mark.parametrize(
    ("columns", "reason", "field", "said"),
    [
        (
            [ColumnSelection("share", WEIGHT)],
            Reason.VALUES_MISSING,
            "view.columns[2].missing",
            "column 'share': 1 of 5 values are missing, first at row 1",
        ),
        (
            [ColumnSelection("share", WEIGHT, missing=MissingPolicy.KEEP)],
            Reason.INVALID_FIELD,
            "view.columns[2].missing",
            "must have a value in each row",
        ),
        (
            [ColumnSelection("share", WEIGHT, missing=MissingPolicy.FILL_VALUE, fill_value="-1")],
            Reason.WEIGHTS_INVALID,
            "view.columns[2].fill_value",
            "fill_value '-1' is no weight, which is finite and at least 0",
        ),
        (
            [ColumnSelection("count", WEIGHT), ColumnSelection("note", WEIGHT)],
            Reason.INVALID_FIELD,
            "view.columns[3].role",
            "columns 'count' and 'note' both have the role WEIGHT",
        ),
        (
            [ColumnSelection("flag", WEIGHT)],
            Reason.INVALID_FIELD,
            "view.columns[2].role",
            "column 'flag' is boolean, and weights are numbers: cast it",
        ),
    ],
)
def test_what_can_not_be_a_weight_is_named(
    refusal: Callable[..., InvalidArgument], columns: list[ColumnSelection], reason: Reason, field: str, said: str
) -> None:
    error = refusal(*columns)
    assert error.reason is reason
    assert [violation.field for violation in error.violations] == [field]
    assert said in error.message


def test_the_first_negative_weight_is_named(refusal: Callable[..., InvalidArgument]) -> None:
    text = TABLE.replace("train,2.5,0", "train,2.5,-4").replace("test,5.5,1", "test,5.5,-1")
    error = refusal(ColumnSelection("count", WEIGHT), text=text)
    assert error.reason is Reason.WEIGHTS_INVALID
    assert [violation.field for violation in error.violations] == ["view.columns[2].role"]
    assert (
        "column 'count': 2 of 5 values are no weights, which are finite and at least 0, first at row 1: '-4'"
        in error.message
    )


def test_weights_of_0_in_all_training_rows_are_refused(refusal: Callable[..., InvalidArgument]) -> None:
    text = TABLE.replace("train,1.5,2", "train,1.5,0").replace("train,3.5,3", "train,3.5,0")
    error = refusal(ColumnSelection("count", WEIGHT), text=text)
    assert error.reason is Reason.WEIGHTS_INVALID
    assert [violation.field for violation in error.violations] == ["view.columns[2].role"]
    assert "column 'count': all 3 training rows have weight 0" in error.message


def test_columns_that_are_not_named_can_not_all_be_weights(
    known: Callable[[str], ConvertedTable], tmp_path: Path
) -> None:
    spec = spec_with(
        *(ColumnSelection(name, ColumnRole.IGNORED) for name in ("part", "note", "flag")), default_role=WEIGHT
    )
    table = known(TABLE)
    with pytest.raises(InvalidArgument, match="both have the role WEIGHT") as refused:
        make_view(tmp_path / "table" / TABLE_FILE, table, spec, None)
    assert [violation.field for violation in refused.value.violations] == ["view.default_role"]


def test_a_view_that_is_only_checked_tells_the_cells_that_are_no_weights(
    known: Callable[[str], ConvertedTable], tmp_path: Path
) -> None:
    table = known(TABLE)
    file = tmp_path / "table" / TABLE_FILE
    rows = pq.read_table(file)
    shares = pa.array([0.5, None, float("inf"), -2.0, float("nan")])
    at = rows.column_names.index("share")
    pq.write_table(rows.set_column(at, "share", shares), file)
    spec = spec_with(ColumnSelection("share", WEIGHT, missing=MissingPolicy.FILL_MEAN))
    (bad,) = make_view(file, table, spec, None).bad_cells
    assert (bad.column, bad.field, bad.type, bad.count) == ("share", "view.columns[2].role", ColumnType.FLOAT, 3)
    assert [(cell.row, cell.value) for cell in bad.examples] == [(2, "inf"), (3, "-2"), (4, "nan")]
