"""Models on the running services: versions, aliases, files, predictions, and jobs that are asked for twice."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import flare_client
import grpc
import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flare.ml.v1 import (
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    specification_pb2,
    training_job_pb2,
    training_service_pb2,
    training_service_pb2_grpc,
)
from flare.ml.v1.engine_pb2 import Engine
from flare_client import Flare, FlareError
from flare_client.errors import error_of_call
from flare_client.jobs_state import state_name
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

from tests.services import FlareServices

Code = grpc.StatusCode
FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


@dataclass
class World:
    """A connection, bare stubs for what it does by itself, and a view of three kinds of flowers."""

    flare: Flare
    models: model_service_pb2_grpc.ModelServiceStub
    training: training_service_pb2_grpc.TrainingServiceStub
    prediction: prediction_service_pb2_grpc.PredictionServiceStub
    metadata: tuple[tuple[str, str], ...]
    data_dir: Path
    flowers: str
    rows: pd.DataFrame
    """The view's test rows, inputs only."""
    linear: str
    """A linear model of plain numbers with two versions."""


def plain(hidden: list[int]) -> specification_pb2.ModelSpecification:
    """A perceptron that sees numbers as they are."""
    specification = flare_client.mlp(hidden)
    specification.preprocessing.numeric_encoding = specification_pb2.ENCODING_PASS_THROUGH
    return specification


@pytest.fixture(scope="module")
def world(flare_services: FlareServices) -> Iterator[World]:
    """What the tests of this file share."""
    services = flare_services
    with (
        flare_client.connect(
            auth=services.auth_address,
            scraper=services.scraper_address,
            ml=services.ml_address,
            username=services.username,
            password=services.password,
        ) as flare,
        grpc.insecure_channel(services.auth_address) as auth,
        grpc.insecure_channel(services.ml_address) as ml,
    ):
        login = auth_service_pb2.LoginRequest(username=services.username, password=services.password)
        token = auth_service_pb2_grpc.AuthServiceStub(auth).Login(login).access_token
        dataset = flare.datasets.import_("iris", dataset_id=unique("iris")).wait()
        names = {column.name: name for column, name in zip(dataset.columns, FEATURES, strict=False)}
        view = flare.views.create(dataset, "species", rename=names, stratify="species", seed=7)
        linear = flare.models.create(unique("linear"), plain([]), view=view)
        for seed in (1, 2):
            flare.train(linear, view, epochs=3, learning_rate=0.05, seed=seed).wait()
        yield World(
            flare,
            model_service_pb2_grpc.ModelServiceStub(ml),
            training_service_pb2_grpc.TrainingServiceStub(ml),
            prediction_service_pb2_grpc.PredictionServiceStub(ml),
            (("authorization", f"Bearer {token}"),),
            services.data_dir,
            view.name,
            flare.datasets.to_dataframe(view, "test")[FEATURES],
            linear.name,
        )


@pytest.fixture
def flare(world: World) -> Flare:
    """The connection."""
    return world.flare


