"""What bad input gets from the running services: code, reason, place and remedy, and nothing half-written."""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import flare_client
import grpc
import pytest
from flare.auth.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
)
from flare.ml.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    specification_pb2,
    training_service_pb2,
    training_service_pb2_grpc,
)
from flare.scraper.v1 import scraper_service_pb2, scraper_service_pb2_grpc
from flare_client import Flare, FlareError
from flare_client.errors import error_of_call

from tests.services import FlareServices, start_services, stop_services

Code = grpc.StatusCode
ROWS = 40
INPUTS = ["age", "height"]
PASSWORD = "a-password-of-tests-9"  # of an account that lives as long as the tests
SHORT_TOKEN_SECONDS = 4


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


def connected(services: FlareServices, username: str = "", password: str = "") -> Flare:
    """A connection of an account, of the administrator unless named."""
    return flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=username or services.username,
        password=password or services.password,
    )


@dataclass
class World:
    """Services with a data set, a view of it and a trained model, and somebody else who may see none of them."""

    services: FlareServices
    flare: Flare
    stranger: Flare
    reader: Flare
    files: Path
    dataset: str
    view: str
    model: str
    ml: grpc.Channel
    scraper: grpc.Channel
    token: str

    def inventory(self) -> tuple[object, ...]:
        """Everything that its owner can list, and every file that is no database and no log."""
        return (
            [dataset.name for dataset in self.flare.datasets.list()],
            [view.name for view in self.flare.views.list()],
            [(model.name, model.etag, model.has_initial_weights) for model in self.flare.models.list()],
            [version.name for version in self.flare.models.versions(self.model)],
            [job.name for job in self.flare.jobs.trainings()],
            [job.name for job in self.flare.jobs.imports()],
            [dataset.name for dataset in self.stranger.datasets.list()],
            [model.name for model in self.stranger.models.list()],
            sorted(
                str(file.relative_to(self.services.data_dir))
                for file in self.services.data_dir.rglob("*")
                if file.is_file() and ".db" not in file.name and file.suffix != ".log"
            ),
        )


def account(services: FlareServices, flare: Flare, name: str, *scopes: str) -> Flare:
    """The connection of a new account."""
    username = unique(name)
    with grpc.insecure_channel(services.auth_address) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        request = account_service_pb2.CreateAccountRequest(
            account_id=username, account=account_pb2.Account(scopes=scopes), password=PASSWORD
        )
        stub.CreateAccount(request, metadata=bearer(access_token(services)))
    return connected(services, username, PASSWORD)


def access_token(services: FlareServices) -> str:
    """A fresh token of the administrator."""
    with grpc.insecure_channel(services.auth_address) as channel:
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        request = auth_service_pb2.LoginRequest(username=services.username, password=services.password)
        token: str = stub.Login(request).access_token
        return token


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


def write_people(path: Path) -> Path:
    """Forty people of two kinds. No training row has kind `b` in the column `single`, and `blank` says nothing."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*INPUTS, "note", "blank", "kind", "single", "part"])
        for row in range(ROWS):
            part = ("train", "train", "validation", "test")[row % 4]
            note = "n/k" if row in (6, 9) else str(row)
            kind = "ab"[row % 3 == 0]
            writer.writerow([20 + row, 150.5 + row, note, "", kind, "a" if part == "train" else kind, part])
    return path


@pytest.fixture(scope="module")
def world(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the tests of this file share."""
    files = tmp_path_factory.mktemp("files")
    token = access_token(flare_services)
    with (
        connected(flare_services) as flare,
        account(flare_services, flare, "stranger") as stranger,
        account(flare_services, flare, "reader", "datasets.read", "models.read") as reader,
        grpc.insecure_channel(flare_services.ml_address, [("grpc.max_send_message_length", -1)]) as ml,
        grpc.insecure_channel(flare_services.scraper_address) as scraper,
    ):
        dataset = flare.datasets.upload(write_people(files / "people.csv"), dataset_id=unique("people"))
        view = flare.views.create(dataset, "kind", inputs=INPUTS, stratify="kind", view_id="main")
        model = flare.models.create(unique("people"), flare_client.mlp([2]), view=view)
        flare.train(model, view, epochs=1).wait()
        yield World(
            flare_services, flare, stranger, reader, files, dataset.name, view.name, model.name, ml, scraper, token
        )


