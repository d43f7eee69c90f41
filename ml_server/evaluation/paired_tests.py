"""Tests of two versions on the same rows."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml_server.evaluation.values import McNemarTest, SignedRankTest

Booleans = NDArray[np.bool_]
Numbers = NDArray[np.float64]


def mcnemar(version: str, first_right: Booleans, version_right: Booleans) -> McNemarTest:
    """McNemar's test of which rows (N,) either gets right, exact and with the mid-p value.

    Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data", 2013.
    """
    only_first = int((first_right & ~version_right).sum())
    only_version = int((version_right & ~first_right).sum())
    fewer, all_ = min(only_first, only_version), only_first + only_version
    tail, point = stats.binom.cdf(fewer, all_, 0.5), stats.binom.pmf(fewer, all_, 0.5)
    exact, mid = min(1.0, 2 * tail), min(1.0, 2 * tail - point)
    return McNemarTest(version, only_first, only_version, float(mid), float(exact))


def signed_rank(version: str, first_errors: Numbers, version_errors: Numbers) -> SignedRankTest:
    """Wilcoxon's signed-rank test of absolute errors (N,), rows without a difference left out."""
    differences = version_errors - first_errors
    smaller, larger = int((differences < 0).sum()), int((differences > 0).sum())
    if not smaller + larger:
        return SignedRankTest(version, 0, 0, 1.0)
    found = float(stats.wilcoxon(differences).pvalue)
    return SignedRankTest(version, smaller, larger, found if math.isfinite(found) else 1.0)
