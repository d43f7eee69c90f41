"""Figures, intervals and p values against scikit-learn, known answers, and what chance itself does."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from ml_server.evaluation import bootstrap
from ml_server.evaluation.bootstrap import PairedRows, compared, measured, p_value, resampled
from ml_server.evaluation.class_rows import ClassRows, Scored, scored
from ml_server.evaluation.number_rows import NumberRows
from servicekit.stopping import Stopped, Stopping

GO_ON = Stopping()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (N, C)."""
    powers = np.exp(logits.astype(np.float64))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def made_logits(seed: int, truth: NDArray[np.int64], classes: int, skill: float) -> NDArray[np.float32]:
    """Logits (N, C) that know the truth more or less."""
    logits = np.random.default_rng(seed).standard_normal((len(truth), classes))
    seen = truth < classes
    logits[np.flatnonzero(seen), truth[seen]] += skill
    return logits.astype(np.float32)


def class_rows(truth: NDArray[np.int64], classes: int, *versions: NDArray[np.float32]) -> ClassRows:
    """Rows that all versions know the same classes of."""
    places = np.arange(classes)
    return ClassRows(truth, classes, [scored(each, truth, places, classes, GO_ON) for each in versions])


@pytest.mark.parametrize("classes", [2, 5])
def test_classes_are_measured_as_scikit_learn_does(classes: int) -> None:
    truth = np.random.default_rng(1).integers(0, classes, 700)
    versions = [made_logits(seed, truth, classes, skill) for seed, skill in ((2, 1.0), (3, 2.0))]
    found = measured(class_rows(truth, classes, *versions), GO_ON)
    for place, logits in enumerate(versions):
        probabilities, predicted = softmax(logits), logits.argmax(axis=1)
        area = (
            sk.roc_auc_score(truth, probabilities[:, 1])
            if classes == 2
            else sk.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        )
        assert {name: values[place] for name, values in found.items()} == pytest.approx(
            {
                "accuracy": sk.accuracy_score(truth, predicted),
                "f1_macro": sk.f1_score(truth, predicted, average="macro"),
                "log_loss": sk.log_loss(truth, probabilities),
                "auroc": area,
            },
            rel=1e-9,
        )


def test_numbers_are_measured_as_scikit_learn_does_also_far_from_zero() -> None:
    random = np.random.default_rng(1)
    truth = 1e6 + random.standard_normal(300)
    predicted = truth + random.standard_normal((2, 300)) * [[0.5], [0.1]]
    found = measured(NumberRows(truth, predicted), GO_ON)
    for place, each in enumerate(predicted):
        assert {name: values[place] for name, values in found.items()} == pytest.approx(
            {
                "mean_absolute_error": sk.mean_absolute_error(truth, each),
                "root_mean_squared_error": sk.root_mean_squared_error(truth, each),
                "r2": sk.r2_score(truth, each),
            },
            rel=1e-9,
        )


def test_rows_of_unseen_classes_are_wrong_and_in_no_loss_or_area() -> None:
    truth = np.array([0, 1, 2, 0, 1, 2, 3, 3])
    logits = made_logits(1, truth, 3, 9.0)
    rows = class_rows(truth, 3, logits, logits[:, ::-1].copy())
    found = measured(rows, GO_ON)
    seen = truth < 3
    assert rows.unseen_count == 2
    assert found["accuracy"][0] == 6 / 8
    assert found["log_loss"][0] == pytest.approx(sk.log_loss(truth[seen], softmax(logits[seen])))
    assert found["auroc"][0] == 1.0
    # Four classes, of which the last is never predicted; two of its rows were taken for others.
    assert found["f1_macro"][0] == pytest.approx(sk.f1_score(truth, logits.argmax(1), average="macro"))