def file_of(world: World, name: str, content: bytes) -> Path:
    path = world.files / name
    path.write_bytes(content)
    return path


def short_upload(world: World) -> object:
    """Announces more than it sends."""
    header = scraper_service_pb2.UploadHeader(dataset_id="cut", file_name="cut.csv", size_bytes=1000)
    messages = [
        scraper_service_pb2.UploadDatasetRequest(header=header),
        scraper_service_pb2.UploadDatasetRequest(chunk=b"a,b\n1,2\n"),
    ]
    stub = scraper_service_pb2_grpc.ScraperServiceStub(world.scraper)
    return stub.UploadDataset(iter(messages), metadata=bearer(world.token))


def short_import(world: World) -> object:
    """Announces more of a bundle than it sends."""
    header = model_service_pb2.BundleHeader(model_id="cut", size_bytes=1000)
    messages = [
        model_service_pb2.ImportModelVersionRequest(header=header),
        model_service_pb2.ImportModelVersionRequest(chunk=b"PK"),
    ]
    stub = model_service_pb2_grpc.ModelServiceStub(world.ml)
    return stub.ImportModelVersion(iter(messages), metadata=bearer(world.token))


def single(world: World) -> str:
    """A view whose training rows are all of one class."""
    return world.flare.views.create(
        world.dataset, "single", inputs=INPUTS, split_column="part", view_id=unique("single")
    ).name


def list_models(world: World, *metadata: tuple[str, str]) -> object:
    stub = model_service_pb2_grpc.ModelServiceStub(world.ml)
    return stub.ListModels(model_service_pb2.ListModelsRequest(), metadata=metadata)


