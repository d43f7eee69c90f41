"""What is wrong with a graph is told with the field, both shapes and the remedy, before anything is built."""

from typing import Any

import pytest
import torch

from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.shapes import ModelSize, check_shapes
from ml_server.networks.specification import ModelSpecification
from servicekit.errors import InvalidArgument, Reason

Node = tuple[str, list[str], dict[str, Any]]
GRAPH = "specification.torch_graph"


def graph(input_shape: list[int], *nodes: Node, output: str | None = None) -> ModelSpecification:
    """A specification of (id, inputs, operation) triples; the last one gives the output."""
    return ModelSpecification.model_validate(
        {
            "architecture": {
                "kind": "torch_graph",
                "input_shape": input_shape,
                "nodes": [{"id": node_id, "inputs": inputs, "operation": op} for node_id, inputs, op in nodes],
                "output": output or nodes[-1][0],
            }
        }
    )


def linear(inputs: int, outputs: int) -> dict[str, Any]:
    return {"op": "linear", "in_features": inputs, "out_features": outputs}


def refused(specification: ModelSpecification, reason: Reason, field: str, *texts: str, **arguments: Any) -> None:
    """Asserts that the check refuses with this reason, at this field of the graph, in a message with these texts."""
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(specification, **arguments)
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)
    for text in texts:
        assert text in caught.value.message


def test_size_of_a_graph() -> None:
    specification = graph([4], ("fc1", ["input"], linear(4, 8)), ("fc2", ["fc1"], linear(8, 3)))
    assert check_shapes(specification, FeatureLayout(dense=4), 3) == ModelSize(4 * 8 + 8 + 8 * 3 + 3, 4, 3)
    assert check_shapes(specification) == ModelSize(67, 4, 3)


def test_embeddings_of_columns_count_and_widen_the_input() -> None:
    layout = FeatureLayout(dense=1, embeddings=(EmbeddingColumn(name="city", categories=10, dim=3),))
    specification = graph([4], ("fc", ["input"], linear(4, 2)))
    assert check_shapes(specification, layout, 2) == ModelSize(10 * 3 + 4 * 2 + 2, 4, 2)


def test_linear_of_another_width_says_what_to_set() -> None:
    specification = graph([1, 16, 16], ("flatten", ["input"], {"op": "flatten"}), ("fc1", ["flatten"], linear(128, 10)))
    refused(
        specification,
        Reason.SHAPE_MISMATCH,
        f"{GRAPH}.nodes[1].linear.in_features",
        "node 'fc1' (linear) expects 128 features in its last dimension but 'flatten' gives 256: ",
        "set in_features to 256",
    )


HUGE = 2**63 - 1
CONVOLUTION = {"op": "convolution", "in_channels": 3, "out_channels": 4, "kernel_size": [3, 3]}


