"""Reports of classes as frames and as people read them."""

from io import StringIO

import flare_client
from flare.ml.v1 import metric_pb2
from flare_client.cli.reports import print_reports
from rich.console import Console


def report(classes: int, matrix: list[int]) -> metric_pb2.ClassificationReport:
    """A report of so many classes, the last of them never seen in training."""
    labels = [*(f"c{index}" for index in range(classes - 1)), ""]
    figures = [metric_pb2.ClassMetrics(class_label=label, precision=0.5, recall=1, row_count=4) for label in labels]
    return metric_pb2.ClassificationReport(target="kind", classes=figures, confusion_matrix=matrix)


def printed(*reports: metric_pb2.ClassificationReport, most: int | None = None) -> list[str]:
    """The lines that the command prints."""
    file = StringIO()
    print_reports(reports, most=most, console=Console(file=file, width=200))
    return file.getvalue().splitlines()


def test_frames_name_the_classes_on_both_sides() -> None:
    shown = report(2, [3, 1, 4, 0])
    confusion = flare_client.confusion_frame(shown)
    assert confusion.loc["c0"].to_dict() == {"c0": 3, "(never seen)": 1}
    assert confusion.loc["(never seen)"].to_dict() == {"c0": 4, "(never seen)": 0}
    assert flare_client.class_frame(shown).loc["c0"].to_dict() == {"precision": 0.5, "recall": 1, "f1": 0, "rows": 4}


def test_a_matrix_that_is_not_there_is_an_empty_frame() -> None:
    assert flare_client.confusion_frame(report(3, [])).shape == (3, 0)


def test_what_is_mostly_wrong_stands_beside_each_class_and_the_matrix_below() -> None:
    assert printed(report(2, [3, 1, 4, 0])) == [
        "kind          PRECISION  RECALL      F1  ROWS  MOSTLY TAKEN FOR",
        "c0               0.5000  1.0000  0.0000     4  (never seen) (1)",
        "(never seen)     0.5000  1.0000  0.0000     4  c0 (4)",
        "kind \\ TAKEN FOR  c0  (never seen)",
        "c0                 3             1",
        "(never seen)       4             0",
    ]


def test_many_classes_are_cut_off_and_have_no_matrix() -> None:
    lines = printed(report(200, []), most=3)
    assert lines[0].split() == ["kind", "PRECISION", "RECALL", "F1", "ROWS"]
    assert lines[4:] == ["and 197 more classes"]
    assert len(printed(report(13, [1] * 169))) == 14
