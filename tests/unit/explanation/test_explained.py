"""Contributions: what they add up to, what they are where that is known exactly, and what is refused."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml_server.explanation.explained import explained
from ml_server.explanation.feature_space import FeatureSpace
from ml_server.explanation.values import Explanation, ExplanationRequest, Method
from ml_server.features.columns import ColumnType, NumberColumn
from ml_server.features.fit import InputColumn, fit
from ml_server.features.targets import TargetColumn
from ml_server.networks.kinds import Encoding
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.specification import (
    ColumnEncoding,
    MlpSpecification,
    ModelSpecification,
    ModuleParameter,
    Preprocessing,
    RegisteredModuleSpecification,
)
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import PixelImages, RawColumn
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import Bundle, write_bundle
from ml_server.registry.values import Model, ModelVersion
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted
from servicekit.images.decoding import ImageDecoder
from servicekit.stopping import Stopped, Stopping
from tests.made_versions import CITIES, PIXELS, image_version, made_version, mixed_version, texts
from tests.summarized import summarized

NOW = datetime(2024, 5, 17, tzinfo=UTC)
IMAGES = ImageDecoder(10_000)
ASKED = ExplanationRequest(target="", class_label="", method=None, steps=50, seed=0)
VALUES: dict[str, Any] = {
    "age": np.array([1.5, np.nan, 90.0]),
    "count": np.array([3, 40, -7]),
    "flag": np.array([True, False, True]),
    "day": ["1970-01-02", "1970-01-09T17:00:00", "1971-05-01"],
    "kind": ["a", "b", "never seen"],
    "city": [CITIES[3], CITIES[0], "never seen"],
}
ROWS = ColumnInputs({name: RawColumn(values) for name, values in VALUES.items()})
OPERATOR_PACKAGE = """
import torch
from torch import nn


class Stepped(nn.Module):
    def __init__(self, feature_count: int, output_count: int, detached: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_count, output_count)
        self.detached = detached

    def forward(self, features):
        outputs = self.linear(features) * 10
        return outputs.detach() if self.detached else torch.round(outputs)
"""


class Versions:
    """Versions in folders, each explained as the server does it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def served(self, bundle: Bundle) -> ServedVersion:
        """The version as predictions have it."""
        folder = self._folder / bundle.details.digest
        if not folder.exists():
            write_bundle(folder, bundle)
        return ServedVersion.read(folder)

    def explain(self, bundle: Bundle, inputs: ColumnInputs, **changed: Any) -> Explanation:
        """An explanation of the rows, as asked for."""
        specification = bundle.model.config.specification
        model = Model("uid", "accounts/ann", "iris", "", specification, NOW, NOW)
        version = ModelVersion(model, 1, bundle.details, 1, NOW, "versions/a/b")
        stopping = changed.pop("stopping", Stopping())
        return explained(version, self.served(bundle), inputs, IMAGES, replace(ASKED, **changed), stopping)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path)


@pytest.fixture(scope="module")
def mixed() -> Bundle:
    torch.manual_seed(0)
    return mixed_version()


@pytest.fixture(scope="module")
def linear() -> Bundle:
    """As the mixed version, with no hidden layer."""
    torch.manual_seed(1)
    return mixed_version(hidden_units=())


def parts(linear: Bundle) -> dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Of each column the weights, the rows' features, and those of an average row, each found by hand."""
    weights = linear.model.state_dict()["layers.0.weight"].numpy().astype(np.float64)
    vectors = linear.model.state_dict()["input.tables.0.weight"].numpy().astype(np.float64)
    tensor = ROWS.features(linear.features, IMAGES, "").astype(np.float64)
    codes = tensor[:, 14].astype(int)
    dense = {"age": (0, 1), "count": (1, 2), "flag": (2, 3), "day": (3, 10), "kind": (10, 14)}
    averages: dict[str, Any] = {"flag": 0.5, "kind": np.array([1 / 3, 1 / 3, 1 / 3, 0])}
    found = {
        name: (weights[:, start:end], tensor[:, start:end], np.zeros(end - start) + averages.get(name, 0.0))
        for name, (start, end) in dense.items()
    }
    return {**found, "city": (weights[:, 14:], vectors[codes], vectors[:-1].mean(axis=0))}


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("steps", [1, 3])
def test_of_a_linear_network_they_are_weight_times_difference(
    versions: Versions, linear: Bundle, method: Method, steps: int
) -> None:
    found = versions.explain(linear, ROWS, target="price", method=method, steps=steps)
    price = linear.targets.targets[1]
    for index, (name, (weights, rows, average)) in enumerate(parts(linear).items()):
        expected = (rows - average) @ weights[3] * price.deviation
        assert found.columns[index] == name
        np.testing.assert_allclose(found.contributions.values[:, index], expected, rtol=1e-4, atol=1e-4)
    assert (found.target, found.class_labels, found.method) == ("price", (), method)


