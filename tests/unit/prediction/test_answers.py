"""Few outputs are read in another way than many, and mean the same."""

import numpy as np
import pytest

from ml_server.features.columns import ColumnType
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.prediction.answers import FEW_OUTPUTS, Classification, answers_of


def read(outputs: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> Classification:
    classes = tuple(f"c{at}" for at in range(outputs.shape[1]))
    target = FittedTarget(name="y", type=ColumnType.CATEGORICAL, task=Task.MULTICLASS_CLASSIFICATION, classes=classes)
    (answer,) = answers_of(FittedTargets(targets=(target,)), outputs)
    assert isinstance(answer, Classification)
    return answer


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_rows_mean_what_they_do_among_many(classes: int) -> None:
    outputs = (30 * np.random.default_rng(classes).standard_normal((60, classes))).astype(np.float32)
    outputs[7] = outputs[7, 0]  # all equally probable: the first one is meant
    many = read(outputs)
    rows = FEW_OUTPUTS // classes
    for start in range(0, len(outputs) - rows, rows):
        few = read(outputs[start : start + rows])
        np.testing.assert_array_equal(few.labels, many.labels[start : start + rows])
        np.testing.assert_allclose(few.probabilities, many.probabilities[start : start + rows], rtol=1e-14)
        assert few.probabilities.dtype == many.probabilities.dtype == np.float64
    assert many.labels[7] == read(outputs[7:8]).labels[0] == 0


@pytest.mark.parametrize("rows", [1, 60])
def test_two_classes_are_certain_when_their_outputs_are_far_apart(rows: int) -> None:
    answer = read(np.repeat(np.array([[3e38, -3e38], [-3e38, 3e38], [50.0, 0.0]], np.float32), rows, axis=0))
    np.testing.assert_array_equal(answer.labels[::rows], [0, 1, 0])
    np.testing.assert_allclose(
        answer.probabilities[::rows], [[1, 0], [0, 1], [1, np.exp(-50)]], rtol=1e-15, atol=1e-300
    )


@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("classes", [2, 3])
def test_outputs_that_are_no_numbers_stay_so(classes: int, rows: int) -> None:
    assert np.isnan(read(np.full((rows, classes), np.nan, np.float32)).probabilities).all()


def test_no_rows_have_no_answers() -> None:
    assert read(np.empty((0, 3), np.float32)).probabilities.shape == (0, 3)
