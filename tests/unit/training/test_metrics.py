"""Metrics and reports against TorchMetrics' own, also where classes are never predicted, never there or never seen."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional import classification as tm

from ml_server.features.columns import ColumnType
from ml_server.features.targets import UNSEEN, FittedTarget, FittedTargets, Task
from ml_server.registry.values import ClassificationReport
from ml_server.training import events
from ml_server.training.metrics import MATRIX_CLASSES, REPORT_CLASSES, area_under_curve, measure


def classes_of(count: int, name: str = "kind") -> FittedTarget:
    """A target of so many classes."""
    task = Task.BINARY_CLASSIFICATION if count == 2 else Task.MULTICLASS_CLASSIFICATION
    labels = tuple(f"c{index}" for index in range(count))
    return FittedTarget(name=name, type=ColumnType.CATEGORICAL, task=task, classes=labels)


def measured(
    outputs: Tensor, truths: tuple[Tensor, ...], *targets: FittedTarget
) -> tuple[dict[str, float], tuple[ClassificationReport, ...]]:
    """The metrics by target and name, and the reports."""
    quality = measure(FittedTargets(targets=targets), outputs, truths)
    return {f"{metric.target}.{metric.name}": metric.value for metric in quality.metrics}, quality.reports


def random_rows(seed: int, rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Outputs that are right now and then, of which the last class is never predicted, and truths."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (rows,), generator=random)
    outputs = torch.randn(rows, classes, generator=random)
    outputs[torch.arange(rows), truth] += 1
    if classes > 2:
        outputs[:, -1] -= 100
    return outputs, truth


@pytest.mark.parametrize("classes", [2, 3, 7, MATRIX_CLASSES + 1])
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("absent", [False, True])
def test_classes_are_measured_as_torchmetrics_does(classes: int, unseen: bool, absent: bool) -> None:
    outputs, truth = random_rows(classes, 300, classes)
    if absent:
        truth[truth == 0] = 1
    if unseen:
        truth[::10] = UNSEEN
    found, (report,) = measured(outputs, (truth,), classes_of(classes))
    count = classes + unseen
    labels, predicted = torch.where(truth == UNSEEN, classes, truth), outputs.argmax(1)
    for name, function in (
        ("precision", tm.multiclass_precision),
        ("recall", tm.multiclass_recall),
        ("f1", tm.multiclass_f1_score),
    ):
        expected = function(predicted, labels, num_classes=count, average="macro").item()
        assert found[f"kind.{name}_macro"] == pytest.approx(expected, abs=1e-6), name
        by_class = function(predicted, labels, num_classes=count, average="none").tolist()
        assert [getattr(each, name) for each in report.classes] == pytest.approx(by_class, abs=1e-6), name
    accuracy = tm.multiclass_accuracy(predicted, labels, num_classes=count, average="micro").item()
    assert found["kind.accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert [each.row_count for each in report.classes] == torch.bincount(labels, minlength=count).tolist()
    assert [each.class_label for each in report.classes] == [f"c{index}" for index in range(classes)] + [""] * unseen
    matrix = tm.multiclass_confusion_matrix(predicted, labels, num_classes=count)
    assert list(report.confusion_matrix) == (matrix.ravel().tolist() if count <= MATRIX_CLASSES else [])


def test_a_target_of_very_many_classes_has_metrics_and_no_report() -> None:
    outputs, truth = random_rows(1, 50, REPORT_CLASSES + 1)
    found, reports = measured(outputs, (truth,), classes_of(REPORT_CLASSES + 1))
    assert reports == ()
    assert 0 < found["kind.accuracy"] < 1


@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("decimals", [0, 4])
def test_areas_under_curves_are_those_of_torchmetrics_also_with_ties(classes: int, decimals: int) -> None:
    outputs, truth = random_rows(classes, 400, classes)
    outputs = outputs.round(decimals=decimals)
    found, _ = measured(outputs, (truth,), classes_of(classes))
    probabilities = outputs.double().softmax(1)
    expected = tm.multiclass_auroc(probabilities, truth, num_classes=classes, average="macro").item()
    assert found["kind.auroc"] == pytest.approx(expected, abs=1e-6)
    members = np.flatnonzero(truth == 1)
    one = tm.multiclass_auroc(probabilities, truth, num_classes=classes, average="none")[1].item()
    assert area_under_curve(probabilities[:, 1].numpy(), members) == pytest.approx(one, abs=1e-6)


def test_targets_of_two_classes_are_measured_together_as_a_multi_label_task() -> None:
    targets = [classes_of(2, name) for name in ("rain", "wind", "snow")]
    rows = [random_rows(seed, 200, 2) for seed in range(3)]
    truths = tuple(truth for _, truth in rows)
    truths[2][:] = 0  # a label that is never there
    outputs = torch.cat([each for each, _ in rows], dim=1)
    found, reports = measured(outputs, truths, *targets)
    predicted = torch.stack([each.argmax(1) for each, _ in rows], dim=1)
    actual = torch.stack(truths, dim=1)
    expected = {
        ".exact_match": tm.multilabel_exact_match(predicted, actual, num_labels=3).item(),
        ".hamming_distance": tm.multilabel_hamming_distance(predicted, actual, num_labels=3).item(),
        ".f1_micro": tm.multilabel_f1_score(predicted, actual, num_labels=3, average="micro").item(),
        ".f1_macro": tm.multilabel_f1_score(predicted, actual, num_labels=3, average="macro").item(),
    }
    # TorchMetrics' Hamming distance is the mean over labels, all of as many rows.
    assert {name: value for name, value in found.items() if name.startswith(".")} == pytest.approx(expected, abs=1e-6)
    assert [report.target for report in reports] == ["rain", "wind", "snow"]


def test_a_row_of_an_unseen_class_is_wrong_in_the_figures_of_all_targets() -> None:
    outputs = torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0]])  # both labels are there; none is
    found, _ = measured(outputs, (torch.tensor([1, 0]), torch.tensor([UNSEEN, 0])), *map(classes_of, (2, 2)))
    assert (found[".exact_match"], found[".hamming_distance"]) == (0.5, 0.25)
    assert found[".f1_micro"] == pytest.approx(2 / 3)
    assert found[".f1_macro"] == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("others", [(), (classes_of(3, "other"),)])
def test_one_target_and_targets_of_several_classes_are_no_multi_label_task(others: tuple[FittedTarget, ...]) -> None:
    targets = (classes_of(2), *others)
    rows = [random_rows(1, 30, target.width) for target in targets]
    outputs = torch.cat([each for each, _ in rows], dim=1)
    found, _ = measured(outputs, tuple(truth for _, truth in rows), *targets)
    assert not [name for name in found if name.startswith(".")]


def test_reports_come_back_from_the_log_as_they_went_in() -> None:
    outputs, truth = random_rows(1, 40, 3)
    quality = measure(FittedTargets(targets=(classes_of(3),)), outputs, (truth,))
    told: list[events.TrainingEvent] = [
        events.EpochFinished(1, 0.5, 0.4, quality.metrics, 1e-3, 1.0, 9.0, True, quality.reports),
        events.TestFinished(quality.metrics, 1, quality.reports),
    ]
    for event in told:
        draft = events.draft_of(event)
        assert events.event_of(draft.kind, draft.payload) == event
    old = events.draft_of(told[0]).payload
    del old["validation_reports"]
    read = events.event_of("epoch_finished", old)
    assert isinstance(read, events.EpochFinished)
    assert read.validation_reports == ()