@pytest.mark.parametrize(("method", "tolerance"), [(Method.INTEGRATED_GRADIENTS, 2e-3), (Method.PERMUTATION, 1e-5)])
@pytest.mark.parametrize("target", ["price", "species"])
def test_those_of_a_row_add_up_to_what_it_differs_by(
    versions: Versions, mixed: Bundle, method: Method, tolerance: float, target: str
) -> None:
    found = versions.explain(mixed, ROWS, target=target, method=method, steps=200).contributions
    differences = found.outputs - found.baseline_outputs
    assert np.abs(differences).min() > 0
    np.testing.assert_allclose(found.values.sum(axis=1), differences, rtol=tolerance)


def test_outputs_are_those_that_are_predicted(versions: Versions, mixed: Bundle) -> None:
    served = versions.served(mixed)
    outputs = served.run(ROWS.features(mixed.features, IMAGES, ""))
    price = mixed.targets.targets[1]
    numbers = versions.explain(mixed, ROWS, target="price").contributions
    np.testing.assert_allclose(numbers.outputs, outputs[:, 3] * price.deviation + price.mean, rtol=1e-5)
    classes = mixed.targets.targets[0].classes
    predicted = versions.explain(mixed, ROWS, target="species")
    np.testing.assert_allclose(predicted.contributions.outputs, outputs[:, :3].max(axis=1), rtol=1e-5)
    assert predicted.class_labels == tuple(classes[each] for each in outputs[:, :3].argmax(axis=1))
    named = versions.explain(mixed, ROWS, target="species", class_label=classes[2])
    np.testing.assert_allclose(named.contributions.outputs, outputs[:, 2], rtol=1e-5)
    assert named.class_labels == (classes[2],) * 3
    assert len(set(named.contributions.baseline_outputs)) == 1


def test_an_image_is_one_column(versions: Versions) -> None:
    torch.manual_seed(0)
    pixels = np.random.default_rng(1).integers(0, 256, (3, PIXELS.size_bytes), dtype=np.uint8)
    rows = ColumnInputs({"image": RawColumn(PixelImages(pixels))})
    found = versions.explain(image_version(), rows, steps=300)
    assert found.method is Method.INTEGRATED_GRADIENTS
    assert found.columns == ("image",)
    differences = found.contributions.outputs - found.contributions.baseline_outputs
    np.testing.assert_allclose(found.contributions.values[:, 0], differences, rtol=2e-2)


def test_orders_come_of_the_seed_and_are_the_same_for_every_row(versions: Versions, mixed: Bundle) -> None:
    def values(rows: ColumnInputs = ROWS, seed: int = 7) -> NDArray[np.float64]:
        asked = {"target": "price", "method": Method.PERMUTATION, "steps": 2, "seed": seed}
        return versions.explain(mixed, rows, **asked).contributions.values

    last = ColumnInputs({name: RawColumn(values[2:]) for name, values in VALUES.items()})
    np.testing.assert_array_equal(values(), values())
    np.testing.assert_allclose(values(last), values()[2:], rtol=1e-5)
    assert not np.allclose(values(), values(seed=8))


@pytest.fixture
def operator_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with an entry point of the group, as an operator's image would have."""
    folder = tmp_path / "image"
    (folder / "stepped_modules-1.0.dist-info").mkdir(parents=True)
    (folder / "stepped_modules.py").write_text(OPERATOR_PACKAGE)
    info = folder / "stepped_modules-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stepped-modules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flare.modules]\nstepped = stepped_modules:Stepped\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "stepped_modules", raising=False)


