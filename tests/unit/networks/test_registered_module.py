"""Modules of the operator's image: what is offered, what is accepted, what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_server.networks.feature_layout import FeatureLayout
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.registered_module import ParameterDescription, list_modules
from ml_server.networks.shapes import check_shapes
from ml_server.networks.specification import ModelSpecification
from servicekit.errors import InvalidArgument, Reason

OPERATOR_PACKAGE = '''
import torch
from torch import nn


class Wide(nn.Module):
    """One wide hidden layer."""

    def __init__(
        self,
        feature_count: int,
        output_count: int,
        width: int,
        scale: float = 1.0,
        sizes: tuple[int, ...] = (2, 3),
        label: str = "a",
        bias: bool = True,
        extra: object = None,
    ) -> None:
        super().__init__()
        if width > 100:
            raise ValueError("width must be at most 100")
        self.scale, self.sizes, self.label = scale, sizes, label
        self.first = nn.Linear(feature_count, width, bias=bias)
        self.second = nn.Linear(width, output_count + (1 if label == "broken" else 0))

    def forward(self, features):
        return self.second(torch.relu(self.first(features))) * self.scale
'''


@pytest.fixture(autouse=True)
def operator_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with an entry point of the group, as an operator's image would have."""
    (tmp_path / "operator_modules.py").write_text(OPERATOR_PACKAGE)
    info = tmp_path / "operator_modules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: operator-modules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flare.modules]\nwide = operator_modules:Wide\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "operator_modules", raising=False)


def registered(module: str = "wide", **parameters: Any) -> ModelSpecification:
    listed = [{"name": name, "value": value} for name, value in parameters.items()]
    architecture = {"kind": "registered_module", "module": module, "parameters": listed}
    return ModelSpecification.model_validate({"architecture": architecture})


def test_modules_are_listed_with_their_parameters() -> None:
    (module,) = list_modules()
    assert (module.module, module.description) == ("wide", "One wide hidden layer.")
    assert module.parameters == (
        ParameterDescription("width", "integer", ""),
        ParameterDescription("scale", "number", "1.0"),
        ParameterDescription("sizes", "integers", "[2, 3]"),
        ParameterDescription("label", "text", '"a"'),
        ParameterDescription("bias", "boolean", "true"),
    )


def test_a_module_is_built_trained_saved_and_loaded(tmp_path: Path) -> None:
    specification = registered(width=5, scale=2, sizes=(7,), label="b", bias=False)
    layout = FeatureLayout(dense=4)
    assert check_shapes(specification, layout, 3).parameter_count == 4 * 5 + 5 * 3 + 3
    model = build_model(ModelConfig(specification=specification, layout=layout, outputs=3))
    model.save(tmp_path / "version")
    loaded = ManageableModel.load(tmp_path / "version")
    features = torch.rand(2, 4)
    assert torch.equal(loaded(features), model(features))
    module: Any = loaded.get_submodule("module")
    assert (module.scale, module.sizes, module.label) == (2.0, (7,), "b")


@pytest.mark.parametrize(
    ("specification", "field", "text"),
    [
        (registered("wider"), "module", "no module 'wider'; it offers: wide"),
        (registered(), "parameters", "needs the parameters width"),
        (registered(width=1, depth=2), "parameters[1].name", "no parameter 'depth'; it has: width, scale"),
        (registered(width="7"), "parameters[0]", "'width' is integer, not text ('7')"),
        (registered(width=True), "parameters[0]", "'width' is integer, not boolean"),
        (registered(width=1, extra=3), "parameters[1].name", "no parameter 'extra'"),
    ],
)
def test_what_is_refused_without_a_view(specification: ModelSpecification, field: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(specification)
    assert caught.value.reason is Reason.MODULE_UNKNOWN
    assert caught.value.violations[0].field == f"specification.registered_module.{field}"
    assert text in caught.value.message


def test_parameters_that_the_module_itself_refuses() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(registered(width=101), FeatureLayout(dense=4), 3)
    assert caught.value.reason is Reason.MODULE_UNKNOWN
    assert "width must be at most 100" in caught.value.message


def test_a_module_with_another_width_than_the_targets() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(registered(width=2, label="broken"), FeatureLayout(dense=4), 3)
    assert caught.value.reason is Reason.SHAPE_MISMATCH
    assert "gives (2, 4)" in caught.value.message
    assert "must give (2, 3)" in caught.value.message
