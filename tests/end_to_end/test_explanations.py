"""Explanations, the most probable classes, and rows with faults, on the running services."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import flare_client
import grpc
import numpy as np
import pandas as pd
import pytest
from flare_client import Flare, FlareError
from flare_client.cli.app import run as run_command

from tests.made_versions import CITIES, bundle_file, mixed_version
from tests.services import FlareServices

ROWS: list[dict[str, Any]] = [
    {"age": 1.5, "count": 3, "flag": True, "day": "1970-01-02T00:00:00", "kind": "a", "city": CITIES[3]},
    {"age": None, "count": 4, "flag": False, "day": "1970-01-01T00:00:00", "kind": "other", "city": ""},
    {"age": 9.0, "count": 8, "flag": False, "day": "1970-01-07T00:00:00", "kind": "b", "city": CITIES[7]},
]
SPECIES = ["setosa", "versicolor", "virginica"]


@dataclass
class World:
    """A connection, and an imported model of two targets."""

    flare: Flare
    model: str


@pytest.fixture(scope="module")
def world(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the tests of this file share."""
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        name = f"explained-{uuid4().hex[:8]}"
        flare.models.import_(name, bundle_file(mixed_version(), tmp_path_factory.mktemp(name)))
        yield World(flare, name)


@pytest.mark.parametrize(("method", "steps"), [("integrated_gradients", 200), ("permutation", 20)])
def test_contributions_add_up_to_what_is_predicted(world: World, method: str, steps: int) -> None:
    predicted = world.flare.predict(world.model, ROWS)
    price = world.flare.explain(world.model, ROWS, target="price", method=method, steps=steps)
    assert list(price.columns) == ["age", "count", "flag", "day", "kind", "city"]
    np.testing.assert_allclose(price.attrs["outputs"], predicted["price"], rtol=1e-5)
    sums = price.sum(axis=1) + price.attrs["baseline_outputs"]
    np.testing.assert_allclose(sums, predicted["price"], rtol=1e-2)
    assert (price.attrs["method"], price.attrs["target"], price.attrs["class_labels"]) == (method, "price", [])
    species = world.flare.explain(world.model, ROWS, target="species", method=method, steps=steps)
    assert species.attrs["class_labels"] == predicted["species"].tolist()
    assert species.attrs["version"] == predicted.attrs["version"]


def test_odds_are_the_difference_of_what_is_explained_of_two_classes(world: World) -> None:
    predicted = world.flare.predict(world.model, ROWS)
    logits = [world.flare.explain(world.model, ROWS, target="species", class_label=each) for each in SPECIES[:2]]
    odds = np.subtract(logits[0].attrs["outputs"], logits[1].attrs["outputs"])
    ratio = predicted["species_probability_setosa"] / predicted["species_probability_versicolor"]
    np.testing.assert_allclose(np.exp(odds), ratio, rtol=1e-4)
    assert logits[0].attrs["method"] == "integrated_gradients"


def test_many_rows_take_several_requests(world: World) -> None:
    many = ROWS * 500
    found = world.flare.explain(world.model, many, target="price", steps=200)
    assert len(found) == len(found.attrs["outputs"]) == 1500
    few = world.flare.explain(world.model, ROWS, target="price", steps=200)
    np.testing.assert_allclose(found.tail(3), few, rtol=1e-4, atol=1e-4)


def test_an_id_explains_the_version_that_predicted(world: World, tmp_path: Path) -> None:
    name = f"shared-{uuid4().hex[:8]}"
    for _ in range(2):
        world.flare.models.import_(name, bundle_file(mixed_version(), tmp_path / uuid4().hex))
    world.flare.models.set_alias(name, "prod", shares={1: 50, 2: 50})
    for caller in map(str, range(12)):
        predicted = world.flare.predict(f"{name}@prod", ROWS[:1], id=caller)
        explained = world.flare.explain(f"{name}@prod", ROWS[:1], target="price", steps=1, id=caller)
        assert explained.attrs["version"] == predicted.attrs["version"]


def test_a_deadline_ends_an_explanation_and_the_next_one_has_its_turn(world: World) -> None:
    asked: dict[str, Any] = {"target": "price", "method": "permutation", "steps": 1000}
    with pytest.raises(FlareError) as caught:  # which would take some seconds
        world.flare.explain(world.model, ROWS * 55, seconds=0.1, **asked)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(world.flare.explain(world.model, ROWS, target="price", steps=1)) == len(ROWS)


