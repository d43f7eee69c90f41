"""Batch predictions on the running services: the data set that they make, what is refused, and what a cancel leaves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import flare_client
import grpc
import pandas as pd
import pytest
from flare.ml.v1 import batch_prediction_pb2, batch_prediction_service_pb2, batch_prediction_service_pb2_grpc
from flare_client import FlareError
from flare_client.sync.flare import Flare

from tests.services import FlareServices


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    with flare_client.connect(
        auth=flare_services.auth_address,
        scraper=flare_services.scraper_address,
        ml=flare_services.ml_address,
        username=flare_services.username,
        password=flare_services.password,
    ) as flare:
        yield flare


def new_id(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Columns of every type but images; a whole number to be classified, and a price."""
    rows = range(240)
    return pd.DataFrame(
        {
            "age": [None if row % 7 == 0 else row / 4 for row in rows],
            "count": [row % 11 for row in rows],
            "member": [row % 3 == 0 for row in rows],
            "day": [pd.Timestamp("2024-01-01") + pd.Timedelta(hours=row) for row in rows],
            "city": ["Bern" if row % 2 else "Ulm" for row in rows],
            "stars": [1 + row % 3 for row in rows],
            "price": [100.0 + row for row in rows],
        }
    )


@pytest.fixture(scope="module")
def view(flare: Flare, table: pd.DataFrame) -> str:
    name = new_id("shop")
    flare.datasets.upload(table, dataset_id=name)
    return flare.views.create(
        name,
        ["stars", "price"],
        cast={"stars": "categorical"},
        missing={"age": "fill_mean"},
        seed=1,
        view_id="main",
    ).name


@pytest.fixture(scope="module")
def model(flare: Flare, view: str) -> str:
    model = new_id("m")
    flare.models.create(model, flare_client.mlp([8]), view=view)
    flare.train(model, view, epochs=2).wait()
    return model


def test_the_data_set_has_the_rows_of_the_view_and_what_predict_says_of_them(
    flare: Flare, view: str, model: str
) -> None:
    job = flare.batch_predict(model, view, dataset_id=new_id("all"))
    dataset = job.wait()
    assert dataset == f"datasets/{job.job.dataset_id}"
    assert job.job.progress.predicted_rows == job.job.progress.total_rows == 240
    assert job.job.version == f"models/{model}/versions/1"
    found = frame(flare, dataset)
    rows = pd.concat([flare.datasets.to_dataframe(view, part) for part in ("train", "validation", "test")])
    rows = rows.reset_index(drop=True)
    kept = list(rows.columns)
    pd.testing.assert_frame_equal(found[kept], rows[kept], check_dtype=False, check_like=True)
    expected = flare.predict(model, rows.drop(columns=["stars", "price"]))
    assert [name for name in found if name not in kept] == [
        "stars_predicted",
        *(f"stars_probability_{label}" for label in "123"),
        "price_predicted",
    ]
    assert found["stars_predicted"].astype(str).tolist() == expected["stars"].tolist()
    for name in ("stars_probability_1", "stars_probability_2", "stars_probability_3"):
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), abs=1e-6)
    assert found["price_predicted"].tolist() == pytest.approx(expected["price"].tolist(), rel=1e-5)
    assert [event.sequence for event in job.events()] == list(range(1, job.job.last_sequence + 1))
    assert flare.batch_predictions.get(job.name).job == job.refresh()
    assert job.name in [each.name for each in flare.batch_predictions.list()]


def frame(flare: Flare, dataset: str) -> pd.DataFrame:
    """All rows of a data set, in their order, through a view that leaves them as they are."""
    view = flare.views.create(dataset, "price_predicted", split=(1.0, 0.0, 0.0))
    return flare.datasets.to_dataframe(view.name)


def test_parts_and_columns_are_those_asked_for(flare: Flare, view: str, model: str) -> None:
    dataset = flare.batch_predict(
        f"{model}/versions/1", view, dataset_id=new_id("test"), parts=["test"], columns=["stars", "city"]
    ).wait()
    found = frame(flare, dataset)
    test = flare.datasets.to_dataframe(view, "test")
    assert list(found)[:2] == ["city", "stars"]
    assert found["city"].tolist() == test["city"].tolist()
    alone = flare.batch_predict(model, view, dataset_id=new_id("alone"), parts=["test"], columns=[]).wait()
    assert list(frame(flare, alone)) == list(found)[2:]


