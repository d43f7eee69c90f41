"""A model is rebuilt from its folder alone, and nothing but a whole folder is ever there."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.shapes import check_shapes
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.weights import check_weights, load_initial_weights
from servicekit.errors import AlreadyExists, InvalidArgument, Reason

MLP = {"kind": "mlp", "hidden_units": [8, 5], "dropout": 0.2, "normalization": "batch", "activation": "gelu"}
LSTM = {
    "kind": "torch_graph",
    "input_shape": [5, 3],
    "nodes": [
        {"id": "forward", "inputs": ["input"], "operation": {"op": "lstm", "input_size": 3, "hidden_size": 4}},
        {"id": "bias", "operation": {"op": "parameter", "shape": [4], "frozen": True}},
        {"id": "last", "inputs": ["forward"], "operation": {"op": "select", "dim": 1, "index": -1}},
        {"id": "sum", "inputs": ["last", "bias"], "operation": {"op": "add"}},
        {"id": "keys", "inputs": ["sum"], "operation": {"op": "linear", "in_features": 4, "out_features": 2}},
    ],
    "output": "keys",
}
CNN = {
    "kind": "cnn",
    "image": {"channels": 1, "height": 8, "width": 8},
    "blocks": [
        {"out_channels": 4, "normalization": "batch", "pooling": "max"},
        {"out_channels": 6, "kernel_size": 2, "stride": 2, "padding": 0, "pooling": "average", "dropout": 0.1},
    ],
    "head": {"hidden_units": [7]},
}


def config(architecture: dict[str, Any], layout: FeatureLayout, outputs: int = 2) -> ModelConfig:
    specification = ModelSpecification.model_validate({"architecture": architecture})
    return ModelConfig(specification=specification, layout=layout, outputs=outputs)


CONFIGS = {
    "mlp": config(MLP, FeatureLayout(dense=6)),
    "mlp with embeddings": config(
        MLP, FeatureLayout(dense=2, embeddings=(EmbeddingColumn(name="city", categories=9, dim=4),))
    ),
    "linear model": config({"kind": "mlp"}, FeatureLayout(dense=3), 1),
    "cnn": config(CNN, FeatureLayout(dense=64)),
    "cnn, averaged": config({**CNN, "global_average_pooling": True, "head": None}, FeatureLayout(dense=64)),
    "graph": config(LSTM, FeatureLayout(dense=15)),
    "graph with embeddings": config(
        LSTM, FeatureLayout(dense=10, embeddings=(EmbeddingColumn(name="city", categories=9, dim=5),))
    ),
}


def rows(layout: FeatureLayout, count: int = 3) -> torch.Tensor:
    codes = [torch.randint(0, column.categories, (count, 1)).float() for column in layout.embeddings]
    return torch.cat([torch.rand(count, layout.dense), *codes], dim=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_model_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    model = build_model(CONFIGS[name])
    model.train()(rows(model.config.layout))  # moves the running statistics
    model.save(tmp_path / "version")
    loaded = ManageableModel.load(tmp_path / "version")
    given_rows = rows(model.config.layout)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert torch.equal(loaded.eval()(given_rows), model.eval()(given_rows))
    assert sorted(path.name for path in (tmp_path / "version").iterdir()) == ["config.json", "state.pt"]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_checked_size_is_the_real_one(name: str) -> None:
    model_config = CONFIGS[name]
    model = build_model(model_config)
    size = check_shapes(model_config.specification, model_config.layout, model_config.outputs)
    assert size.parameter_count == model.parameter_count
    assert size.feature_count == model_config.layout.features
    assert size.output_count == model(rows(model_config.layout)).shape[1] == model_config.outputs


@pytest.mark.parametrize("name", CONFIGS)
def test_training_reaches_every_parameter(name: str) -> None:
    model = build_model(CONFIGS[name])
    model(rows(model.config.layout, 8)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=4), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32))
def test_seed_decides_the_weights(hidden: list[int], features: int, outputs: int, seed: int) -> None:
    model_config = config({"kind": "mlp", "hidden_units": hidden}, FeatureLayout(dense=features), outputs)
    states = []
    for _ in range(2):
        torch.manual_seed(seed)
        states.append(build_model(model_config).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_version_is_never_rewritten(tmp_path: Path) -> None:
    first, second = build_model(CONFIGS["mlp"]), build_model(CONFIGS["mlp"])
    first.save(tmp_path / "version")
    with pytest.raises(AlreadyExists):
        second.save(tmp_path / "version")
    loaded = ManageableModel.load(tmp_path / "version")
    assert torch.equal(loaded.state_dict()["layers.0.weight"], first.state_dict()["layers.0.weight"])


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        build_model(CONFIGS["mlp"]).save(tmp_path / "version")
    assert list(tmp_path.iterdir()) == []


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    build_model(CONFIGS["mlp"]).save(tmp_path / "version")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    ManageableModel.load(tmp_path / "version")
    assert torch.equal(torch.rand(1), expected)


class Explosive:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_in_place_of_the_state_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build_model(CONFIGS["mlp"]).save(tmp_path / "version")
    torch.save({"layers.0.weight": Explosive()}, tmp_path / "version" / "state.pt")
    with pytest.raises(InvalidArgument) as caught:
        ManageableModel.load(tmp_path / "version")
    assert caught.value.reason is Reason.WEIGHTS_MISMATCH
    (tmp_path / "version" / "state.pt").write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(InvalidArgument):
        ManageableModel.load(tmp_path / "version")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x02."])
def test_a_state_that_is_cut_short(content: bytes, tmp_path: Path) -> None:
    build_model(CONFIGS["mlp"]).save(tmp_path / "version")
    (tmp_path / "version" / "state.pt").write_bytes(content)
    with pytest.raises(InvalidArgument) as caught:
        ManageableModel.load(tmp_path / "version")
    assert caught.value.reason is Reason.WEIGHTS_MISMATCH


def test_a_configuration_of_something_else(tmp_path: Path) -> None:
    build_model(CONFIGS["mlp"]).save(tmp_path / "version")
    (tmp_path / "version" / "config.json").write_text('{"class": "os.system"}')
    with pytest.raises(InvalidArgument) as caught:
        ManageableModel.load(tmp_path / "version")
    assert caught.value.reason is Reason.INVALID_FIELD


def test_weights_of_a_graph_are_named_after_its_nodes() -> None:
    model = build_model(CONFIGS["graph"])
    assert set(model.weights()) == {
        "forward.weight_ih_l0",
        "forward.weight_hh_l0",
        "forward.bias_ih_l0",
        "forward.bias_hh_l0",
        "bias.value",
        "keys.weight",
        "keys.bias",
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_of_one_model_make_another_its_twin(name: str) -> None:
    original, twin = build_model(CONFIGS[name]), build_model(CONFIGS[name])
    weights = {key: tensor.clone() for key, tensor in original.weights().items()}
    check_weights(original.config.specification, weights, original.config.layout, original.config.outputs)
    load_initial_weights(twin, weights)
    given_rows = rows(original.config.layout)
    assert torch.equal(original.eval()(given_rows), twin.eval()(given_rows))


def test_weights_may_lack_the_embeddings_of_columns() -> None:
    model = build_model(CONFIGS["graph with embeddings"])
    assert model.input is not None
    weights = {key: torch.ones_like(tensor) for key, tensor in build_model(CONFIGS["graph"]).weights().items()}
    load_initial_weights(model, weights)
    assert torch.equal(model.weights()["keys.weight"], torch.ones(2, 4))


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_are_checked_without_a_view_as_far_as_the_specification_decides(name: str) -> None:
    model = build_model(CONFIGS[name])
    weights = dict(model.weights())
    check_weights(model.config.specification, weights)
    last = list(weights)[-1]
    weights["another"] = weights.pop(last)
    with pytest.raises(InvalidArgument, match=f"'{last}' missing.*'another' unexpected"):
        check_weights(model.config.specification, weights)


def test_weights_that_do_not_fit_name_each_tensor_and_change_nothing() -> None:
    model = build_model(CONFIGS["graph"])
    before = {key: tensor.clone() for key, tensor in model.weights().items()}
    weights = {key: torch.ones_like(tensor) for key, tensor in before.items()}
    del weights["bias.value"]
    weights["keys.weight"] = torch.ones(2, 5)
    weights["keys.bias"] = torch.ones(2, dtype=torch.int64)
    weights["stray"] = torch.ones(1)
    with pytest.raises(InvalidArgument) as caught:
        load_initial_weights(model, weights)
    assert caught.value.reason is Reason.WEIGHTS_MISMATCH
    described = {violation.field: violation.description for violation in caught.value.violations}
    assert set(described) == {"bias.value", "keys.weight", "keys.bias", "stray"}
    assert described["keys.weight"] == "has shape 2x5 but the network has 2x4"
    assert "missing" in described["bias.value"]
    assert "unexpected" in described["stray"]
    assert all(name in caught.value.message for name in described)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.weights().items())
    with pytest.raises(InvalidArgument):
        check_weights(model.config.specification, weights)


def test_ids_of_nodes_may_be_names_that_torch_modules_use() -> None:
    ids = ["train", "type", "keys", "parameters", "forward", "compute", "input_shape", "config", "T_destination"]
    nodes = [
        {"id": node_id, "inputs": [source], "operation": {"op": "linear", "in_features": 2, "out_features": 2}}
        for source, node_id in zip(["input", *ids], ids, strict=False)
    ]
    graph = {"kind": "torch_graph", "input_shape": [2], "nodes": nodes, "output": ids[-1]}
    model = build_model(config(graph, FeatureLayout(dense=2)))
    assert model(torch.rand(3, 2)).shape == (3, 2)
    assert {name.split(".")[0] for name in model.weights()} == set(ids)


def test_embedding_of_numbers_that_its_table_lacks() -> None:
    graph = {
        "kind": "torch_graph",
        "input_shape": [2],
        "nodes": [
            {"id": "e", "inputs": ["input"], "operation": {"op": "embedding", "num_embeddings": 3, "embedding_dim": 1}},
            {"id": "out", "inputs": ["e"], "operation": {"op": "flatten"}},
        ],
        "output": "out",
    }
    model = build_model(config(graph, FeatureLayout(dense=2)))
    stray = torch.tensor([[1.0, 3.0], [-2.0, 0.0]])
    with pytest.raises(InvalidArgument, match="from 0 to 2 but was given 3: encode its columns with PASS_THROUGH"):
        model.train()(stray)
    nearest = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert torch.equal(model.eval()(stray), model.eval()(nearest))