def test_what_is_asked_for_wrongly_is_refused(world: World) -> None:
    for asked, field in (({}, "target"), ({"target": "species", "class_label": "rose"}, "class_label")):
        with pytest.raises(FlareError) as refused:
            world.flare.explain(world.model, ROWS, **asked)  # type: ignore[arg-type]  # all of them are texts
        assert refused.value.reason == "INVALID_FIELD"
        assert [violation.field for violation in refused.value.violations] == [field]
    with pytest.raises(FlareError) as refused:
        world.flare.explain(world.model, [{**ROWS[0], "count": "many"}], target="price")
    assert refused.value.reason == "VALUE_INVALID"


def test_the_most_probable_classes_alone_are_told(world: World) -> None:
    everything = world.flare.predict(world.model, ROWS)
    (best,) = world.flare.predict_stream(world.model, [ROWS], top=2)
    pd.testing.assert_frame_equal(best, world.flare.predict(world.model, ROWS, top=2))
    assert not [name for name in best.columns if name.startswith("species_probability_")]
    assert best["species_top_1"].tolist() == everything["species"].tolist()
    probabilities = np.sort(everything[[f"species_probability_{each}" for each in SPECIES]], axis=1)[:, ::-1]
    np.testing.assert_allclose(best[["species_top_1_probability", "species_top_2_probability"]], probabilities[:, :2])


def test_rows_with_faults_are_told_and_the_others_predicted(world: World) -> None:
    faulty = [ROWS[0], {**ROWS[1], "count": "many"}, ROWS[2], {**ROWS[2], "day": "soon"}]
    predicted = world.flare.predict(world.model, faulty, partial=True)
    assert [(error["row"], error["column"]) for error in predicted.attrs["row_errors"]] == [(1, "count"), (3, "day")]
    assert predicted.attrs["row_errors"][0]["message"] == "the value is 'many', which is not a number"
    assert predicted.loc[[1, 3]].isna().to_numpy().all()
    good = world.flare.predict(world.model, [ROWS[0], ROWS[2]])
    pd.testing.assert_frame_equal(predicted.loc[[0, 2]].reset_index(drop=True), good, rtol=1e-5)
    (streamed,) = world.flare.predict_stream(world.model, [faulty], partial=True)
    pd.testing.assert_frame_equal(streamed, predicted)
    assert streamed.attrs == predicted.attrs
    nested = [ROWS[0], {**ROWS[1], "count": [1]}, ROWS[2], {**ROWS[2], "flag": "maybe"}]
    told = world.flare.predict(world.model, nested, partial=True)
    assert [(error["row"], error["column"], error["message"]) for error in told.attrs["row_errors"]] == [
        (1, "count", "the value is an object or a list: send a number, string, boolean or null"),
        (3, "flag", "the value is 'maybe', which is neither true nor false"),
    ]
    pd.testing.assert_frame_equal(told, predicted)
    with pytest.raises(FlareError, match="column 'count', row 1"):
        world.flare.predict(world.model, faulty)
    with pytest.raises(FlareError) as refused:
        world.flare.predict(world.model, [{"age": "old"}], partial=True)
    assert refused.value.reason == "COLUMN_MISSING"


def test_the_command_explains_and_predicts_what_it_can(
    world: World,
    flare_services: FlareServices,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in flare_services.environment().items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "rows.json"

    def told(*arguments: str) -> str:
        assert run_command(list(arguments)) == 0
        return capsys.readouterr().out

    file.write_text(json.dumps([ROWS[0], {**ROWS[1], "count": "many"}]))
    answer = json.loads(told("predict", world.model, str(file), "--top", "1", "--partial", "-o", "json"))
    assert answer["row_errors"][0]["row"] == 1
    assert answer["predictions"][1]["species_top_1"] is None
    assert answer["predictions"][0]["species_top_1"] == answer["predictions"][0]["species"]
    file.write_text(json.dumps(ROWS))
    asked = ("explain", world.model, str(file), "--target", "price")
    explained = json.loads(told(*asked, "-o", "json"))
    assert explained["method"] == "integrated_gradients"
    row = explained["rows"][0]
    assert sum(row["contributions"].values()) == pytest.approx(row["output"] - row["baseline_output"], rel=0.05)
    shown = told(*asked, "--columns", "2").splitlines()
    assert shown[0].split()[:4] == ["ROW", "OUTPUT", "AVERAGE", "ROW"]
    assert (len(shown), len(shown[1].split())) == (4, 5)
    heading = told("explain", world.model, str(file), "--target", "species").splitlines()[0]
    assert heading.split()[:5] == ["ROW", "CLASS", "LOGIT", "AVERAGE", "ROW"]