def test_an_alias_that_is_shared_out_means_its_first_version_for_all_rows(
    flare: Flare, view: str, model: str, tmp_path: Path
) -> None:
    other = flare.models.import_(new_id("other"), flare.models.export(model, tmp_path / "first.zip")).name
    shared = other.split("/")[1]
    flare.train(shared, view, epochs=1).wait()
    flare.models.set_alias(shared, "prod", 2, shares={1: 10, 2: 90})
    job = flare.batch_predict(f"{shared}@prod", view, dataset_id=new_id("shared"))
    found = frame(flare, job.wait())
    assert job.job.version == f"models/{shared}/versions/2"
    assert flare.datasets.get(job.job.dataset_id).display_name == f"{view} predicted by models/{shared}/versions/2"
    rows = pd.concat([flare.datasets.to_dataframe(view, part) for part in ("train", "validation", "test")])
    expected = flare.predict(f"{shared}/versions/2", rows.drop(columns=["stars", "price"]))
    assert found["price_predicted"].tolist() == pytest.approx(expected["price"].tolist(), rel=1e-5)


def test_a_number_that_is_too_large_is_named_with_its_place(
    flare: Flare, table: pd.DataFrame, model: str, tmp_path: Path
) -> None:
    far = new_id("far")
    flare.datasets.upload(table.assign(age=1e42), dataset_id=far)
    view = flare.views.create(far, ["stars", "price"], cast={"stars": "categorical"}).name
    copy = flare.models.import_(new_id("copy"), flare.models.export(model, tmp_path / "version.zip")).name
    problem = "the value is 1e\\+42, too far from those of training"
    with pytest.raises(FlareError, match=f"column 'age', row 0 of the train rows: {problem}"):
        flare.batch_predict(model, view, dataset_id=new_id("no")).wait()
    with pytest.raises(FlareError, match=f"column 'age', row 0 of the test rows: {problem}"):
        flare.compare(model, copy, view=view)


def test_what_can_not_be_predicted_is_refused_by_its_name(flare: Flare, view: str, model: str) -> None:
    other = new_id("other")
    flare.datasets.upload(pd.DataFrame({"age": [1.0, 2.0] * 20, "y": [1.0, 2.0] * 20}), dataset_id=other)
    lacking = flare.views.create(other, "y", view_id="main").name
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        (lacking, {}, "takes 'count', 'member', 'day', 'city', and view .* has no such input", "batch_prediction.view"),
        (view, {"columns": ["city", "street"]}, "has no column 'street'", "batch_prediction.columns[1]"),
        (view, {"dataset_id": other}, f"there is a data set 'datasets/{other}' already", "batch_prediction.dataset_id"),
    ]
    for rows_of, options, message, field in cases:
        with pytest.raises(FlareError, match=message) as refused:
            flare.batch_predictions.create(model, rows_of, **{"dataset_id": new_id("no"), **options})
        assert refused.value.violations[0].field == field


def test_a_version_that_is_being_predicted_with_stays_and_a_cancelled_job_leaves_nothing(
    flare_services: FlareServices, flare: Flare
) -> None:
    name, views = new_id("m"), []
    for rows in (200, 20_000):
        many = new_id("many")
        flare.datasets.upload(pd.DataFrame({"x": range(rows), "y": [0.0, 1.0] * (rows // 2)}), dataset_id=many)
        views.append(flare.views.create(many, "y", view_id="main").name)
    small, view = views
    flare.models.create(name, flare_client.mlp([1024, 1024]), view=small)
    flare.train(name, small, epochs=1, engine="torch").wait()
    job = flare.batch_predict(name, view, dataset_id=new_id("gone"))
    for event in job.events():
        if event.progress.phase == batch_prediction_pb2.BATCH_PREDICTION_PHASE_PREDICTING:
            break
    with pytest.raises(FlareError, match=f"is needed by '{job.name}'"):
        flare.models.delete(name)
    job.cancel()
    with pytest.raises(FlareError, match="was cancelled"):
        job.wait()
    assert job.job.dataset == ""
    with pytest.raises(FlareError, match="no data set"):
        flare.datasets.get(job.job.dataset_id)
    (folder,) = flare_services.data_dir.rglob("ml-batch-predictions")
    assert not (folder / job.name.split("/")[1]).exists()
    flare.models.delete(name)


def test_a_repeated_request_returns_the_first_job_though_its_data_set_is_there(
    flare_services: FlareServices, flare: Flare, view: str, model: str
) -> None:
    message = batch_prediction_pb2.BatchPrediction(
        version=f"models/{model}", view=view, dataset_id=new_id("once"), only_predictions=True
    )
    request = batch_prediction_service_pb2.CreateBatchPredictionRequest(
        batch_prediction=message, request_id=str(uuid4())
    )
    with grpc.insecure_channel(flare_services.ml_address) as channel:
        stub = batch_prediction_service_pb2_grpc.BatchPredictionServiceStub(channel)
        first = stub.CreateBatchPrediction(request, metadata=flare_services.metadata())
        flare.batch_predictions.get(first.name).wait()
        assert stub.CreateBatchPrediction(request, metadata=flare_services.metadata()).name == first.name
        request.request_id = ""
        with pytest.raises(grpc.RpcError, match="there is a data set"):
            stub.CreateBatchPrediction(request, metadata=flare_services.metadata())