@pytest.mark.parametrize(
    ("input_shape", "operation", "field", "text"),
    [
        ([1, 8, 8], CONVOLUTION, "convolution.in_channels", "set in_channels to 1"),
        ([3, 8], CONVOLUTION, "", "(batch, channels, height, width)"),
        ([3, 8, 8], {**CONVOLUTION, "stride": [1]}, "convolution.stride", "give 2 numbers"),
        ([3, 8, 8], {**CONVOLUTION, "groups": 2}, "convolution.groups", "divides"),
        ([5], {"op": "batch_norm", "num_features": 4}, "batch_norm.num_features", "set num_features to 5"),
        ([5, 6], {"op": "layer_norm", "normalized_shape": [5]}, "layer_norm.normalized_shape", "to 6"),
        ([6, 5], {"op": "group_norm", "num_groups": 4, "num_channels": 6}, "group_norm.num_groups", "divides"),
        ([7, 5], {"op": "lstm", "input_size": 4, "hidden_size": 2}, "lstm.input_size", "set input_size to 5"),
        ([7], {"op": "gru", "input_size": 7, "hidden_size": 2}, "", "(batch, steps, features)"),
        (
            [7, 6],
            {"op": "multihead_attention", "embed_dim": 6, "num_heads": 4},
            "multihead_attention.num_heads",
            "divides",
        ),
        (
            [7, 6],
            {"op": "transformer_encoder_layer", "d_model": 8, "num_heads": 4},
            "transformer_encoder_layer.d_model",
            "set d_model to 6",
        ),
        ([4, 2], {"op": "squeeze", "dim": 2}, "squeeze.dim", "expects size 1"),
        ([4], {"op": "reshape", "shape": [3]}, "", "(N, 4)"),
        ([4], {"op": "select", "dim": 1, "index": 4}, "", "(N, 4)"),
        ([4], {"op": "permute", "dims": [0, 2]}, "", "(N, 4)"),
        ([4], {"op": "narrow", "dim": 1, "start": 2, "length": 3}, "", "(N, 4)"),
    ],
)
def test_mismatch_names_the_field(input_shape: list[int], operation: dict[str, Any], field: str, text: str) -> None:
    specification = graph(input_shape, ("x", ["input"], operation))
    path = f"{GRAPH}.nodes[0]" + (f".{field}" if field else "")
    refused(specification, Reason.SHAPE_MISMATCH, path, "node 'x'", text)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "convolution", "in_channels": 1, "out_channels": 1, "kernel_size": [5, 5]},
        {"op": "pooling", "kind": "max", "kernel_size": [5, 5]},
    ],
)
def test_window_larger_than_the_map(operation: dict[str, Any]) -> None:
    field = f"{GRAPH}.nodes[0].{operation['op']}.kernel_size"
    specification = graph([1, 4, 4], ("x", ["input"], operation))
    refused(specification, Reason.FEATURE_MAP_VANISHED, field, "(N, 1, 4, 4)", "kernel_size smaller")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "reduce", "kind": "mean", "dims": [0]},
        {"op": "permute", "dims": [1, 0]},
        {"op": "select", "dim": 0, "index": 0},
        {"op": "narrow", "dim": 0, "start": 0, "length": 2},
        {"op": "softmax", "dim": 0},
        {"op": "flatten", "start_dim": -2},
    ],
)
def test_rows_of_a_batch_never_mix(operation: dict[str, Any]) -> None:
    nodes: list[Node] = [("x", ["input"], operation)]
    if operation["op"] == "permute":  # which only moves the batch; attention over it would mix
        nodes = [
            ("three", ["input"], {"op": "unsqueeze", "dim": 1}),
            ("moved", ["three"], {"op": "permute", "dims": [1, 0, 2]}),
            ("x", ["moved"], {"op": "multihead_attention", "embed_dim": 2, "num_heads": 1}),
        ]
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(graph([2], *nodes))
    assert caught.value.reason is Reason.SHAPE_MISMATCH
    assert "batch" in caught.value.message


def test_matrix_product_over_the_batch_is_refused() -> None:
    specification = graph(
        [2],
        ("t", ["input"], {"op": "permute", "dims": [1, 0]}),
        ("x", ["t", "input"], {"op": "mat_mul"}),
    )
    refused(specification, Reason.SHAPE_MISMATCH, f"{GRAPH}.nodes[1]", "mix the rows")