def too_large(world: World) -> object:
    values = prediction_service_pb2.DoubleValues(values=[0.5] * (2 << 20))
    columns = [prediction_service_pb2.ColumnValues(name=name, numbers=values) for name in INPUTS]
    request = prediction_service_pb2.PredictRequest(
        name=world.model, columns=prediction_service_pb2.ColumnTable(columns=columns)
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(world.ml)
    return stub.Predict(request, metadata=bearer(world.token))


def vanishing() -> specification_pb2.ModelSpecification:
    """A CNN whose second block has nothing left to pool."""
    return flare_client.cnn(
        (1, 1, 2), [flare_client.block(4), flare_client.block(4, kernel_size=1, pooling="max", pooling_size=2)]
    )


@dataclass(frozen=True)
class Case:
    """A call that is refused."""

    call: Callable[[World], object]
    code: grpc.StatusCode
    reason: str
    texts: tuple[str, ...]
    field: str = ""


CASES: dict[str, Case] = {
    "unknown column": Case(
        lambda w: w.flare.views.create(w.dataset, "kindd"),
        Code.INVALID_ARGUMENT,
        "COLUMN_NOT_FOUND",
        ("no column 'kindd'", "did you mean 'kind'"),
        "view.columns[0].column",
    ),
    "unknown column in preprocessing": Case(
        lambda w: w.flare.models.create(unique("no"), preprocessed("weight", "min_max"), view=w.view),
        Code.INVALID_ARGUMENT,
        "COLUMN_NOT_FOUND",
        ("no input column 'weight'", "it has 'age', 'height'"),
        "model.specification.preprocessing.columns[0].column",
    ),
    "encoding that does not fit": Case(
        lambda w: w.flare.models.create(unique("no"), preprocessed("age", "one_hot"), view=w.view),
        Code.INVALID_ARGUMENT,
        "COLUMN_UNSUPPORTED",
        ("'age' is INTEGER", "ONE_HOT", "cast it to CATEGORICAL in the view"),
        "model.specification.preprocessing.columns[0].encoding",
    ),
    "target all missing": Case(
        lambda w: w.flare.views.create(w.dataset, "blank", inputs=INPUTS),
        Code.INVALID_ARGUMENT,
        "TARGET_ALL_MISSING",
        ("target 'blank' has no value in any of the 40 rows", "choose another target"),
        "view.columns[0]",
    ),
    "non-numeric in a cast": Case(
        lambda w: w.flare.views.create(w.dataset, "kind", inputs=[*INPUTS, "note"], cast={"note": "integer"}),
        Code.INVALID_ARGUMENT,
        "CAST_FAILED",
        ("column 'note': 2 of 40 values are not whole numbers, first at row 6: 'n/k'", "leave out the cast"),
        "view.columns[3].cast",
    ),
    "image of another size": Case(
        lambda w: w.flare.models.create(
            unique("no"), flare_client.cnn((1, 8, 8), [flare_client.block(4)]), view=w.view
        ),
        Code.INVALID_ARGUMENT,
        "IMAGE_SIZE_MISMATCH",
        ("image 1x8x8 needs 64 input features but the view gives 2", "set channels, height and width"),
        "model.specification.cnn.image",
    ),
    "image of another size, when training": Case(
        lambda w: w.flare.train(w.flare.models.get(MODELS["cnn"]), w.view),
        Code.INVALID_ARGUMENT,
        "IMAGE_SIZE_MISMATCH",
        ("image 1x8x8 needs 64 input features but the view gives 2",),
        "model.specification.cnn.image",
    ),
    "map that shrinks to nothing": Case(
        lambda w: w.flare.models.create(unique("no"), vanishing()),
        Code.INVALID_ARGUMENT,
        "FEATURE_MAP_VANISHED",
        (
            "blocks[1] shrinks its feature map to nothing",
            "pooling window is 2x2",
            "take its pooling out or make pooling_size smaller",
        ),
        "model.specification.cnn.blocks[1]",
    ),
    "free text as target": Case(
        lambda w: w.flare.models.create(unique("no"), flare_client.mlp([2]), view=w.flare.views.get(VIEWS["text"])),
        Code.INVALID_ARGUMENT,
        "COLUMN_UNSUPPORTED",
        ("target column 'note' is TEXT", "cast it in the view"),
        "view",
    ),
    "prediction with a missing column": Case(
        lambda w: w.flare.predict(w.model, [{"age": 30}]),
        Code.INVALID_ARGUMENT,
        "COLUMN_MISSING",
        ("column 'height' is missing", "trained on 'age', 'height'", "sent as missing, not left out"),
        "inputs",
    ),
    "prediction with an extra column": Case(
        lambda w: w.flare.predict(w.model, [{"age": 30, "height": 170.0, "kind": "a"}]),
        Code.INVALID_ARGUMENT,
        "COLUMN_UNEXPECTED",
        ("column 'kind' is not known", "leave out what it does not use, the target too"),
        "inputs",
    ),
    "prediction of a word": Case(
        lambda w: w.flare.predict(w.model, [{"age": 30, "height": 170.0}, {"age": "old", "height": 170.0}]),
        Code.INVALID_ARGUMENT,
        "VALUE_INVALID",
        ("column 'age', row 1: the value is 'old', which is not a number",),
        "inputs",
    ),
    "file that is no table": Case(
        lambda w: w.flare.datasets.upload(file_of(w, "picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)),
        Code.INVALID_ARGUMENT,
        "FILE_NOT_A_TABLE",
        ("picture.csv",),
    ),
    "file that is no Parquet": Case(
        lambda w: w.flare.datasets.upload(file_of(w, "table.parquet", b"PAR1 and then nothing of the kind")),
        Code.INVALID_ARGUMENT,
        "FILE_NOT_A_TABLE",
        ("table.parquet",),
    ),
    "header without rows": Case(
        lambda w: w.flare.datasets.upload(file_of(w, "header.csv", b"a,b\n")),
        Code.INVALID_ARGUMENT,
        "FILE_EMPTY",
        ("header.csv",),
    ),
    "upload cut short": Case(
        short_upload,
        Code.INVALID_ARGUMENT,
        "UPLOAD_INCOMPLETE",
        ("'cut.csv'", "it ended after 8 of 1000 bytes", "send it again"),
    ),
    "bundle cut short": Case(
        short_import,
        Code.INVALID_ARGUMENT,
        "UPLOAD_INCOMPLETE",
        ("it ended after 2 of 1000 bytes", "nothing is kept, send it again"),
    ),
    "bundle that is none": Case(
        lambda w: w.flare.models.import_(unique("no"), file_of(w, "bundle.zip", b"PK, or rather not")),
        Code.INVALID_ARGUMENT,
        "UPLOAD_INCOMPLETE",
        ("the file is not a bundle with config.json", "take one that ExportModelVersion gave"),
        "bundle",
    ),
    "data set that exists": Case(
        lambda w: w.flare.datasets.upload(w.files / "people.csv", dataset_id=w.dataset.removeprefix("datasets/")),
        Code.ALREADY_EXISTS,
        "NAME_TAKEN",
        ("people-", "another"),
        "dataset_id",
    ),
    "view that exists": Case(
        lambda w: w.flare.views.create(w.dataset, "kind", inputs=["age"], view_id="main"),
        Code.ALREADY_EXISTS,
        "NAME_TAKEN",
        ("/views/main'", "another"),
        "view_id",
    ),
    "model that exists": Case(
        lambda w: w.flare.models.create(w.model.removeprefix("models/"), flare_client.mlp([3])),
        Code.ALREADY_EXISTS,
        "NAME_TAKEN",
        ("you have a model 'models/people-", "take another model_id or delete that one"),
        "model_id",
    ),
    "view on another person's data set": Case(
        lambda w: w.stranger.views.create(w.dataset, "kind"), Code.NOT_FOUND, "NOT_FOUND", ("no data set 'datasets/",)
    ),
    "another person's view": Case(
        lambda w: w.stranger.views.get(w.view), Code.NOT_FOUND, "NOT_FOUND", ("no view 'datasets/people-",)
    ),
    "model on another person's view": Case(
        lambda w: w.stranger.models.create(unique("no"), flare_client.mlp([2]), view=w.view),
        Code.NOT_FOUND,
        "NOT_FOUND",
        ("no view 'datasets/people-",),
    ),
    "training on another person's view": Case(
        lambda w: w.stranger.train(MODELS["stranger"], w.view),
        Code.NOT_FOUND,
        "NOT_FOUND",
        ("no view 'datasets/people-",),
    ),
    "prediction by another person's model": Case(
        lambda w: w.stranger.predict(w.model, [{"age": 1, "height": 1.0}]),
        Code.NOT_FOUND,
        "NOT_FOUND",
        ("no model 'models/people-",),
    ),
    "no token": Case(
        list_models,
        Code.UNAUTHENTICATED,
        "TOKEN_MISSING",
        ("the call has no token", "send the metadata 'authorization: Bearer <access token>'"),
    ),
    "token that is none": Case(
        lambda w: list_models(w, ("authorization", "Bearer abc.def.ghi")), Code.UNAUTHENTICATED, "TOKEN_INVALID", ()
    ),
    "wrong scope": Case(
        lambda w: w.reader.models.create(unique("no"), flare_client.mlp([2])),
        Code.PERMISSION_DENIED,
        "SCOPE_MISSING",
        ("to call CreateModel a token needs the scope 'models.write'", "this one has datasets.read, models.read"),
    ),
    "message over the limit": Case(
        too_large, Code.RESOURCE_EXHAUSTED, "", ("Received message larger than max (", "vs. 16777216)")
    ),
}
# Things that some cases need beforehand.
MODELS: dict[str, str] = {}
VIEWS: dict[str, str] = {}


def preprocessed(column: str, encoding: str) -> specification_pb2.ModelSpecification:
    """A perceptron with a column encoded so."""
    specification = flare_client.mlp([2])
    specification.preprocessing.columns.add(
        column=column, encoding=specification_pb2.Encoding.Value(f"ENCODING_{encoding.upper()}")
    )
    return specification


@pytest.fixture(scope="module", autouse=True)
def prepared(world: World) -> None:
    """Models and views that are good in themselves."""
    cnn = flare_client.cnn((1, 8, 8), [flare_client.block(4)])
    MODELS["cnn"] = world.flare.models.create(unique("cnn"), cnn).name
    MODELS["stranger"] = world.stranger.models.create(unique("mine"), flare_client.mlp([2])).name
    VIEWS["text"] = world.flare.views.create(
        world.dataset, "note", inputs=INPUTS, cast={"note": "text"}, view_id="text"
    ).name


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_its_place_and_remedy_and_leaves_nothing(world: World, name: str) -> None:
    case = CASES[name]
    before = world.inventory()
    error = refused(lambda: case.call(world))
    assert (error.code, error.reason) == (case.code, case.reason), error.message
    for text in case.texts:
        assert text in error.message
    if case.field:
        assert [violation.field for violation in error.violations] == [case.field]
    assert world.inventory() == before


def refused(call: Callable[[], object]) -> FlareError:
    """The error of a call, through the client or a bare stub."""
    try:
        call()
    except FlareError as error:
        return error
    except grpc.RpcError as error:
        return error_of_call(error, "", "")
    pytest.fail("nothing was refused")


def test_one_class_in_the_training_rows_is_refused_before_any_training(world: World) -> None:
    view = single(world)
    before = world.inventory()
    for call in (
        lambda: world.flare.models.create(unique("no"), flare_client.mlp([2]), view=view),
        lambda: world.flare.train(world.model, view),
    ):
        error = refused(call)
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "TARGET_SINGLE_CLASS")
        assert "target column 'single' has 1 class in the training rows" in error.message
        assert "take more rows, or a split that is stratified by it" in error.message
        assert error.metadata["column"] == "single"
    assert world.inventory() == before


def test_an_empty_file_is_refused(world: World) -> None:
    before = world.inventory()
    header = scraper_service_pb2.UploadHeader(dataset_id="empty", file_name="empty.csv", size_bytes=0)
    stub = scraper_service_pb2_grpc.ScraperServiceStub(world.scraper)
    request = scraper_service_pb2.UploadDatasetRequest(header=header)
    error = refused(lambda: stub.UploadDataset(iter([request]), metadata=bearer(world.token)))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FILE_EMPTY")
    assert "empty.csv" in error.message
    assert refused(lambda: world.flare.datasets.upload(file_of(world, "none.csv", b""))).reason == "FILE_EMPTY"
    assert world.inventory() == before


def test_another_persons_things_answer_as_missing_ones_do(world: World) -> None:
    pairs = [
        (lambda: world.stranger.views.get(world.view), lambda: world.stranger.views.get("datasets/none/views/main")),
        (lambda: world.stranger.datasets.get(world.dataset), lambda: world.stranger.datasets.get("none")),
        (lambda: world.stranger.models.get(world.model), lambda: world.stranger.models.get("none")),
    ]
    names = (world.dataset, world.model)
    for theirs, missing in pairs:
        first, second = refused(theirs), refused(missing)
        told = first.message
        for name in names:
            told = told.replace(name.partition("/")[2], "none")
        assert (first.code, first.reason, told) == (second.code, second.reason, second.message)


def test_weights_that_do_not_fit_are_named_and_not_kept(world: World, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    linear = torch.nn.Linear(2, 2)
    model = world.flare.models.create_from_module(unique("linear"), linear, (2,))
    (name, *_) = sorted(_weights_of(world, model.name, tmp_path))
    before = world.flare.models.get(model)
    save_file({name: torch.zeros(7)}, tmp_path / "wrong.safetensors")
    error = refused(lambda: world.flare.models.upload_weights(model, tmp_path / "wrong.safetensors"))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "WEIGHTS_MISMATCH")
    assert {violation.field for violation in error.violations} >= {name}
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "wrong.safetensors").read_bytes()[:40])
    error = refused(lambda: world.flare.models.upload_weights(model, tmp_path / "torn.safetensors"))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "UPLOAD_INCOMPLETE")
    assert world.flare.models.get(model) == before


