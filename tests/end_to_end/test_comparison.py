"""Versions measured against each other on the running services, and what a comparison refuses."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import flare_client
import grpc
import numpy as np
import pandas as pd
import pytest
from flare.ml.v1 import evaluation_pb2 as pb
from flare_client import Flare, FlareError

from tests.services import FlareServices

Code = grpc.StatusCode
ROWS = 600
TEST_ROWS = 90


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


@dataclass
class World:
    """Houses: a view with a number and a class to predict, two versions of a model on it, and their data set."""

    flare: Flare
    dataset: str
    view: str
    coarse: str
    fine: str

    def trained(self, view: str, *, epochs: int = 2, model: str = "") -> str:
        """A new version, of a new model unless named."""
        name = model or self.flare.models.create(unique("houses"), flare_client.mlp([8]), view=view).name
        return self.flare.train(name, view, epochs=epochs, batch_size=32, learning_rate=0.02, seed=1).wait().name

    def refused(self, *versions: str, view: str | None = None) -> FlareError:
        """The error of a comparison."""
        with pytest.raises(FlareError) as caught:
            self.flare.compare(*versions, view=view)
        return caught.value


def houses() -> pd.DataFrame:
    """Of three kinds, of which huts stand in the north only."""
    random = np.random.default_rng(3)
    size = random.uniform(50, 150, ROWS)
    north = random.random(ROWS) < 0.5
    small = np.where(north, "hut", "house")
    return pd.DataFrame(
        {
            "size": size,
            "noise": random.standard_normal(ROWS),
            "side": np.where(north, "north", "south"),
            "price": 1000 * size + 20_000 * north + 5_000 * random.standard_normal(ROWS),
            "kind": np.where(size + 10 * random.standard_normal(ROWS) > 115, "villa", small),
        }
    )


@pytest.fixture(scope="module")
def world(flare_services: FlareServices) -> Iterator[World]:
    """What the tests of this file share."""
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        dataset = flare.datasets.upload(houses(), dataset_id=unique("houses")).name
        view = flare.views.create(dataset, ["price", "kind"], seed=5).name
        world = World(flare, dataset, view, "", "")
        world.coarse = world.trained(view)
        world.fine = world.trained(view, epochs=25, model=world.coarse.partition("/versions/")[0])
        yield world


def metric(comparison: pb.ModelComparison, target: str, name: str) -> pb.MetricComparison:
    """One metric of one target."""
    (found,) = [
        each for part in comparison.targets if part.target == target for each in part.metrics if each.name == name
    ]
    return found


def test_figures_are_those_of_the_test_rows_and_differences_are_told_with_how_sure_they_are(world: World) -> None:
    model = world.coarse.partition("/versions/")[0]
    found = world.flare.compare(world.coarse, model, seed=1)
    assert [version.name for version in found.versions] == [world.coarse, world.fine]
    assert [version.trained_on_view for version in found.versions] == [True, True]
    assert (found.view, found.row_count, found.confidence, found.resamples) == (world.view, TEST_ROWS, 0.95, 2000)
    versions = [world.flare.models.version(name) for name in (world.coarse, world.fine)]
    assert [version.digest for version in found.versions] == [version.digest for version in versions]
    for place, version in enumerate(versions):
        tested = {(each.target, each.name): each.value for each in version.test_metrics}
        for target, names in (
            ("price", ("mean_absolute_error", "root_mean_squared_error", "r2")),
            ("kind", ("accuracy", "f1_macro", "auroc")),
        ):
            for name in names:
                estimate = metric(found, target, name).estimates[place]
                assert estimate.value == pytest.approx(tested[target, name], rel=1e-4), name
                assert estimate.lower <= estimate.value <= estimate.upper
    rows = flare_client.comparison_frame(found).reset_index().to_dict(orient="records")
    told = {(row["target"], row["metric"]): row for row in rows if row["version"] == world.fine}
    assert {name for target, name in told if target == "kind"} == {"accuracy", "f1_macro", "log_loss", "auroc"}
    for better in (("price", "mean_absolute_error"), ("kind", "log_loss")):
        assert told[better]["difference"] < told[better]["difference_upper"] < 0
        assert told[better]["p_value"] < 0.01
    assert all(math.isnan(row["difference"]) for row in rows if row["version"] == world.coarse)


def test_paired_tests_count_the_rows_on_which_predictions_differ(world: World) -> None:
    found = world.flare.compare(world.coarse, world.fine)
    test = world.flare.datasets.to_dataframe(world.view, "test")
    inputs = test.drop(columns=["price", "kind"])
    coarse, fine = (world.flare.predict(name, inputs) for name in (world.coarse, world.fine))
    price, kind = found.targets
    right = [(each["kind"].to_numpy() == test["kind"].to_numpy()) for each in (coarse, fine)]
    (mcnemar,) = kind.mcnemar_tests
    assert mcnemar.version == world.fine
    assert mcnemar.only_first_count == (right[0] & ~right[1]).sum()
    assert mcnemar.only_version_count == (right[1] & ~right[0]).sum() > 0
    assert mcnemar.p_value <= mcnemar.exact_p_value <= 1
    errors = [(each["price"].to_numpy() - test["price"].to_numpy()) for each in (coarse, fine)]
    (ranked,) = price.signed_rank_tests
    assert ranked.smaller_count == (np.abs(errors[1]) < np.abs(errors[0])).sum()
    assert ranked.larger_count == len(test) - ranked.smaller_count
    assert ranked.p_value < 0.01


def test_equal_requests_get_equal_answers_and_the_order_turns_the_signs(world: World) -> None:
    found = world.flare.compare(world.coarse, world.fine, seed=4, confidence=0.8, resamples=300)
    assert world.flare.compare(world.coarse, world.fine, seed=4, confidence=0.8, resamples=300) == found
    assert world.flare.compare(world.coarse, world.fine, seed=5, confidence=0.8, resamples=300) != found
    turned = world.flare.compare(world.fine, world.coarse, seed=4, confidence=0.8, resamples=300)
    (there,), (back,) = (metric(each, "kind", "log_loss").differences for each in (found, turned))
    assert (back.difference.value, back.difference.lower) == pytest.approx(
        (-there.difference.value, -there.difference.upper)
    )
    wide = world.flare.compare(world.coarse, world.fine, seed=4, confidence=0.99, resamples=300)
    widths = [
        each.upper - each.lower
        for each in (metric(answer, "kind", "accuracy").estimates[0] for answer in (found, wide))
    ]
    assert widths[0] < widths[1]


def test_a_version_of_fewer_columns_is_compared_and_said_to_come_from_other_rows(world: World) -> None:
    narrow = world.flare.views.create(world.dataset, ["price", "kind"], drop=["noise"], seed=6)
    plain = world.trained(narrow.name)
    found = world.flare.compare(world.fine, plain)
    assert [version.trained_on_view for version in found.versions] == [True, False]
    assert found.versions[1].view == narrow.name
    refused = world.refused(plain, world.fine)  # on the view of the first, which lacks a column of the second
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "COLUMN_MISSING")
    assert "takes 'noise'" in refused.message
    assert world.fine in refused.message
    assert [violation.field for violation in refused.violations] == ["versions[1]"]


def test_a_class_that_one_version_alone_knows_is_refused_where_rows_have_it(world: World) -> None:
    kinds, sides = houses()[["size", "side", "kind"]], houses()["side"]
    south = world.flare.datasets.upload(kinds[sides == "south"], dataset_id=unique("south"))
    everywhere = world.flare.datasets.upload(kinds, dataset_id=unique("everywhere"))
    views = [world.flare.views.create(each, "kind", stratify="kind", seed=1).name for each in (everywhere, south)]
    wide, narrow = (world.trained(view) for view in views)
    refused = world.refused(wide, narrow)
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "COLUMN_UNSUPPORTED")
    assert f"{narrow} knows no class 'hut' of target 'kind'" in refused.message
    found = world.flare.compare(wide, narrow, view=views[1])
    # No row is a hut, so there is no area under its curve.
    assert [each.name for each in found.targets[0].metrics] == ["accuracy", "f1_macro", "log_loss"]


def test_a_version_named_twice_is_refused_by_whatever_name(world: World) -> None:
    model = world.fine.partition("/versions/")[0]
    refused = world.refused(world.coarse, world.fine, model)
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [violation.field for violation in refused.violations] == ["versions[2]"]
    assert f"'{model}' and '{world.fine}' are one version" in refused.message


def test_versions_that_do_not_fit_the_view_are_named(world: World) -> None:
    other = world.flare.views.create(world.dataset, "kind", drop=["price"], seed=1)
    targets = world.refused(world.coarse, world.fine, view=other.name)
    assert targets.reason == "COLUMN_MISSING"
    assert "predicts 'price', 'kind'" in targets.message
    texts = world.flare.views.create(world.dataset, ["price", "kind"], cast={"noise": "categorical"})
    types = world.refused(world.coarse, world.fine, view=texts.name)
    assert types.reason == "COLUMN_UNSUPPORTED"
    assert "another 'noise'" in types.message
    untested = world.flare.views.create(world.dataset, ["price", "kind"], split=(0.8, 0.2, 0.0))
    empty = world.refused(world.coarse, world.fine, view=untested.name)
    assert (empty.code, empty.reason) == (Code.INVALID_ARGUMENT, "SPLIT_EMPTY")
    assert [violation.field for violation in empty.violations] == ["view"]


def test_what_is_not_there_or_not_wanted_is_refused(world: World) -> None:
    assert world.refused(world.coarse, "models/no-such-model").reason == "NOT_FOUND"
    assert world.refused(world.coarse, world.fine, view=f"{world.dataset}/views/none").reason == "NOT_FOUND"
    untrained = world.flare.models.create(unique("untrained"), flare_client.mlp([2])).name
    assert world.refused(world.coarse, untrained).reason == "NO_VERSION"
    for versions in ((world.coarse,), (world.coarse,) * 11, (world.coarse, "models/UPPER")):
        refused = world.refused(*versions)
        assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
        assert refused.violations[0].field.startswith("version")  # of a name alone, by the client


def test_a_view_that_is_another_one_by_now_is_compared_on_only_if_named(world: World) -> None:
    view = world.flare.views.create(world.dataset, "kind", seed=1, view_id=unique("moving"))
    first, second = world.trained(view.name), world.trained(view.name)
    world.flare.views.delete(view)
    world.flare.views.create(world.dataset, "kind", seed=2, view_id=view.name.rpartition("/")[2])
    refused = world.refused(first, second)
    assert (refused.code, refused.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    named = world.flare.compare(first, second, view=view.name)
    assert [version.trained_on_view for version in named.versions] == [False, False]


def test_a_deadline_ends_a_comparison_and_the_next_one_has_its_turn(world: World) -> None:
    many = pd.concat([houses()] * 20)
    dataset = world.flare.datasets.upload(many, dataset_id=unique("many"))
    view = world.flare.views.create(dataset, ["price", "kind"], split=(0.1, 0.0, 0.9))
    with pytest.raises(FlareError) as caught:  # which would take minutes
        world.flare.compare(world.coarse, world.fine, view=view, resamples=100_000, seconds=2.0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert world.flare.compare(world.coarse, world.fine, resamples=100).row_count == TEST_ROWS