@pytest.mark.parametrize(
    ("nodes", "field", "text"),
    [
        ([("a", ["b"], linear(4, 4))], "nodes[0].inputs[0]", "no node has the id 'b'"),
        ([("a", ["b"], linear(4, 4)), ("b", ["input"], linear(4, 4))], "nodes[0].inputs[0]", "move nodes[1] before"),
        (
            [("a", ["b"], linear(4, 4)), ("b", ["a"], linear(4, 4))],
            "nodes[0].inputs[0]",
            "closes a cycle",
        ),
        ([("a", ["a"], linear(4, 4))], "nodes[0].inputs[0]", "a -> a"),
        ([("a", ["input"], linear(4, 4)), ("a", ["input"], linear(4, 4))], "nodes[1].id", "taken by nodes[0]"),
        ([("input", ["input"], linear(4, 4))], "nodes[0].id", "choose another id"),
        (
            [("a", ["input"], linear(4, 4)), ("b", ["a:hidden"], linear(4, 4))],
            "nodes[1].inputs[0]",
            "node 'a' (linear) gives 'a' alone",
        ),
        ([("a", ["input:cell"], linear(4, 4))], "nodes[0].inputs[0]", "no further results"),
        ([("a", ["input", "input"], linear(4, 4))], "nodes[0].inputs", "takes 1 inputs but has 2"),
        ([("a", ["input"], {"op": "add"})], "nodes[0].inputs", "takes 2 to 64 inputs but has 1"),
        (
            [("a", ["input"] * 2, {"op": "multihead_attention", "embed_dim": 4, "num_heads": 1})],
            "nodes[0].inputs",
            "1 (query, key and value alike) or 3",
        ),
    ],
)
def test_graph_that_is_none(nodes: list[Node], field: str, text: str) -> None:
    refused(graph([4], *nodes), Reason.GRAPH_INVALID, f"{GRAPH}.{field}", text)


def test_output_that_is_no_node() -> None:
    specification = graph([4], ("a", ["input"], linear(4, 4)), output="b")
    refused(specification, Reason.GRAPH_INVALID, f"{GRAPH}.output", "'b' is no node's id")


def test_unused_nodes_are_allowed() -> None:
    specification = graph([4], ("a", ["input"], linear(4, 4)), ("b", ["input"], linear(4, 9)), output="a")
    assert check_shapes(specification).output_count == 4


def test_output_of_another_width_says_both_numbers() -> None:
    specification = graph([4], ("a", ["input"], linear(4, 4)))
    refused(specification, Reason.SHAPE_MISMATCH, f"{GRAPH}.output", "gives 4", "need 3", outputs=3)


def test_output_that_is_no_row_of_numbers() -> None:
    specification = graph([5, 4], ("a", ["input"], linear(4, 4)))
    refused(specification, Reason.SHAPE_MISMATCH, f"{GRAPH}.output", "(N, 5, 4)", "(N, 3)", outputs=3)


def test_input_shape_of_another_size_than_the_features() -> None:
    specification = graph([5, 4], ("a", ["input"], linear(4, 4)))
    layout = FeatureLayout(dense=30)
    refused(specification, Reason.SHAPE_MISMATCH, f"{GRAPH}.input_shape", "5x4", "20", "30", layout=layout)


def test_limit_on_parameters_holds_before_anything_is_allocated() -> None:
    specification = graph([1000000], ("a", ["input"], linear(1000000, 1000000)))  # 4 TB
    refused(
        specification, Reason.MODEL_TOO_LARGE, f"{GRAPH}.nodes[0]", "1,000,001,000,000", "5,000", max_parameters=5000
    )


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "convolution", "in_channels": 10**5, "out_channels": 10**5, "kernel_size": [10**9], "padding": [10**9]},
        {"op": "parameter", "shape": [10**9] * 6},
        {
            "op": "convolution",
            "in_channels": 10**5,
            "out_channels": 1,
            "kernel_size": [HUGE],
            "padding": [HUGE],
        },
    ],
)
def test_sizes_beyond_any_memory(operation: dict[str, Any]) -> None:
    inputs = [] if operation["op"] == "parameter" else ["input"]
    specification = graph([10**5, 1], ("x", inputs, operation))
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(specification, max_parameters=10**9)
    assert caught.value.reason is Reason.MODEL_TOO_LARGE


def test_endless_steps_of_a_recurrent_layer_are_checked_at_once() -> None:
    specification = graph(
        [10**9, 1],
        ("lstm", ["input"], {"op": "lstm", "input_size": 1, "hidden_size": 2, "num_layers": 2, "bidirectional": True}),
        ("x", ["lstm:hidden"], {"op": "select", "dim": 0, "index": -1}),
    )
    assert check_shapes(specification).output_count == 2