def _weights_of(world: World, model: str, directory: Path) -> list[str]:
    """The names of a model's weights, as a version trained on the view exports them."""
    from safetensors import safe_open

    world.flare.train(model, world.view, epochs=1).wait()
    file = world.flare.models.export(model, directory / "weights.safetensors", format="safetensors")
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def predict(world: World, *columns: prediction_service_pb2.ColumnValues) -> prediction_service_pb2.PredictResponse:
    request = prediction_service_pb2.PredictRequest(
        name=world.model, columns=prediction_service_pb2.ColumnTable(columns=columns)
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(world.ml)
    response: prediction_service_pb2.PredictResponse = stub.Predict(request, metadata=bearer(world.token))
    return response


def numbers(name: str, *values: float) -> prediction_service_pb2.ColumnValues:
    return prediction_service_pb2.ColumnValues(name=name, numbers=prediction_service_pb2.DoubleValues(values=values))


def test_odd_predictions_get_an_answer_or_a_reason(world: World) -> None:
    assert predict(world, numbers("age"), numbers("height")).row_count == 0
    twice = refused(lambda: predict(world, numbers("age", 1), numbers("age", 1), numbers("height", 1)))
    assert (twice.reason, "column 'age' is there twice" in twice.message) == ("INVALID_FIELD", True)
    uneven = refused(lambda: predict(world, numbers("age", 1), numbers("height", 1, 2)))
    assert (uneven.reason, "'age' has 1 values" in uneven.message) == ("VALUE_INVALID", True)
    infinite = refused(lambda: predict(world, numbers("age", math.inf), numbers("height", 1)))
    assert (infinite.reason, "column 'age', row 0" in infinite.message) == ("VALUE_INVALID", True)
    outside = numbers("age", 1)
    outside.missing_rows.append(5)
    error = refused(lambda: predict(world, outside, numbers("height", 1)))
    assert (error.reason, [v.field for v in error.violations]) == ("INVALID_FIELD", ["columns.columns[0].missing_rows"])
    # The views fill what is missing in numbers by their median.
    assert predict(world, numbers("age", math.nan), numbers("height", 1)).row_count == 1


def test_a_faulty_request_ends_a_stream_with_the_status_of_predict(world: World) -> None:
    good = prediction_service_pb2.PredictRequest(
        name=world.model,
        columns=prediction_service_pb2.ColumnTable(columns=[numbers("age", 1), numbers("height", 1)]),
    )
    bad = prediction_service_pb2.PredictRequest(
        name=world.model, columns=prediction_service_pb2.ColumnTable(columns=[numbers("age", 1)])
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(world.ml)
    for faulty, reason in ((bad, "COLUMN_MISSING"), (None, "INVALID_FIELD")):
        requests = [prediction_service_pb2.PredictStreamRequest(request=each) for each in (good, faulty, good)]
        replies = stub.PredictStream(iter(requests), metadata=bearer(world.token))
        assert next(replies).response.row_count == 1
        error = refused(partial(next, replies))
        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason), error.message


@pytest.fixture
def short_lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlareServices]:
    """Services whose tokens end after a few seconds."""
    monkeypatch.setenv("FLARE_AUTH_ACCESS_TOKEN_SECONDS", str(SHORT_TOKEN_SECONDS))
    services = start_services(tmp_path / "data")
    yield services
    stop_services(services)