def test_a_version_with_classes_in_another_order_or_more_of_them_is_measured_by_their_names() -> None:
    truth = np.random.default_rng(4).integers(0, 3, 200)
    logits = made_logits(5, truth, 3, 1.0)
    turned = scored(logits[:, [2, 0, 1]], truth, np.array([2, 0, 1]), 3, GO_ON)
    straight = scored(logits, truth, np.arange(3), 3, GO_ON)
    np.testing.assert_array_equal(turned.predicted, straight.predicted)
    np.testing.assert_allclose(turned.log_losses, straight.log_losses)
    assert turned.area is not None
    assert straight.area is not None
    np.testing.assert_allclose(turned.area.influence, straight.area.influence, atol=1e-12)
    # The class of index 3 has no row, so there is no area under its curve.
    wider = np.concatenate([logits, np.full((200, 1), -9, np.float32)], axis=1)
    assert scored(wider, truth, np.arange(4), 4, GO_ON).area is None
    assert "auroc" not in measured(ClassRows(truth, 4, [scored(wider, truth, np.arange(4), 4, GO_ON)]), GO_ON)


def repeated(rows: list[Scored], times: NDArray[np.int64]) -> list[Scored]:
    """The same, each row as often as it counts."""
    return [Scored(np.repeat(each.predicted, times), np.repeat(each.log_losses, times), None) for each in rows]


def test_a_row_that_counts_twice_is_as_two_rows() -> None:
    random = np.random.default_rng(6)
    times = random.poisson(1.0, 500)
    truth = random.integers(0, 4, 500)
    truth[::50] = 4  # of unseen classes
    both = [scored(made_logits(seed, truth, 4, 1.0), truth, np.arange(4), 4, GO_ON) for seed in (7, 8)]
    pairs: list[tuple[PairedRows, PairedRows]] = [
        (
            ClassRows(truth, 4, repeated(both, np.ones(500, np.int64))),
            ClassRows(np.repeat(truth, times), 4, repeated(both, times)),
        )
    ]
    numbers, predicted = random.standard_normal(500), random.standard_normal((2, 500))
    pairs.append(
        (NumberRows(numbers, predicted), NumberRows(np.repeat(numbers, times), np.repeat(predicted, times, 1)))
    )
    for weighted, longer in pairs:
        total = weighted.sums(slice(0, 500), times[:, None].astype(np.float64))
        expected = measured(longer, GO_ON)
        found = weighted.metrics(total)
        assert found.keys() == expected.keys()
        for name, values in found.items():
            np.testing.assert_allclose(values[:, 0], expected[name], err_msg=name)


