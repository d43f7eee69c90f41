"""Paired tests against SciPy's binomial test and published answers."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ml_server.evaluation.paired_tests import mcnemar, signed_rank


def right(
    only_first: int, only_version: int, both: int = 5, neither: int = 5
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows each of two versions gets right."""
    first = [True] * only_first + [False] * only_version + [True] * both + [False] * neither
    version = [False] * only_first + [True] * only_version + [True] * both + [False] * neither
    return np.array(first), np.array(version)


@pytest.mark.parametrize(
    ("only_first", "only_version"), [(0, 0), (1, 7), (7, 1), (4, 4), (0, 12), (30, 47), (900, 1001)]
)
def test_mcnemars_exact_test_is_the_binomial_test(only_first: int, only_version: int) -> None:
    found = mcnemar("b", *right(only_first, only_version))
    assert (found.only_first_count, found.only_version_count) == (only_first, only_version)
    all_ = only_first + only_version
    expected = stats.binomtest(only_first, all_, 0.5).pvalue if all_ else 1.0
    assert found.exact_p_value == pytest.approx(expected, abs=1e-12)
    assert found.p_value <= found.exact_p_value


def test_the_mid_p_value_is_that_of_the_literature() -> None:
    # Fagerland, Lydersen and Laake (2013), table 1: airway hyper-responsiveness before and after transplantation.
    found = mcnemar("b", *right(1, 7))
    assert found.exact_p_value == pytest.approx(0.0703125)
    assert found.p_value == pytest.approx(0.0390625)
    assert mcnemar("b", *right(4, 4)).p_value == pytest.approx(1.0)


def test_mid_p_values_reject_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    counts = random.binomial(40, 0.5, 2000)
    rejected = [mcnemar("b", *right(count, 40 - count)).p_value < 0.1 for count in counts.tolist()]
    assert np.mean(rejected) == pytest.approx(0.1, abs=0.03)


def test_errors_are_ranked_by_how_much_they_differ() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = signed_rank("b", first, first - [0.1, 0.2, 0.3, 0.4, 0.5, 0.0])
    assert (found.smaller_count, found.larger_count) == (5, 0)
    assert found.p_value == pytest.approx(2 / 2**5)  # all of five signs are alike
    assert signed_rank("b", first, first).p_value == 1.0
    mixed = signed_rank("b", np.zeros(6), np.array([-1.0, 2, 3, 4, 5, 6]))
    assert (mixed.smaller_count, mixed.larger_count) == (1, 5)
    assert mixed.p_value == pytest.approx(4 / 2**6)  # rank sums of 0 and 1, on both sides
