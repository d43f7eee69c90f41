"""How far answers are apart: by label, whatever the order of classes, and by value."""

import numpy as np
import pytest

from ml_server.monitoring.comparison import Incomparable, differences
from ml_server.prediction.answers import Answer, Classification, Regression


def kinds(classes: tuple[str, ...], *rows: list[float]) -> Classification:
    probabilities = np.array(rows)
    return Classification("kind", classes, probabilities.argmax(axis=1), probabilities)


def prices(*values: float) -> Regression:
    return Regression("price", np.array(values))


def test_values_are_apart_by_their_mean_absolute_difference() -> None:
    (found,) = differences([prices(1.0, 2.0, 3.0)], [prices(1.5, 2.0, 1.0)])
    assert (found.target, found.rows, found.agreeing, found.difference) == ("price", 3, None, 2.5)


def test_labels_agree_by_name_whatever_the_order_of_classes() -> None:
    one = kinds(("a", "b"), [0.9, 0.1], [0.2, 0.8], [0.2, 0.8])
    (found,) = differences([one], [kinds(("b", "a"), [0.3, 0.7], [0.4, 0.6], [0.6, 0.4])])
    assert (found.rows, found.agreeing) == (3, 2)
    # For each of both classes 0.2, 0.4 and 0.2.
    assert found.difference == pytest.approx(0.2 + 0.4 + 0.2)


def test_a_class_that_one_does_not_know_has_no_probability() -> None:
    (found,) = differences([kinds(("a", "b"), [0.9, 0.1])], [kinds(("a", "c"), [0.4, 0.6])])
    assert found.agreeing == 0
    assert found.difference == pytest.approx((0.5 + 0.1 + 0.6) / 3)


def test_a_target_that_only_the_shadow_predicts_does_not_count() -> None:
    assert [each.target for each in differences([prices(1.0)], [kinds(("a", "b"), [1.0, 0.0]), prices(1.0)])] == [
        "price"
    ]


@pytest.mark.parametrize(
    ("answer", "other", "text"),
    [
        (prices(1.0), [], "does not predict 'price'"),
        (
            prices(1.0),
            [Classification("price", ("a",), np.zeros(1, np.int64), np.ones((1, 1)))],
            "values and the other",
        ),
        (prices(1.0), [prices(float("nan"))], "no finite numbers"),
    ],
)
def test_what_can_not_be_compared_says_why(answer: Answer, other: list[Answer], text: str) -> None:
    with pytest.raises(Incomparable, match=text):
        differences([answer], other)
