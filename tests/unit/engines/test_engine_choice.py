"""The engine of a version is the fastest that is right, and one that is wrong never serves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ml_server.engines import choice
from ml_server.engines.choice import TOLERANCE, choose_engine, made_rows
from ml_server.engines.engine import BATCH_ROWS, EngineName, Features, Outputs
from ml_server.engines.onnx_engine import OnnxEngine
from ml_server.engines.torch_engine import TorchEngine
from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.mlp import Mlp
from ml_server.networks.specification import ModelSpecification

EMBEDDED = FeatureLayout(dense=4, embeddings=(EmbeddingColumn(name="city", categories=9, dim=3),))
IMAGE = {"channels": 1, "height": 8, "width": 8}
NETWORKS: dict[str, tuple[dict[str, Any], FeatureLayout]] = {
    "mlp": ({"kind": "mlp", "hidden_units": [16], "normalization": "batch"}, FeatureLayout(dense=6)),
    "mlp with embeddings": ({"kind": "mlp", "hidden_units": [16]}, EMBEDDED),
    "cnn": (
        {"kind": "cnn", "image": IMAGE, "blocks": [{"out_channels": 4, "pooling": "max"}]},
        FeatureLayout(dense=64),
    ),
    "graph": (
        {
            "kind": "torch_graph",
            "input_shape": [5, 3],
            "nodes": [
                {"id": "forward", "inputs": ["input"], "operation": {"op": "lstm", "input_size": 3, "hidden_size": 4}},
                {"id": "last", "inputs": ["forward"], "operation": {"op": "select", "dim": 1, "index": -1}},
                {"id": "keys", "inputs": ["last"], "operation": {"op": "linear", "in_features": 4, "out_features": 2}},
            ],
            "output": "keys",
        },
        FeatureLayout(dense=15),
    ),
}


def network(name: str = "mlp") -> ManageableModel:
    architecture, layout = NETWORKS[name]
    torch.manual_seed(0)
    specification = ModelSpecification.model_validate({"architecture": architecture})
    return build_model(ModelConfig(specification=specification, layout=layout, outputs=2)).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    model = network(name)
    chosen = choose_engine(model, made_rows(model), tmp_path / "model.onnx", EngineName.ONNXRUNTIME)
    assert chosen.engine is EngineName.ONNXRUNTIME
    assert not any(each.refusal for each in chosen.measurements)
    assert 0 <= chosen.measurement().largest_difference <= TOLERANCE
    engine, rows = OnnxEngine(tmp_path / "model.onnx"), made_rows(model)
    for count in (1, 3, BATCH_ROWS):
        expected = TorchEngine(model).run(rows[:count])
        np.testing.assert_allclose(engine.run(rows[:count]), expected, atol=TOLERANCE * np.abs(expected).max())


def test_the_faster_one_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    for slow, engine in ((TorchEngine, EngineName.ONNXRUNTIME), (OnnxEngine, EngineName.TORCH)):
        monkeypatch.setattr(choice, "_microseconds", lambda each, _, slow=slow: 2.0 if isinstance(each, slow) else 1.0)
        chosen = choose_engine(model, made_rows(model), tmp_path / "model.onnx")
        assert chosen.engine is engine
        assert (tmp_path / "model.onnx").exists() == (engine is EngineName.ONNXRUNTIME)


def test_pytorch_serves_if_it_is_wanted(tmp_path: Path) -> None:
    model = network()
    chosen = choose_engine(model, made_rows(model), tmp_path / "model.onnx", EngineName.TORCH)
    assert [each.engine for each in chosen.measurements] == [EngineName.TORCH]
    assert chosen.engine is EngineName.TORCH
    assert not list(tmp_path.iterdir())


class _OtherForFewRows(Mlp):
    """Decides by the number of rows, as no network of a specification does."""

    def compute(self, features: Tensor) -> Tensor:
        return super().compute(features) * (2.0 if len(features) > 3 else 1.0)


class _Rounded(Mlp):
    """Computes with an operation that ONNX has no word for."""

    def compute(self, features: Tensor) -> Tensor:
        return super().compute(torch.special.bessel_j0(features))


@pytest.mark.parametrize("kind", [_OtherForFewRows, _Rounded])
def test_a_wrong_or_impossible_export_never_serves(kind: type[Mlp], tmp_path: Path) -> None:
    model = kind(network().config).eval()
    chosen = choose_engine(model, made_rows(model), tmp_path / "model.onnx", EngineName.ONNXRUNTIME)
    assert chosen.engine is EngineName.TORCH
    (refused,) = [each for each in chosen.measurements if each.engine is EngineName.ONNXRUNTIME]
    assert refused.refusal
    assert not list(tmp_path.iterdir())


def test_outputs_that_are_no_numbers_are_no_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(engine: OnnxEngine, features: Features) -> Outputs:
        return np.full((len(features), 2), np.nan, np.float32)

    monkeypatch.setattr(OnnxEngine, "run", run)
    model = network()
    chosen = choose_engine(model, made_rows(model), tmp_path / "model.onnx", EngineName.ONNXRUNTIME)
    assert chosen.engine is EngineName.TORCH


def test_made_rows_have_known_codes() -> None:
    rows = made_rows(network("mlp with embeddings"))
    assert rows.shape == (BATCH_ROWS, 5)
    assert set(rows[:, 4]) <= set(range(9))
