"""How each class of a target does, as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare.ml.v1 import metric_pb2

if TYPE_CHECKING:
    import pandas as pd

UNSEEN_LABEL = "(never seen)"


def class_frame(report: metric_pb2.ClassificationReport) -> pd.DataFrame:
    """A row for each class, by its label: precision, recall, f1, rows."""
    import pandas as pd

    rows = [(each.precision, each.recall, each.f1, each.row_count) for each in report.classes]
    index = pd.Index(class_labels(report), name=report.target)
    return pd.DataFrame(rows, index=index, columns=["precision", "recall", "f1", "rows"])


def confusion_frame(report: metric_pb2.ClassificationReport) -> pd.DataFrame:
    """A row for each class and a column for what its rows were taken for; without columns for more than 100 classes."""
    import pandas as pd

    labels = class_labels(report)
    matrix = confusion_rows(report)
    columns = pd.Index(labels if matrix else [], name="taken for")
    return pd.DataFrame(matrix or None, index=pd.Index(labels, name=report.target), columns=columns)


def class_labels(report: metric_pb2.ClassificationReport) -> list[str]:
    """The labels of all classes; `(never seen)` for that of the rows whose class no training row had."""
    return [each.class_label or UNSEEN_LABEL for each in report.classes]


def confusion_rows(report: metric_pb2.ClassificationReport) -> list[list[int]]:
    """The confusion matrix, a list for each class; empty for more than 100 classes."""
    matrix, size = list(report.confusion_matrix), len(report.classes)
    return [matrix[start : start + size] for start in range(0, len(matrix), size)]