def probabilities(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The probabilities (N, classes) of a frame of predictions."""
    return frame.filter(like="_probability_").to_numpy(dtype=np.float64)


def test_a_version_is_found_by_number_alias_and_as_the_latest(world: World, flare: Flare) -> None:
    first, second = (flare.models.version(f"{world.linear}/versions/{number}") for number in (1, 2))
    assert first.digest != second.digest
    assert (first.seed, second.seed, second.view) == (1, 2, world.flowers)
    assert second.parameter_count == 4 * 3 + 3
    assert flare.models.version(world.linear) == second
    assert [version.name for version in flare.models.versions(world.linear)] == [second.name, first.name]
    assert {metric.name for metric in second.test_metrics} >= {"accuracy", "f1_macro", "auroc"}
    assert second.library_versions["torch"] == torch.__version__
    signature = second.signature
    assert [column.name for column in signature.inputs] == FEATURES
    assert {column.encoding for column in signature.inputs} == {specification_pb2.ENCODING_PASS_THROUGH}
    (target,) = signature.targets
    assert (target.name, target.task, len(target.classes)) == ("species", model_pb2.TASK_MULTICLASS_CLASSIFICATION, 3)


def test_an_alias_moves_and_keeps_its_version_from_being_deleted(world: World, flare: Flare, tmp_path: Path) -> None:
    bundles = [flare.models.export(f"{world.linear}/versions/{number}", tmp_path) for number in (1, 2)]
    assert [file.name for file in bundles] == [f"{world.linear.removeprefix('models/')}-{n}.zip" for n in (1, 2)]
    model = unique("aliased")
    for bundle in bundles:
        flare.models.import_(model, bundle)
    read = flare.models.get(model)
    flare.models.set_alias(model, "prod", 1)
    expected = [flare.predict(f"{world.linear}/versions/{number}", world.rows) for number in (1, 2)]
    pd.testing.assert_frame_equal(flare.predict(f"{model}@prod", world.rows), expected[0])
    moved = flare.models.set_alias(model, "prod", 2)
    pd.testing.assert_frame_equal(flare.predict(f"{model}@prod", world.rows), expected[1])
    assert [(alias.alias, alias.version) for alias in moved.aliases] == [("prod", 2)]

    with pytest.raises(FlareError, match="changed since you read it: read it again") as old:
        flare.models.set_alias(model, "prod", 1, etag=read.etag)
    assert (old.value.code, old.value.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    with pytest.raises(FlareError, match="named by alias 'prod': move or delete the alias first") as used:
        flare.models.delete_version(f"{model}/versions/2")
    assert (used.value.code, used.value.reason) == (Code.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    with pytest.raises(FlareError, match="no version"):
        flare.models.set_alias(model, "prod", 9)

    flare.models.delete_alias(model, "prod")
    flare.models.delete_version(f"{model}/versions/2")
    assert flare.models.version(model).name == f"models/{model}/versions/1"
    pd.testing.assert_frame_equal(flare.predict(model, world.rows), expected[0])
    for gone in (f"{model}@prod", f"{model}/versions/2"):
        with pytest.raises(FlareError) as missing:
            flare.predict(gone, world.rows)
        assert (missing.value.code, missing.value.reason) == (Code.NOT_FOUND, "NOT_FOUND")
    assert flare.models.import_(model, bundles[1]).name == f"models/{model}/versions/3"  # 2 is never given again


def test_a_bundle_predicts_equally_under_another_name(world: World, flare: Flare, tmp_path: Path) -> None:
    bundle = flare.models.export(world.linear, tmp_path)
    with zipfile.ZipFile(bundle) as archive:
        assert sorted(archive.namelist()) == [
            "config.json",
            "features.json",
            "reference.json",
            "state.pt",
            "version.json",
        ]
    imported = flare.models.import_(unique("again"), bundle)
    original = flare.models.version(world.linear)
    assert imported.digest == original.digest
    assert imported.signature == original.signature
    assert imported.test_metrics == original.test_metrics
    assert imported.training_job == ""
    pd.testing.assert_frame_equal(flare.predict(imported.name, world.rows), flare.predict(world.linear, world.rows))


def test_a_bundle_of_another_network_or_with_other_weights_is_refused(
    world: World, flare: Flare, tmp_path: Path
) -> None:
    bundle = flare.models.export(world.linear, tmp_path / "good.zip")
    other = flare.models.create(unique("other"), flare_client.mlp([5]))
    with pytest.raises(FlareError, match="import it under another model_id") as misfit:
        flare.models.import_(other.name.removeprefix("models/"), bundle)
    assert (misfit.value.code, misfit.value.reason) == (Code.INVALID_ARGUMENT, "WEIGHTS_MISMATCH")
    assert flare.models.versions(other) == []

    with zipfile.ZipFile(bundle) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    huge = json.loads(parts["config.json"])
    huge["specification"]["architecture"]["hidden_units"] = [65536] * 100
    named = unique("huge")
    for content, reason in (
        ({"version.json": parts["version.json"].replace(b'"digest":"', b'"digest":"0')}, "WEIGHTS_MISMATCH"),
        ({"config.json": json.dumps(huge).encode()}, "MODEL_TOO_LARGE"),
        ({"state.pt": b"no weights"}, "WEIGHTS_MISMATCH"),
        ({"features.json": b"{}"}, "INVALID_FIELD"),
    ):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            for name, part in {**parts, **content}.items():
                archive.writestr(name, part)
        with pytest.raises(FlareError) as refused:
            flare.models.import_(named, tmp_path / "bad.zip")
        assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, reason), refused.value.message
    with pytest.raises(FlareError, match="no model"):
        flare.models.get(named)


def test_exported_weights_and_onnx_compute_what_predict_says(world: World, flare: Flare, tmp_path: Path) -> None:
    expected = probabilities(flare.predict(world.linear, world.rows))
    features = world.rows.to_numpy(dtype=np.float32)

    weights = load_file(flare.models.export(world.linear, tmp_path / "linear.safetensors", format="safetensors"))
    (weight,) = (tensor for tensor in weights.values() if tensor.ndim == 2)
    (bias,) = (tensor for tensor in weights.values() if tensor.ndim == 1)
    np.testing.assert_allclose(softmax(features @ weight.T + bias), expected, rtol=1e-4)

    model = flare.models.create(unique("deep"), plain([6, 5]), view=world.flowers)
    flare.train(model, world.flowers, epochs=3, learning_rate=0.02).wait()
    for name in (world.linear, model.name):
        file = flare.models.export(name, tmp_path / "model.onnx", format="onnx")
        onnx.checker.check_model(str(file))
        (outputs,) = ReferenceEvaluator(str(file)).run(None, {"features": features})
        np.testing.assert_allclose(
            softmax(np.asarray(outputs)), probabilities(flare.predict(name, world.rows)), rtol=1e-4, atol=1e-6
        )


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def columns_request(name: str, rows: pd.DataFrame) -> prediction_service_pb2.PredictRequest:
    columns = [
        prediction_service_pb2.ColumnValues(
            name=str(column), numbers=prediction_service_pb2.DoubleValues(values=rows[column])
        )
        for column in rows
    ]
    return prediction_service_pb2.PredictRequest(name=name, columns=prediction_service_pb2.ColumnTable(columns=columns))


def test_reply_i_belongs_to_request_i_whatever_the_version(world: World) -> None:
    names = [f"{world.linear}/versions/1", f"{world.linear}/versions/2", world.linear]
    requests = [
        columns_request(names[row % 3], world.rows.iloc[row % len(world.rows)].to_frame().T) for row in range(90)
    ]
    alone = [world.prediction.Predict(request, metadata=world.metadata) for request in requests]
    streamed = world.prediction.PredictStream(
        (prediction_service_pb2.PredictStreamRequest(request=request) for request in requests), metadata=world.metadata
    )
    assert [reply.response for reply in streamed] == alone
    assert len({reply.SerializeToString() for reply in alone}) > 30


@pytest.fixture(scope="module")
def houses(world: World) -> tuple[str, str, pd.DataFrame]:
    """A view of houses with columns of every type and three targets, a model of it, and its test rows."""
    random = np.random.default_rng(3)
    count = 500
    size = random.uniform(50, 150, count)
    colour = random.choice(["red", "green", "blue"], count)
    is_new = random.random(count) < 0.5
    frame = pd.DataFrame(
        {
            "size": size,
            "rooms": random.integers(1, 7, count),
            "colour": pd.Series(colour, dtype=object).mask(random.random(count) < 0.1),
            "street": [f"street {number}" for number in random.integers(0, 25, count)],
            "built": pd.Timestamp("2001-02-03") + pd.to_timedelta(random.integers(0, 8000, count), unit="D"),
            "is_new": is_new,
            "price": 1000 * size + 20_000 * is_new,
            "kind": np.where(size > 115, "villa", np.where(size > 80, "house", "hut")),
            "is_dear": size + 20 * is_new > 110,
        }
    )
    dataset = world.flare.datasets.upload(frame, dataset_id=unique("houses"))
    view = world.flare.views.create(dataset, ["price", "kind", "is_dear"], seed=5)
    model = world.flare.models.create(unique("houses"), flare_client.mlp([32]), view=view)
    world.flare.train(model, view, epochs=30, batch_size=32, learning_rate=0.02, seed=1).wait()
    return view.name, model.name, world.flare.datasets.to_dataframe(view, "test")


def test_several_targets_are_learned_at_once_each_in_its_own_terms(
    flare: Flare, houses: tuple[str, str, pd.DataFrame]
) -> None:
    _, model, test = houses
    version = flare.models.version(model)
    assert [(target.name, target.task) for target in version.signature.targets] == [
        ("price", model_pb2.TASK_REGRESSION),
        ("kind", model_pb2.TASK_MULTICLASS_CLASSIFICATION),
        ("is_dear", model_pb2.TASK_BINARY_CLASSIFICATION),
    ]
    predicted = flare.predict(model, test.drop(columns=["price", "kind", "is_dear"]))
    # Prices go from 50 000 to 170 000: in their own unit, and close.
    error = (predicted["price"] - test["price"].to_numpy()).abs().mean()
    assert error < 12_000
    metrics = {(metric.target, metric.name): metric.value for metric in version.test_metrics}
    assert metrics["price", "mean_absolute_error"] == pytest.approx(error, rel=1e-3)
    for target in ("kind", "is_dear"):
        truth = test[target].map(lambda value: str(value).lower())
        accuracy = (predicted[target].str.lower() == truth.to_numpy()).mean()
        assert metrics[target, "accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert accuracy > 0.7
        np.testing.assert_allclose(predicted.filter(like=f"{target}_probability_").sum(axis=1), 1, atol=1e-6)


def test_a_version_tells_how_each_class_does_and_its_job_told_the_same(
    flare: Flare, houses: tuple[str, str, pd.DataFrame]
) -> None:
    _, model, test = houses
    version = flare.models.version(model)
    predicted = flare.predict(model, test.drop(columns=["price", "kind", "is_dear"]))
    assert [report.target for report in version.test_reports] == ["kind", "is_dear"]
    for report in version.test_reports:
        confusion = flare_client.confusion_frame(report)
        truth = test[report.target].map(lambda value: str(value).lower())
        expected = pd.crosstab(truth.to_numpy(), predicted[report.target].to_numpy())
        expected = expected.reindex(index=confusion.index, columns=confusion.columns, fill_value=0)
        np.testing.assert_array_equal(confusion, expected)
        classes = flare_client.class_frame(report)
        np.testing.assert_array_equal(classes["rows"], confusion.sum(axis=1))
        right = np.diag(confusion)
        np.testing.assert_allclose(classes["recall"], right / confusion.sum(axis=1))
        np.testing.assert_allclose(classes["precision"], right / confusion.sum(axis=0))
    events = list(flare.jobs.get_training(version.training_job).events())
    (tested,) = [event.test_finished for event in events if event.HasField("test_finished")]
    assert list(tested.reports) == list(version.test_reports)
    epochs = [event.epoch_finished for event in events if event.HasField("epoch_finished")]
    assert list(epochs[version.best_epoch - 1].validation_reports) == list(version.validation_reports) != []
    (listed,) = flare.models.versions(model)
    assert (list(listed.test_reports), list(listed.validation_reports)) == ([], [])


def test_rows_and_columns_predict_alike(world: World, houses: tuple[str, str, pd.DataFrame]) -> None:
    _, model, test = houses
    inputs = test.drop(columns=["price", "kind", "is_dear"]).head(8).reset_index(drop=True)
    inputs["colour"] = inputs["colour"].astype(object)
    inputs.loc[0, "colour"], inputs.loc[1, "colour"] = None, "never seen"
    inputs.loc[2, "size"] = np.nan
    by_columns = world.flare.predict(model, inputs)
    texts = inputs.assign(built=inputs["built"].map(lambda time: time.isoformat())).astype(object)
    rows = texts.where(texts.notna(), None).to_dict(orient="records")
    request = prediction_service_pb2.PredictRequest(name=model)
    json_format.ParseDict({"rows": [{k: _plain(v) for k, v in row.items()} for row in rows]}, request.rows)
    response = world.prediction.Predict(request, metadata=world.metadata)
    price, kind, is_dear = response.targets
    np.testing.assert_allclose(price.regression.values, by_columns["price"], rtol=1e-6)
    assert list(kind.classification.labels) == by_columns["kind"].tolist()
    np.testing.assert_allclose(
        np.reshape(is_dear.classification.probabilities, (8, 2)),
        by_columns.filter(like="is_dear_probability_"),
        rtol=1e-6,
    )


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def training_request(world: World, **changed: object) -> training_service_pb2.CreateTrainingJobRequest:
    job = training_job_pb2.TrainingJob(model=world.linear, view=world.flowers)
    job.plan.epochs = 1
    return training_service_pb2.CreateTrainingJobRequest(training_job=job, **changed)  # type: ignore[arg-type]


def test_a_repeated_request_returns_the_same_job(world: World, flare: Flare) -> None:
    model = flare.models.create(unique("repeated"), plain([]), view=world.flowers)
    request = training_request(world, request_id=str(uuid4()))
    request.training_job.model = model.name
    first = world.training.CreateTrainingJob(request, metadata=world.metadata)
    second = world.training.CreateTrainingJob(request, metadata=world.metadata)
    assert first.name == second.name
    request.training_job.plan.epochs = 2
    with pytest.raises(grpc.RpcError) as reused:
        world.training.CreateTrainingJob(request, metadata=world.metadata)
    assert error_of_call(reused.value, "", "").reason == "REQUEST_ID_REUSED"
    flare.jobs.get_training(first.name).wait()
    assert len(flare.models.versions(model)) == 1


def test_a_repeated_request_returns_the_same_model(world: World, flare: Flare) -> None:
    named = unique("repeated")
    request = model_service_pb2.CreateModelRequest(
        model_id=named, model=model_pb2.Model(specification=plain([3])), request_id=str(uuid4())
    )
    first = world.models.CreateModel(request, metadata=world.metadata)
    assert world.models.CreateModel(request, metadata=world.metadata) == first
    request.request_id = str(uuid4())
    with pytest.raises(grpc.RpcError) as taken:
        world.models.CreateModel(request, metadata=world.metadata)
    assert error_of_call(taken.value, "", "").reason == "NAME_TAKEN"


def test_a_check_alone_leaves_nothing(world: World, flare: Flare) -> None:
    named = unique("checked")
    checked = flare.models.create(named, plain([7]), view=world.flowers, validate_only=True)
    assert (checked.name, checked.size.parameter_count) == (f"models/{named}", 4 * 7 + 7 + 7 * 3 + 3)
    with pytest.raises(FlareError, match="no model"):
        flare.models.get(named)
    with pytest.raises(FlareError) as taken:
        flare.models.create(world.linear.removeprefix("models/"), plain([7]), validate_only=True)
    assert taken.value.reason == "NAME_TAKEN"

    before = [job.name for job in flare.jobs.trainings()]
    job = world.training.CreateTrainingJob(
        training_request(world, validate_only=True, request_id=str(uuid4())), metadata=world.metadata
    )
    assert (job.model, job.view, job.plan.epochs, job.plan.batch_size) == (world.linear, world.flowers, 1, 64)
    assert [job.name for job in flare.jobs.trainings()] == before
    assert flare.models.get(world.linear).latest_version == 2


def test_a_long_job_ends_when_it_is_cancelled_and_leaves_no_version(world: World, flare: Flare) -> None:
    model = flare.models.create(unique("long"), plain([64, 64]), view=world.flowers)
    job = flare.train(model, world.flowers, epochs=1_000_000, seed=1)
    next(job.epochs())
    with pytest.raises(FlareError, match=r"is needed by 'trainingJobs/.*cancel it first or wait for it") as used:
        flare.models.delete(model)
    assert (used.value.code, used.value.reason) == (Code.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    job.cancel()
    states = [state_name(event.state_changed.state) for event in job.events() if event.HasField("state_changed")]
    assert states == ["queued", "running", "cancelling", "cancelled"]
    assert job.refresh().version == ""
    assert flare.jobs.get_training(job.name).state == "cancelled"
    with pytest.raises(FlareError) as ended:
        flare.models.version(model)
    assert ended.value.reason == "NO_VERSION"
    flare.models.delete(model)


def test_training_starts_from_captured_weights(world: World, flare: Flare, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    preprocessing = specification_pb2.Preprocessing(numeric_encoding=specification_pb2.ENCODING_PASS_THROUGH)
    model = flare.models.create_from_module(
        unique("mine"), module, (4,), view=world.flowers, preprocessing=preprocessing
    )
    assert model.has_initial_weights
    # A rate that changes nothing that a float can hold.
    version = flare.train(model, world.flowers, epochs=1, learning_rate=1e-12, seed=1).wait()
    weights = load_file(flare.models.export(version, tmp_path / "weights.safetensors", format="safetensors"))
    own = sorted((tensor.numpy() for tensor in module.state_dict().values()), key=lambda array: array.shape)
    kept = sorted(weights.values(), key=lambda array: array.shape)
    for expected, found in zip(own, kept, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    with torch.no_grad():
        logits = module(torch.tensor(world.rows.to_numpy(dtype=np.float32))).numpy()
    np.testing.assert_allclose(
        probabilities(flare.predict(version.name, world.rows)), softmax(logits), rtol=1e-4, atol=1e-6
    )


def test_a_deleted_model_takes_its_versions_and_files_along(world: World, flare: Flare, tmp_path: Path) -> None:
    named = unique("deleted")
    before = version_folders(world)
    flare.models.import_(named, flare.models.export(world.linear, tmp_path))
    flare.predict(named, world.rows)
    assert len(version_folders(world) - before) == 1
    flare.models.delete(named)
    assert version_folders(world) == before
    for call in (flare.models.get, flare.models.version, flare.models.delete):
        with pytest.raises(FlareError) as gone:
            call(named)
        assert gone.value.reason == "NOT_FOUND"
    with pytest.raises(FlareError, match="no model"):
        flare.predict(named, world.rows)
    assert flare.models.import_(named, flare.models.export(world.linear, tmp_path)).name.endswith("/versions/1")


def version_folders(world: World) -> set[Path]:
    return {file.parent for file in world.data_dir.rglob("version.json")}


def test_a_view_without_rows_to_validate_or_test_trains_and_says_so(world: World, flare: Flare) -> None:
    dataset = world.flowers.partition("/views/")[0]
    view = flare.views.create(dataset, "species", split=(1.0, 0.0, 0.0))
    model = flare.models.create(unique("all"), flare_client.mlp([2]), view=view)
    job = flare.train(model, view, epochs=2, seed=1)
    warnings = [event.warning.message for event in job.events() if event.HasField("warning")]
    assert warnings == ["the view has no validation rows", "the view has no test rows"]
    assert list(job.wait().test_metrics) == []


def test_training_on_other_columns_is_told_and_a_refused_prediction_names_the_version(world: World) -> None:
    model = world.flare.models.create(unique("moving"), flare_client.mlp([4]), view=world.flowers)
    world.flare.train(model, world.flowers, epochs=1).wait()
    dataset = world.flowers.rsplit("/views/", 1)[0]
    narrow = world.flare.views.create(dataset, "species", drop=["sepal width (cm)"], seed=7)
    job = world.flare.train(model, narrow, epochs=1)
    warnings = [event.warning.message for event in job.events() if event.HasField("warning")]
    assert [f"'{model.name}' will need those of the new version" in warning for warning in warnings] == [True]
    with pytest.raises(FlareError) as caught:
        world.flare.predict(model, world.rows)
    assert caught.value.reason == "COLUMN_MISSING"
    assert f"{model.name}/versions/2 (view {narrow.name}) was trained on" in caught.value.message
    assert len(world.flare.predict(f"{model.name}/versions/1", world.rows)) == len(world.rows)


def test_a_version_tells_what_serves_it_and_why(world: World, flare: Flare) -> None:
    engine = flare.models.version(world.linear).engine
    costs = {each.engine: each.single_row_microseconds * each.batch_microseconds for each in engine.measurements}
    assert set(costs) == {Engine.ENGINE_ONNXRUNTIME, Engine.ENGINE_TORCH}
    assert 0 < costs[engine.engine] == min(costs.values())


def test_an_engine_can_be_asked_for(world: World, flare: Flare) -> None:
    version = flare.train(world.linear, world.flowers, epochs=1, engine="torch").wait()
    assert version.engine.engine == Engine.ENGINE_TORCH
    with pytest.raises(FlareError, match="not one of onnxruntime, torch"):
        flare.train(world.linear, world.flowers, engine="abacus")