def test_draws_count_rows_as_poissons_distribution_does() -> None:
    class Sums:
        row_count, sum_count = 1000, 4

        def sums(self, part: slice, weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack([(weights == 0).sum(0), (weights == 1).sum(0), weights.sum(0), (weights**2).sum(0)])

        def metrics(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            return {"counts": sums / self.row_count}

    none, one, mean, square = resampled(Sums(), 2000, 3, GO_ON)["counts"].mean(axis=1)
    assert (none, one) == pytest.approx((np.exp(-1), np.exp(-1)), abs=1e-3)
    assert (mean, square) == pytest.approx((1, 2), abs=5e-3)


def test_intervals_are_as_wide_as_theory_says() -> None:
    random = np.random.default_rng(9)
    truth = (random.random(1000) < 0.5).astype(np.int64)
    logits = made_logits(10, truth, 2, 1.0)
    samples = resampled(class_rows(truth, 2, logits), 2000, 11, GO_ON)
    share = sk.accuracy_score(truth, logits.argmax(1))
    assert samples["accuracy"].std() == pytest.approx(np.sqrt(share * (1 - share) / 1000), rel=0.05)
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    drawn = [random.integers(0, 1000, 1000) for _ in range(250)]
    areas = [sk.roc_auc_score(truth[rows], score[rows]) for rows in drawn]
    assert samples["auroc"].std() == pytest.approx(np.std(areas), rel=0.12)
    assert samples["auroc"].mean() == pytest.approx(np.mean(areas), abs=2e-3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(12)
    holds, differs, rejected = [], [], []
    for trial in range(300):
        truth = random.standard_normal(150)
        shared = random.standard_normal(150)  # what is hard for both
        errors = np.stack([shared + random.standard_normal(150) for _ in range(3)]) * [[1.0], [1.0], [1.3]]
        rows = NumberRows(truth, truth + errors)
        values, samples = measured(rows, GO_ON), resampled(rows, 500, trial, GO_ON)
        name = "mean_absolute_error"
        found = compared(name, False, values[name], samples[name], ["a", "b", "c"], 0.9)
        true = np.sqrt(2) * np.sqrt(2 / np.pi)
        holds.append(found.estimates[0].lower <= true <= found.estimates[0].upper)
        same, worse = found.differences
        differs.append(worse.difference.lower <= 0.3 * true <= worse.difference.upper)
        rejected.append(same.p_value < 0.1)
    # Of 300 trials, chance leaves shares within 0.05 of what is expected but once in a few hundred times.
    assert np.mean(holds) == pytest.approx(0.9, abs=0.05)
    assert np.mean(differs) == pytest.approx(0.9, abs=0.05)
    assert np.mean(rejected) == pytest.approx(0.1, abs=0.05)


def test_one_version_against_itself_shows_no_difference_and_a_far_better_one_a_clear_one() -> None:
    truth = np.random.default_rng(13).integers(0, 3, 400)
    good, bad = made_logits(14, truth, 3, 4.0), made_logits(15, truth, 3, 0.0)
    rows = class_rows(truth, 3, bad, bad.copy(), good)
    values, samples = measured(rows, GO_ON), resampled(rows, 1000, 0, GO_ON)
    found = compared("accuracy", True, values["accuracy"], samples["accuracy"], ["a", "b", "c"], 0.95)
    same, better = found.differences
    assert (same.difference.value, same.difference.lower, same.difference.upper, same.p_value) == (0, 0, 0, 1)
    assert better.version == "c"
    assert 0.4 < better.difference.lower < better.difference.value < better.difference.upper
    assert better.p_value == pytest.approx(2 / 1001)
    wider = compared("accuracy", True, values["accuracy"], samples["accuracy"], ["a", "b", "c"], 0.999)
    assert wider.estimates[2].lower < found.estimates[2].lower


def test_p_values_leave_out_what_is_not_defined() -> None:
    assert p_value(np.array([np.nan, 1.0, 2.0, -1.0, np.nan])) == 1.0
    assert p_value(np.ones(99)) == pytest.approx(2 / 100)
    assert p_value(np.array([])) == 1.0


def test_equal_seeds_give_equal_resamples_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(16)
    rows = NumberRows(random.standard_normal(600), random.standard_normal((2, 600)))
    whole = resampled(rows, 300, 17, GO_ON)["r2"]
    np.testing.assert_array_equal(resampled(rows, 300, 17, GO_ON)["r2"], whole)
    assert not np.array_equal(resampled(rows, 300, -17, GO_ON)["r2"], whole)
    monkeypatch.setattr(bootstrap, "NUMBERS_AT_A_TIME", 10_000)  # so that memory holds some 38 resamples
    cut = resampled(rows, 300, 17, GO_ON)["r2"]
    assert cut.shape == whole.shape
    assert cut.std() == pytest.approx(whole.std(), rel=0.15)


def test_equal_truths_have_no_r2() -> None:
    found = measured(NumberRows(np.full(9, 7.3), np.ones((2, 9))), GO_ON)
    assert np.isnan(found["r2"]).all()
    assert found["mean_absolute_error"] == pytest.approx([6.3, 6.3])


def test_work_ends_when_it_is_stopped() -> None:
    stopping = Stopping()
    asked = 0

    class Rows(NumberRows):
        def sums(self, part: slice, weights: NDArray[np.float64]) -> NDArray[np.float64]:
            nonlocal asked
            asked += 1
            if asked == 3:
                stopping.stop()
            return super().sums(part, weights)

    with pytest.raises(Stopped):
        resampled(Rows(np.zeros(10_000), np.zeros((2, 10_000))), 100, 0, stopping)
    assert asked == 3