def test_a_watch_that_outlives_its_token_ends_and_the_client_goes_on_without_loss(
    short_lived: FlareServices, tmp_path: Path
) -> None:
    with connected(short_lived) as flare, grpc.insecure_channel(short_lived.ml_address) as channel:
        dataset = flare.datasets.upload(write_people(tmp_path / "people.csv"), dataset_id="people")
        view = flare.views.create(dataset, "kind", inputs=INPUTS, stratify="kind")
        job = flare.train(flare.models.create("people", flare_client.mlp([2]), view=view), view, epochs=1_000_000)

        token = access_token(short_lived)
        stub = training_service_pb2_grpc.TrainingServiceStub(channel)
        request = training_service_pb2.WatchTrainingJobRequest(name=job.name)
        seen: list[int] = []

        def watch() -> None:
            messages = stub.WatchTrainingJob(request, metadata=bearer(token))
            seen.extend(message.event.sequence for message in messages if message.HasField("event"))

        ended = refused(watch)
        assert (ended.code, ended.reason) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")
        assert "refresh it and call again" in ended.message
        again = refused(lambda: next(stub.WatchTrainingJob(request, metadata=bearer(token))))
        assert (again.code, again.reason) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")
        unary = refused(
            lambda: stub.ListTrainingJobs(training_service_pb2.ListTrainingJobsRequest(), metadata=bearer(token))
        )
        assert (unary.code, unary.reason) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")

        # The client's own watch goes on over the ends of several tokens.
        sequences, first, is_cancelled = list[int](), None, False
        for event in job.events():
            sequences.append(event.sequence)
            first = first or event.time.ToDatetime()
            is_past_two_tokens = (event.time.ToDatetime() - first).total_seconds() > 2.5 * SHORT_TOKEN_SECONDS
            if is_past_two_tokens and not is_cancelled:
                job.cancel()
                is_cancelled = True
        assert all(after == before + 1 for before, after in pairwise([0, *sequences]))
        assert sequences[: len(seen)] == seen != []
        assert flare.jobs.get_training(job.name).state == "cancelled"