@pytest.mark.usefixtures("operator_image")
@pytest.mark.parametrize("detached", [False, True])
def test_without_gradients_columns_are_permuted(versions: Versions, detached: bool) -> None:
    architecture = RegisteredModuleSpecification(
        module="stepped", parameters=(ModuleParameter(name="detached", value=detached),)
    )
    numbers = NumberColumn(np.array([0.0, 1.0, 5.0]))
    bundle = made_version(
        [InputColumn("x", ColumnType.FLOAT), InputColumn("z", ColumnType.FLOAT)],
        [TargetColumn("y", ColumnType.FLOAT)],
        {"x": numbers, "z": numbers, "y": numbers},
        ModelSpecification(architecture=architecture),
    )
    rows = ColumnInputs({"x": RawColumn(np.array([40.0])), "z": RawColumn(np.array([-70.0]))})
    found = versions.explain(bundle, rows)
    assert found.method is Method.PERMUTATION
    differences = found.contributions.outputs - found.contributions.baseline_outputs
    np.testing.assert_allclose(found.contributions.values.sum(axis=1), differences, rtol=1e-6)
    with pytest.raises(InvalidArgument, match="this network has no gradients") as refused:
        versions.explain(bundle, rows, method=Method.INTEGRATED_GRADIENTS)
    assert [violation.field for violation in refused.value.violations] == ["method"]


@pytest.mark.parametrize(
    ("changed", "field", "text"),
    [
        ({"target": ""}, "target", "predicts 'species', 'price': name the target to explain"),
        ({"target": "size"}, "target", "predicts no 'size': it predicts 'species', 'price'"),
        ({"target": "price", "class_label": "a"}, "class_label", "'price' is a number and has no class 'a'"),
        ({"target": "species", "class_label": "rose"}, "class_label", "no class 'rose': it has 'setosa', 'versicolor'"),
    ],
)
def test_what_there_is_not_is_refused(
    versions: Versions, mixed: Bundle, changed: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        versions.explain(mixed, ROWS, **changed)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == [field]
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("rows", "changed", "text"),
    [
        (1_001, {"steps": 1_000}, "1001 rows by 1000 steps are more than 1000000 runs of the network: ask for at most"),
        (200, {"steps": 1_000, "method": Method.PERMUTATION}, "by 1000 orders of 6 columns are more than 1000000"),
        (200_000, {"steps": 1}, "by 6 columns are more than 1000000 contributions: ask for at most 166666 rows"),
    ],
)
def test_too_much_work_is_refused_before_it_begins(
    versions: Versions, mixed: Bundle, rows: int, changed: dict[str, Any], text: str
) -> None:
    many = ColumnInputs({name: RawColumn(np.zeros(rows)) for name in ROWS.columns})
    with pytest.raises(ResourceExhausted) as refused:
        versions.explain(mixed, many, target="price", **changed)
    assert refused.value.reason is Reason.LIMIT_EXCEEDED
    assert text in refused.value.message


@pytest.mark.parametrize("method", list(Method))
def test_the_work_ends_when_nobody_waits(
    versions: Versions, mixed: Bundle, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []

    class Ending(Stopping):
        """Stopped at the fourth time that it is asked."""

        def check(self) -> None:
            checks.append(1)
            if len(checks) == 4:
                self.stop()
            super().check()

    monkeypatch.setattr("ml_server.explanation.batches.BATCH_POINTS", 10)
    with pytest.raises(Stopped):
        versions.explain(mixed, ROWS, target="price", method=method, stopping=Ending())


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [(Encoding.STANDARDIZE, 0.0), (Encoding.MIN_MAX, 0.5), (Encoding.PASS_THROUGH, 0.0)],
)
def test_an_average_number_is_what_its_encoding_makes_of_one(encoding: Encoding, expected: float) -> None:
    inputs = [InputColumn("x", ColumnType.FLOAT)]
    preprocessing = Preprocessing(columns=(ColumnEncoding(column="x", encoding=encoding),))
    features = fit(inputs, preprocessing, summarized(inputs, {"x": NumberColumn(np.array([2.0, 6.0, 10.0]))}))
    specification = ModelSpecification(architecture=MlpSpecification(hidden_units=()))
    model = build_model(ModelConfig(specification=specification, layout=features.layout, outputs=1))
    assert FeatureSpace.of(features, model).baseline.tolist() == [expected]


def test_a_category_that_training_never_saw_is_explained(versions: Versions) -> None:
    inputs = [InputColumn("kind", ColumnType.CATEGORICAL, keeps_missing=True, category_count=2)]
    table = {"kind": texts(["a", "b"]), "y": NumberColumn(np.array([0.0, 1.0]))}
    made = ModelSpecification(architecture=MlpSpecification(hidden_units=()))
    bundle = made_version(inputs, [TargetColumn("y", ColumnType.FLOAT)], table, made)
    found = versions.explain(bundle, ColumnInputs({"kind": RawColumn(["z"])})).contributions
    np.testing.assert_allclose(found.values[:, 0], found.outputs - found.baseline_outputs, rtol=1e-5)