ALL_OPERATIONS: dict[str, tuple[list[int], list[Node], tuple[int, ...]]] = {
    "linear": ([4], [("x", ["input"], linear(4, 3))], (3,)),
    "convolution 1d": (
        [4, 9],
        [("x", ["input"], {"op": "convolution", "in_channels": 4, "out_channels": 6, "kernel_size": [3], "groups": 2})],
        (6, 7),
    ),
    "convolution 2d": (
        [3, 9, 9],
        [("x", ["input"], {**CONVOLUTION, "stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]})],
        (4, 5, 5),
    ),
    "window that just fits": (
        [1, 1],
        [
            (
                "x",
                ["input"],
                {"op": "convolution", "in_channels": 1, "out_channels": 1, "kernel_size": [3], "padding": [1]},
            )
        ],
        (1, 1),
    ),
    "max pooling 1d": ([4, 9], [("x", ["input"], {"op": "pooling", "kind": "max", "kernel_size": [3]})], (4, 3)),
    "average pooling 2d": (
        [4, 9, 9],
        [("x", ["input"], {"op": "pooling", "kind": "average", "kernel_size": [3, 3], "stride": [1, 2]})],
        (4, 7, 4),
    ),
    "adaptive pooling": (
        [4, 9, 9],
        [("x", ["input"], {"op": "adaptive_pooling", "kind": "average", "output_size": [1, 2]})],
        (4, 1, 2),
    ),
    "batch norm": ([4], [("x", ["input"], {"op": "batch_norm", "num_features": 4})], (4,)),
    "layer norm": ([4, 5], [("x", ["input"], {"op": "layer_norm", "normalized_shape": [5]})], (4, 5)),
    "group norm": ([4, 5], [("x", ["input"], {"op": "group_norm", "num_groups": 2, "num_channels": 4})], (4, 5)),
    "activation": ([4], [("x", ["input"], {"op": "activation", "kind": "gelu"})], (4,)),
    "dropout": ([4], [("x", ["input"], {"op": "dropout", "probability": 0.5})], (4,)),
    "embedding": ([4], [("x", ["input"], {"op": "embedding", "num_embeddings": 9, "embedding_dim": 2})], (4, 2)),
    "lstm": ([4, 3], [("x", ["input"], {"op": "lstm", "input_size": 3, "hidden_size": 5})], (4, 5)),
    "lstm cell": (
        [4, 3],
        [
            ("l", ["input"], {"op": "lstm", "input_size": 3, "hidden_size": 5, "bidirectional": True}),
            ("x", ["l:cell"], {"op": "select", "dim": 0, "index": 1}),
        ],
        (5,),
    ),
    "gru": (
        [4, 3],
        [
            ("g", ["input"], {"op": "gru", "input_size": 3, "hidden_size": 5, "num_layers": 2, "dropout": 0.1}),
            ("x", ["g:hidden"], {"op": "permute", "dims": [1, 0, 2]}),
        ],
        (2, 5),
    ),
    "attention": (
        [4, 6],
        [("x", ["input"], {"op": "multihead_attention", "embed_dim": 6, "num_heads": 2})],
        (4, 6),
    ),
    "attention weights": (
        [4, 6],
        [
            ("q", ["input"], {"op": "narrow", "dim": 1, "start": 0, "length": 2}),
            ("a", ["q", "input", "input"], {"op": "multihead_attention", "embed_dim": 6, "num_heads": 2}),
            ("x", ["a:weights"], {"op": "flatten"}),
        ],
        (8,),
    ),
    "transformer": (
        [4, 6],
        [("x", ["input"], {"op": "transformer_encoder_layer", "d_model": 6, "num_heads": 2, "dim_feedforward": 8})],
        (4, 6),
    ),
    "flatten": ([4, 3, 2], [("x", ["input"], {"op": "flatten", "start_dim": 2})], (4, 6)),
    "reshape": ([4, 3], [("x", ["input"], {"op": "reshape", "shape": [2, -1]})], (2, 6)),
    "permute": ([4, 3], [("x", ["input"], {"op": "permute", "dims": [0, 2, 1]})], (3, 4)),
    "select": ([4, 3], [("x", ["input"], {"op": "select", "dim": 1, "index": -1})], (3,)),
    "narrow": ([4, 3], [("x", ["input"], {"op": "narrow", "dim": 1, "start": -3, "length": 2})], (2, 3)),
    "unsqueeze": ([4], [("x", ["input"], {"op": "unsqueeze", "dim": -1})], (4, 1)),
    "squeeze": ([4, 1], [("x", ["input"], {"op": "squeeze", "dim": -1})], (4,)),
    "reduce": (
        [4, 3, 2],
        [("x", ["input"], {"op": "reduce", "kind": "max", "dims": [1, -1], "keep_dims": True})],
        (1, 3, 1),
    ),
    "softmax": ([4], [("x", ["input"], {"op": "softmax", "dim": -1})], (4,)),
    "add": ([4], [("x", ["input"] * 3, {"op": "add"})], (4,)),
    "subtract": ([4], [("x", ["input", "input"], {"op": "subtract"})], (4,)),
    "multiply": ([4], [("x", ["input", "input"], {"op": "multiply"})], (4,)),
    "matrix product": (
        [4, 3],
        [("p", [], {"op": "parameter", "shape": [3, 5]}), ("x", ["input", "p"], {"op": "mat_mul"})],
        (4, 5),
    ),
    "concat": ([4, 3], [("x", ["input", "input"], {"op": "concat", "dim": 1})], (8, 3)),
    "concat of a parameter": (
        [4, 3],
        [("p", [], {"op": "parameter", "shape": [1, 1, 3]}), ("x", ["p", "input"], {"op": "concat", "dim": -2})],
        (5, 3),
    ),
    "affine": ([4], [("x", ["input"], {"op": "affine", "scale": 2, "shift": 1})], (4,)),
    "parameter": (
        [4],
        [
            ("p", [], {"op": "parameter", "shape": [4], "initial_standard_deviation": 1.0}),
            ("x", ["input", "p"], {"op": "add"}),
        ],
        (4,),
    ),
}


def test_every_operation_is_tried() -> None:
    tried = {node[2]["op"] for _, nodes, _ in ALL_OPERATIONS.values() for node in nodes}
    from ml_server.networks.graph_specification import OperationValue

    assert tried == {value.model_fields["op"].default for value in OperationValue.__subclasses__()}


@pytest.mark.parametrize("name", ALL_OPERATIONS)
def test_what_the_check_accepts_runs_and_has_that_shape(name: str) -> None:
    """The law of the check: shapes computed without memory are those of the real network, whatever the batch."""
    input_shape, nodes, expected = ALL_OPERATIONS[name]
    width = int(torch.tensor(expected).prod())
    specification = graph(input_shape, *nodes, ("out", ["x"], {"op": "reshape", "shape": [width]}))
    features = int(torch.tensor(input_shape).prod())
    size = check_shapes(specification, FeatureLayout(dense=features), width)
    config = ModelConfig(specification=specification, layout=FeatureLayout(dense=features), outputs=width)
    model = build_model(config)
    assert size == ModelSize(model.parameter_count, features, width)
    for batch in (1, 2, 5):
        assert model.eval()(torch.rand(batch, features)).shape == (batch, width)
    assert model.train()(torch.rand(3, features)).shape == (3, width)
    whole, batch_of_one = torch.rand(3, features), model.eval()
    torch.testing.assert_close(batch_of_one(whole)[1:2], batch_of_one(whole[1:2]), rtol=1e-4, atol=1e-5)


def test_the_checked_shape_is_exact() -> None:
    for name, (input_shape, nodes, expected) in ALL_OPERATIONS.items():
        width = int(torch.tensor(expected).prod())
        specification = graph(input_shape, *nodes, ("out", ["x"], {"op": "reshape", "shape": [width + 1]}))
        with pytest.raises(InvalidArgument) as caught:
            check_shapes(specification)
        assert f"'x' ({', '.join(['N', *map(str, expected)])})" in caught.value.message, name
