"""A version's folder: what is written is read back, alone and as one file; what is not a version is refused."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml_server.engines.choice import choose_engine, made_rows
from ml_server.engines.engine import EngineMeasurement, EngineName
from ml_server.engines.onnx_engine import OnnxEngine
from ml_server.features.columns import Column, ColumnType, NumberColumn, TextColumn
from ml_server.features.fit import InputColumn, fit
from ml_server.features.targets import TargetColumn, fit_targets
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.specification import MlpSpecification, ModelSpecification, Preprocessing
from ml_server.prediction.answers import Classification, answers_of
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import (
    ENGINE_FILE,
    FILES,
    REFERENCE_FILE,
    Bundle,
    read_bundle,
    unzip_bundle,
    weights_digest,
    write_bundle,
    write_details,
    zip_bundle,
)
from ml_server.registry.values import Metric, VersionDetails
from servicekit.errors import AlreadyExists, InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from tests.summarized import summarized

LIMIT = 1 << 20


@pytest.fixture
def bundle() -> Bundle:
    """A fresh network over a number and a category, for two classes."""
    columns: dict[str, Column] = {
        "size": NumberColumn(np.array([1.0, 2.0, 3.0])),
        "colour": TextColumn(["red", "blue"], np.array([0, 1, 0])),
        "kind": TextColumn(["b", "a"], np.array([0, 1, 0])),
    }
    inputs = [
        InputColumn("size", ColumnType.FLOAT),
        InputColumn("colour", ColumnType.CATEGORICAL, category_count=2),
    ]
    features = fit(inputs, Preprocessing(), summarized(inputs, columns))
    kind = TargetColumn("kind", ColumnType.CATEGORICAL, 2)
    targets = fit_targets([kind], summarized((), columns, [kind]))
    specification = ModelSpecification(architecture=MlpSpecification(hidden_units=(5,)))
    model = build_model(
        ModelConfig(specification=specification, layout=features.layout, outputs=targets.outputs)
    ).eval()
    details = VersionDetails(
        training_job="job",
        view="datasets/d/views/v",
        view_digest="d" * 64,
        seed=7,
        best_epoch=3,
        test_metrics=(Metric("accuracy", "kind", 0.5),),
        library_versions={"torch": "2.13.0"},
        parameter_count=model.parameter_count,
        digest=weights_digest(model),
    )
    return Bundle(model, features, targets, details)


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "version", bundle)
    return tmp_path / "version"


def probabilities(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    raw = {"size": RawColumn(np.array([0.5, 9.0])), "colour": RawColumn(["red", "green"])}
    served, inputs = ServedVersion.read(folder), ColumnInputs(raw)
    features = inputs.features(served.features, ImageDecoder(10_000), "models/iris/versions/1")
    (answer,) = answers_of(served.targets, served.run(features))
    assert isinstance(answer, Classification)
    return answer.probabilities


def test_what_is_written_is_read_back_and_predicts_equally(bundle: Bundle, folder: Path) -> None:
    again = read_bundle(folder)
    assert (again.features, again.targets, again.details) == (bundle.features, bundle.targets, bundle.details)
    assert again.model.config == bundle.model.config
    assert weights_digest(again.model) == bundle.details.digest
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)


def test_a_version_predicts_what_its_network_computes(bundle: Bundle, folder: Path) -> None:
    columns: dict[str, Column] = {
        "size": NumberColumn(np.array([0.5, 9.0])),
        "colour": TextColumn(["red", "green"], np.array([0, 1])),
    }
    with torch.inference_mode():
        outputs = bundle.model(torch.from_numpy(bundle.features.transform(columns)))
    np.testing.assert_allclose(probabilities(folder), outputs.double().softmax(1).numpy(), rtol=1e-12)


def test_an_engine_other_than_pytorch_is_read_from_its_own_file(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    engine = choose_engine(bundle.model, made_rows(bundle.model), tmp_path / ENGINE_FILE, EngineName.ONNXRUNTIME)
    (tmp_path / ENGINE_FILE).rename(folder / ENGINE_FILE)
    write_details(folder, bundle.details.model_copy(update={"engine": engine}))
    expected = probabilities(folder)
    (folder / "state.pt").unlink()
    np.testing.assert_array_equal(probabilities(folder), expected)
    assert isinstance(ServedVersion.read(folder).engine, OnnxEngine)


def test_what_a_call_takes_is_told_from_its_measurement(bundle: Bundle) -> None:
    measured = EngineMeasurement(engine=EngineName.TORCH, single_row_microseconds=20.0, batch_microseconds=51.0)
    assert measured.microseconds(1) == 20.0
    assert measured.microseconds(32) == 51.0
    assert measured.microseconds(1001) == 1020.0


def test_a_version_is_never_rewritten(bundle: Bundle, folder: Path) -> None:
    with pytest.raises(AlreadyExists):
        write_bundle(folder, bundle)


def test_the_digest_changes_with_a_single_weight_and_with_nothing_else(bundle: Bundle, folder: Path) -> None:
    model = read_bundle(folder).model
    assert weights_digest(model) == weights_digest(bundle.model)
    with torch.no_grad():
        weight = next(iter(model.state_dict().values())).view(-1)[0]
        weight.copy_(torch.nextafter(weight, torch.tensor(9.0)))
    assert weights_digest(model) != weights_digest(bundle.model)


def test_preprocessing_of_another_network_is_refused(bundle: Bundle, folder: Path) -> None:
    fewer = replace(bundle, features=bundle.features.model_copy(update={"columns": bundle.features.columns[:1]}))
    write_bundle(folder.with_name("other"), fewer)
    with pytest.raises(InvalidArgument, match="gives 1 features and 2 outputs, but the network has 4 and 2") as refused:
        read_bundle(folder.with_name("other"))
    assert refused.value.reason is Reason.WEIGHTS_MISMATCH


@pytest.mark.parametrize("name", ["features.json", "version.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"nonsense": 1}', b"\xff\xfe"])
def test_files_that_are_not_those_of_a_version_are_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidArgument, match="are not those of a version") as refused:
        read_bundle(folder)
    assert refused.value.reason is Reason.INVALID_FIELD


def test_it_travels_as_one_file(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    zip_bundle(folder, tmp_path / "bundle.zip")
    (tmp_path / "again").mkdir()
    unzip_bundle(tmp_path / "bundle.zip", tmp_path / "again", LIMIT)
    np.testing.assert_array_equal(probabilities(tmp_path / "again"), probabilities(folder))


def test_a_reference_travels_with_it_if_there_is_one(folder: Path, tmp_path: Path) -> None:
    (folder / REFERENCE_FILE).write_text("{}")
    zip_bundle(folder, tmp_path / "bundle.zip")
    (tmp_path / "again").mkdir()
    unzip_bundle(tmp_path / "bundle.zip", tmp_path / "again", LIMIT)
    assert (tmp_path / "again" / REFERENCE_FILE).read_text() == "{}"


def archive(path: Path, names: list[str], content: bytes = b"x", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name in names:
            made.writestr(name, content)
    return path


def refusal(file: Path, limit: int = LIMIT) -> InvalidArgument:
    target = file.with_name("unzipped")
    target.mkdir()
    with pytest.raises(InvalidArgument) as refused:
        unzip_bundle(file, target, limit)
    assert [violation.field for violation in refused.value.violations] == ["bundle"]
    return refused.value


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([*FILES, "harm.py"], "harm.py"),
        ([*FILES[:3], "../version.json"], "../version.json"),
        ([*FILES[:3], "/version.json"], "/version.json"),
        ([*FILES, FILES[0]], "config.json"),
        (list(FILES[:3]), "it holds config.json, state.pt, features.json;"),
        ([], "it holds nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_of_other_files_is_refused(tmp_path: Path, names: list[str], told: str) -> None:
    error = refusal(archive(tmp_path / "bundle.zip", names))
    assert error.reason is Reason.UPLOAD_INCOMPLETE
    assert told in error.message
    assert "take one that ExportModelVersion gave" in error.message
    assert not list((tmp_path / "unzipped").iterdir())


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    small = archive(tmp_path / "bundle.zip", list(FILES), content=bytes(LIMIT // 4 + 1))
    assert small.stat().st_size < LIMIT // 50
    assert refusal(small).reason is Reason.LIMIT_EXCEEDED
    unpacked = tmp_path / "fits"
    unpacked.mkdir()
    unzip_bundle(small, unpacked, LIMIT + 4)


def no_archive(tmp_path: Path) -> Path:
    (tmp_path / "bundle.zip").write_bytes(b"no archive at all")
    return tmp_path / "bundle.zip"


def cut(tmp_path: Path) -> Path:
    file = archive(tmp_path / "bundle.zip", list(FILES), content=bytes(100_000))
    file.write_bytes(file.read_bytes()[:-30])
    return file


def damaged(tmp_path: Path) -> Path:
    file = archive(tmp_path / "bundle.zip", list(FILES), content=bytes(range(256)) * 50)
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)
    return file


def encrypted(tmp_path: Path) -> Path:
    file = archive(tmp_path / "bundle.zip", list(FILES))
    content = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 4)
    file.write_bytes(content)
    return file


def unknown_compression(tmp_path: Path) -> Path:
    file = archive(tmp_path / "bundle.zip", list(FILES))
    content = bytearray(file.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.find(signature)
        while place >= 0:
            content[place + method] = 97
            place = content.find(signature, place + 4)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("make", [no_archive, cut, damaged, encrypted, unknown_compression])
def test_a_file_that_can_not_be_unpacked_is_refused(tmp_path: Path, make: object) -> None:
    assert callable(make)
    error = refusal(make(tmp_path))
    assert error.reason is Reason.UPLOAD_INCOMPLETE
    assert error.message.startswith("the file is not a bundle with config.json, state.pt, features.json, version.json")
