"""The population stability index, against values computed by hand, and what it says of rows that are like training."""

import math

import numpy as np
import pytest

from ml_server.monitoring.drift import chance_index, stability_index
from ml_server.monitoring.measures import input_measures, output_measures
from ml_server.monitoring.reference import NumberBins, category_bins, make_reference, number_bins
from tests.made_versions import CITIES, image_version, mixed_version


def test_the_index_is_the_one_of_the_formula() -> None:
    # With 0.5 in each of two bins: 50.5 and 50.5 of 101 were expected, and 80.5 and 20.5 came.
    by_hand = (80.5 / 101 - 0.5) * math.log(80.5 / 50.5) + (20.5 / 101 - 0.5) * math.log(20.5 / 50.5)
    assert stability_index([50, 50], [80, 20]) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(0.4063, abs=1e-4)


def test_the_index_of_equal_shares_is_nothing_and_an_empty_bin_leaves_it_finite() -> None:
    assert stability_index([10, 30, 60], [10, 30, 60]) == 0
    assert stability_index([100, 300], [1_000, 3_000]) == pytest.approx(0, abs=1e-4)
    assert 0.25 < stability_index([500, 500, 0], [0, 500, 500]) < math.inf


def test_what_the_index_is_by_chance_is_what_samples_of_one_distribution_have() -> None:
    draws = np.random.default_rng(0)
    indices = []
    for _ in range(400):
        expected, observed = (draws.multinomial(rows, [0.1] * 10) for rows in (500, 250))
        indices.append(stability_index(expected, observed))
    assert np.mean(indices) == pytest.approx(chance_index(10, 500, 250), rel=0.1)


def test_numbers_get_ten_bins_of_equal_shares_and_two_beyond_them() -> None:
    numbers = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    bins = number_bins(numbers)
    assert bins.counts == (0, *[1_000] * 10, 0)
    assert bins.count(np.array([-100.0, 100.0, 101.0])).tolist() == [1, *[0] * 10, 2]
    assert list(bins.edges) == sorted(bins.edges)


def test_few_distinct_numbers_have_edges_between_them() -> None:
    numbers = np.array([0.0] * 600 + [1.0] * 300 + [2.0] * 100, dtype=np.float32)
    bins = number_bins(numbers)
    assert bins.edges[1:-1] == (0.5, 1.5)
    assert bins.counts == (0, 600, 300, 100, 0)
    # What rounding does to a number moves it into no other bin.
    assert bins.count(np.nextafter(numbers, np.float32(9))).tolist() == [0, 600, 300, 100, 0]


def test_a_column_of_one_number_notices_any_other() -> None:
    bins = number_bins(np.full(50, 3.0, dtype=np.float32))
    assert bins.counts == (0, 50, 0)
    assert bins.count(np.array([2.0, 3.0, 4.0, 4.0])).tolist() == [1, 1, 2]


def test_few_rows_have_few_bins() -> None:
    assert len(number_bins(np.arange(60, dtype=np.float32)).counts) == 3 + 2


def test_frequent_categories_have_bins_and_the_rest_has_one() -> None:
    codes = np.repeat(np.arange(100), np.arange(100, 0, -1))
    bins = category_bins(codes, 101)
    assert bins.codes == (*range(49), 100)
    assert bins.counts == (*range(100, 51, -1), 0, sum(range(1, 52)))
    assert bins.count(np.array([0, 70, 100, 100])).tolist() == [1, *[0] * 48, 2, 1]
    every = category_bins(np.array([0, 1, 1]), 3)
    assert (every.codes, every.counts) == ((0, 1, 2), (1, 2, 0))


def test_every_type_of_column_is_looked_at_in_its_own_unit() -> None:
    version = mixed_version()
    inputs, outputs = input_measures(version.features), output_measures(version.targets)
    assert {(each.column, each.quantity.value) for each in inputs} == {
        *((name, "value") for name in ("age", "count", "flag", "day")),
        *((name, "category") for name in ("kind", "city")),
    }
    assert [(each.column, each.quantity.value) for each in outputs] == [
        ("species", "label"),
        ("species", "confidence"),
        ("price", "value"),
    ]
    rows = np.zeros((2, version.features.layout.columns), dtype=np.float32)
    measured = {each.column: each.of(rows) for each in inputs}
    assert measured["city"].tolist() == [0, 0]
    age = next(each for each in inputs if each.column == "age")
    assert age.told(0.0) == pytest.approx(2.5 * 9.5)  # standardised: 0 is the mean of the rows
    (image,) = input_measures(image_version().features)
    assert image.quantity.value == "brightness"
    assert image.of(np.ones((3, image_version().features.layout.columns), np.float32)).tolist() == [1.0] * 3


def test_a_confidence_is_the_largest_probability() -> None:
    version = mixed_version()
    logits = np.array([[0.0, 0.0, math.log(2.0), 9.0]], dtype=np.float32)
    label, confidence, _ = (each.of(logits) for each in output_measures(version.targets))
    assert label.tolist() == [2]
    assert confidence.tolist() == pytest.approx([0.5])


def test_a_reference_outlives_its_file_and_knows_its_version() -> None:
    version = mixed_version()
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(200, version.features.layout.columns)).astype(np.float32)
    rows[:, -1] = draws.integers(0, len(CITIES), 200)
    outputs = draws.normal(size=(100, version.targets.outputs)).astype(np.float32)
    made = make_reference(version.features, version.targets, rows, outputs)
    assert (made.rows, made.predicted_rows) == (200, 100)
    assert type(made).model_validate_json(made.model_dump_json()) == made
    age = next(each for each in made.inputs if each.column == "age")
    assert isinstance(age.bins, NumberBins)
    assert sum(age.bins.counts) == 200
