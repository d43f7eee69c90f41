"""Which parts of a network stay as they are, and what is said of blocks that can't."""

from typing import Any

import pytest
import torch

from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.frozen_blocks import freeze, require_learning
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.specification import ModelSpecification
from servicekit.errors import InvalidArgument

CNN = {
    "kind": "cnn",
    "image": {"channels": 1, "height": 4, "width": 4},
    "blocks": [{"out_channels": 2, "normalization": "batch"}, {"out_channels": 3, "normalization": "batch"}],
}
GRAPH = {
    "kind": "torch_graph",
    "input_shape": [4, 4],
    "nodes": [
        {"id": "lstm", "inputs": ["input"], "operation": {"op": "lstm", "input_size": 4, "hidden_size": 3}},
        {"id": "lstm_norm", "inputs": ["lstm"], "operation": {"op": "layer_norm", "normalized_shape": [3]}},
        {"id": "flat", "inputs": ["lstm_norm"], "operation": {"op": "flatten"}},
        {"id": "head", "inputs": ["flat"], "operation": {"op": "linear", "in_features": 12, "out_features": 2}},
        {"id": "spare", "inputs": ["flat"], "operation": {"op": "linear", "in_features": 12, "out_features": 2}},
    ],
    "output": "head",
}


def network(architecture: dict[str, Any], *, device: str = "cpu", embeddings: bool = False) -> ManageableModel:
    columns = (EmbeddingColumn(name="city", categories=5, dim=2),) if embeddings else ()
    layout = FeatureLayout(dense=14 if embeddings else 16, embeddings=columns)
    specification = ModelSpecification.model_validate({"architecture": architecture})
    with torch.device(device):
        return build_model(ModelConfig(specification=specification, layout=layout, outputs=2))


def trained(model: ManageableModel) -> set[str]:
    return {model.user_name(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_block_is_whatever_begins_so_up_to_a_dot() -> None:
    model = network(CNN)
    freeze(model, ["blocks.0"])
    assert trained(model) == {"blocks.1.0.weight", "blocks.1.0.bias", "blocks.1.1.weight", "blocks.1.1.bias"} | {
        "head.0.weight",
        "head.0.bias",
    }
    freeze(model, ["blocks"])
    assert trained(model) == {"head.0.weight", "head.0.bias"}


def test_nodes_of_a_graph_are_known_by_their_ids_and_not_by_what_begins_alike() -> None:
    model = network(GRAPH)
    freeze(model, ["lstm"])
    assert {name.split(".")[0] for name in trained(model)} == {"lstm_norm", "head", "spare"}


def test_running_statistics_of_frozen_blocks_stay_and_those_of_others_move() -> None:
    model = network(CNN)
    freeze(model, ["blocks.0"])
    model.eval()
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.randn(8, 16))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"blocks.1.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("block", ["block", "blocks.0.0.weight", "blocks.0.2", "blocks.", "lstm"])
def test_a_block_that_is_none_is_refused_with_those_there_are(block: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        freeze(network(CNN, device="meta"), ["head", block])
    (violation,) = caught.value.violations
    assert violation.field == "training_job.plan.frozen_blocks[1]"
    assert f"'{block}' is no block of the network: its blocks are 'blocks', 'blocks.0', 'blocks.0.0'" in str(violation)


def test_something_that_the_outputs_depend_on_must_be_left_to_train() -> None:
    with pytest.raises(InvalidArgument, match="nothing is left to train"):
        freeze(network(CNN, device="meta"), ["blocks", "head"])
    model = network(GRAPH, device="meta")
    freeze(model, ["lstm", "lstm_norm", "head"])
    with pytest.raises(InvalidArgument, match="nothing is left to train"):
        require_learning(model)
    model = network(GRAPH, device="meta")
    freeze(model, ["lstm", "lstm_norm"])
    require_learning(model)


def test_the_vectors_of_categories_are_a_block_of_their_own() -> None:
    model = network({"kind": "mlp", "hidden_units": [3]}, device="meta", embeddings=True)
    freeze(model, ["input", "layers.0"])
    require_learning(model)
    assert trained(model) == {"layers.2.weight", "layers.2.bias"}
