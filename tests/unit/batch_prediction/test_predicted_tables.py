"""The file of a batch prediction: what stands in it, and which rows are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from ml_server.batch_prediction.columns import OutputColumns
from ml_server.batch_prediction.table import write_predictions
from ml_server.evaluation.outputs import run_versions
from ml_server.features.columns import ColumnType
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import write_bundle
from ml_server.views.part_files import CHUNK_ROWS, PartFile, PartWriter
from ml_server.views.values import Part, PartHeader
from servicekit.errors import InvalidArgument, Reason
from servicekit.stopping import Stopping
from tests.made_versions import numbers_version

NAMES = ("x0", "x1", "x2")
LIST = pa.list_(pa.field("item", pa.float64(), nullable=False), len(NAMES))
KINDS = dict.fromkeys(NAMES, ColumnType.FLOAT) | {"y": ColumnType.CATEGORICAL}
ROWS = 2 * CHUNK_ROWS + 5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    folder = tmp_path_factory.mktemp("versions") / "v"
    write_bundle(folder, numbers_version(len(NAMES), (4,)))
    return ServedVersion.read(folder)


def part_file(
    folder: Path, part: Part, matrix: NDArray[np.float64], labels: list[str | None] | None = None
) -> PartFile:
    """A part with these features, whose targets are `labels` or all `no`."""
    lists: Any = pa.FixedSizeListArray
    features = lists.from_arrays(pa.array(matrix.reshape(-1)), type=LIST)
    fields: list[Any] = [pa.field("features", LIST, nullable=False), pa.field("y", pa.string())]
    targets = pa.array(labels or ["no"] * len(matrix), pa.string())
    rows = pa.RecordBatch.from_arrays([features, targets], schema=pa.schema(fields))
    with PartWriter(folder / f"{part}.arrow") as writer:
        writer.begin(PartHeader(len(matrix), rows.schema.serialize().to_pybytes(), NAMES))
        writer.write(rows.serialize().to_pybytes())
    return PartFile(folder / f"{part}.arrow", KINDS)


def made_rows(rows: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((rows, len(NAMES)))


def write(
    parts: Mapping[Part, PartFile], served: ServedVersion, file: Path, lacking: frozenset[str] = frozenset()
) -> None:
    columns = OutputColumns(KINDS, served.targets, lacking)
    write_predictions(parts, served, "models/m/versions/1", columns, file, lambda _: None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (1e39, "the value is 1e+39, too far from those of training to compute with"),
        (-np.inf, "the value is infinite"),
        (np.nan, "the value is missing, and no training row had it missing"),
    ],
)
def test_a_number_that_no_feature_can_be_is_refused_with_its_place(
    tmp_path: Path, served: ServedVersion, value: float, problem: str
) -> None:
    matrix = made_rows(ROWS)
    matrix[ROWS - 2, 1] = value
    test = part_file(tmp_path, Part.TEST, matrix)
    parts = {Part.TRAIN: part_file(tmp_path, Part.TRAIN, made_rows(7)), Part.TEST: test}
    with pytest.raises(InvalidArgument) as predicting:
        write(parts, served, tmp_path / "predictions.parquet")
    with pytest.raises(InvalidArgument) as evaluating:
        run_versions(test, ROWS, [served], served.targets.targets, Stopping())
    for refused in (predicting.value, evaluating.value):
        assert refused.reason is Reason.VALUE_INVALID
        assert refused.message.startswith(f"column 'x1', row {ROWS - 2} of the test rows: {problem}")
        assert refused.metadata == {"column": "x1", "row": str(ROWS - 2)}
    assert not (tmp_path / "predictions.parquet").exists()


def test_outputs_that_are_no_numbers_are_refused_with_their_row(tmp_path: Path) -> None:
    bundle = numbers_version(len(NAMES), (4,))
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.fill_(1e25 if parameter.ndim == 2 else 0.0)  # what one layer multiplies is finite, two is not
    write_bundle(tmp_path / "v", bundle)
    means = [column.encoding.shift for column in bundle.features.number_columns if column.encoding.kind == "number"]
    matrix = np.tile(means, (ROWS, 1))
    matrix[ROWS - 3] += 1
    test = part_file(tmp_path, Part.TEST, matrix)
    with pytest.raises(InvalidArgument, match=f"no finite numbers for row {ROWS - 3} of the test rows"):
        write({Part.TEST: test}, ServedVersion.read(tmp_path / "v"), tmp_path / "predictions.parquet")


def test_cells_that_lack_values_stay_empty_and_predictions_never_do(tmp_path: Path, served: ServedVersion) -> None:
    labels = ["no", None, "yes", None]
    test = part_file(tmp_path, Part.TEST, made_rows(4), labels)
    write({Part.TEST: test}, served, tmp_path / "predictions.parquet", frozenset({"y"}))
    found = pq.read_table(tmp_path / "predictions.parquet")
    assert found["y"].to_pylist() == labels
    may_lack = {field.name for field in found.schema if field.nullable}
    assert may_lack == {"y"}
