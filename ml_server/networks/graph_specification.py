"""The operations of a graph, as values. Names and meaning are those of the contract; defaults are filled in."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le, MaxLen, MinLen, Predicate
from pydantic import Field, StringConstraints

from ml_server.networks.kinds import ActivationKind, PoolingKind, ReduceKind
from ml_server.networks.values import AtLeastOne, Fraction, NotNegative, PositiveOrZero, Probability, Value

INPUT = "input"
"""The id under which nodes refer to the network's own input."""

MANY = 64
"""As many inputs as a node may have."""

WindowSizes = Annotated[tuple[AtLeastOne, ...], MinLen(1), MaxLen(2)]
Steps = Annotated[tuple[AtLeastOne, ...], MaxLen(2)]
NotZero = Annotated[int, Predicate(bool)]
"""The contract's 0 stands for a default."""

Borders = Annotated[tuple[NotNegative, ...], MaxLen(2)]


class OperationValue(Value):
    """What a node computes."""

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """The fewest and the most inputs."""
    further_results: ClassVar[tuple[str, ...]] = ()
    """Names of the results after the first one, as in `{id}:{name}`."""


class Linear(OperationValue):
    """torch.nn.Linear."""

    op: Literal["linear"] = "linear"
    in_features: AtLeastOne
    out_features: AtLeastOne
    without_bias: bool = False


class Convolution(OperationValue):
    """torch.nn.Conv1d or Conv2d, by the number of kernel sizes. Empty tuples stand for PyTorch's defaults."""

    op: Literal["convolution"] = "convolution"
    in_channels: AtLeastOne
    out_channels: AtLeastOne
    kernel_size: WindowSizes
    stride: Steps = ()
    padding: Borders = ()
    dilation: Steps = ()
    groups: AtLeastOne = 1
    without_bias: bool = False


class Pooling(OperationValue):
    """torch.nn.MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d. An empty stride is the kernel size."""

    op: Literal["pooling"] = "pooling"
    kind: PoolingKind
    kernel_size: WindowSizes
    stride: Steps = ()
    padding: Borders = ()


class AdaptivePooling(OperationValue):
    """torch.nn.AdaptiveMaxPool1d and its kin."""

    op: Literal["adaptive_pooling"] = "adaptive_pooling"
    kind: PoolingKind
    output_size: WindowSizes


class BatchNorm(OperationValue):
    """torch.nn.BatchNorm1d or BatchNorm2d, by the rank of its input."""

    op: Literal["batch_norm"] = "batch_norm"
    num_features: AtLeastOne
    eps: PositiveOrZero = 1e-5
    momentum: Fraction = 0.1
    without_affine: bool = False


class LayerNorm(OperationValue):
    """torch.nn.LayerNorm."""

    op: Literal["layer_norm"] = "layer_norm"
    normalized_shape: Annotated[tuple[AtLeastOne, ...], MinLen(1), MaxLen(4)]
    eps: PositiveOrZero = 1e-5
    without_affine: bool = False


class GroupNorm(OperationValue):
    """torch.nn.GroupNorm."""

    op: Literal["group_norm"] = "group_norm"
    num_groups: AtLeastOne
    num_channels: AtLeastOne
    eps: PositiveOrZero = 1e-5
    without_affine: bool = False


class Activation(OperationValue):
    """An elementwise nonlinearity."""

    op: Literal["activation"] = "activation"
    kind: ActivationKind = ActivationKind.RELU


class Dropout(OperationValue):
    """torch.nn.Dropout."""

    op: Literal["dropout"] = "dropout"
    probability: Probability = 0.0


class Embedding(OperationValue):
    """torch.nn.Embedding."""

    op: Literal["embedding"] = "embedding"
    num_embeddings: AtLeastOne
    embedding_dim: AtLeastOne


class Lstm(OperationValue):
    """torch.nn.LSTM with batch_first."""

    further_results: ClassVar[tuple[str, ...]] = ("hidden", "cell")
    op: Literal["lstm"] = "lstm"
    input_size: AtLeastOne
    hidden_size: AtLeastOne
    num_layers: Annotated[int, Ge(1), Le(64)] = 1
    bidirectional: bool = False
    dropout: Probability = 0.0


class Gru(OperationValue):
    """torch.nn.GRU with batch_first."""

    further_results: ClassVar[tuple[str, ...]] = ("hidden",)
    op: Literal["gru"] = "gru"
    input_size: AtLeastOne
    hidden_size: AtLeastOne
    num_layers: Annotated[int, Ge(1), Le(64)] = 1
    bidirectional: bool = False
    dropout: Probability = 0.0


class MultiheadAttention(OperationValue):
    """torch.nn.MultiheadAttention with batch_first; inputs are query, key and value, or one for all three."""

    arity: ClassVar[tuple[int, int]] = (1, 3)
    further_results: ClassVar[tuple[str, ...]] = ("weights",)
    op: Literal["multihead_attention"] = "multihead_attention"
    embed_dim: AtLeastOne
    num_heads: AtLeastOne
    dropout: Probability = 0.0
    without_bias: bool = False


class TransformerEncoderLayer(OperationValue):
    """torch.nn.TransformerEncoderLayer with batch_first."""

    op: Literal["transformer_encoder_layer"] = "transformer_encoder_layer"
    d_model: AtLeastOne
    num_heads: AtLeastOne
    dim_feedforward: AtLeastOne = 2048
    dropout: Probability = 0.0
    activation: Literal[ActivationKind.RELU, ActivationKind.GELU] = ActivationKind.RELU
    norm_first: bool = False


class Flatten(OperationValue):
    """torch.flatten."""

    op: Literal["flatten"] = "flatten"
    start_dim: NotZero = 1
    end_dim: NotZero = -1


class Reshape(OperationValue):
    """torch.reshape of everything after the first dimension."""

    op: Literal["reshape"] = "reshape"
    shape: Annotated[tuple[Annotated[int, Ge(-1)], ...], MinLen(1), MaxLen(6)]


class Permute(OperationValue):
    """torch.permute."""

    op: Literal["permute"] = "permute"
    dims: Annotated[tuple[int, ...], MinLen(1), MaxLen(7)]


class Select(OperationValue):
    """torch.select."""

    op: Literal["select"] = "select"
    dim: int = 0
    index: int = 0


class Narrow(OperationValue):
    """torch.narrow."""

    op: Literal["narrow"] = "narrow"
    dim: int = 0
    start: int = 0
    length: AtLeastOne


class Unsqueeze(OperationValue):
    """torch.unsqueeze."""

    op: Literal["unsqueeze"] = "unsqueeze"
    dim: int = 0


class Squeeze(OperationValue):
    """torch.squeeze."""

    op: Literal["squeeze"] = "squeeze"
    dim: int = 0


class Reduce(OperationValue):
    """torch.mean, torch.sum, torch.amax."""

    op: Literal["reduce"] = "reduce"
    kind: ReduceKind
    dims: Annotated[tuple[int, ...], MinLen(1), MaxLen(6)]
    keep_dims: bool = False


class Softmax(OperationValue):
    """torch.softmax."""

    op: Literal["softmax"] = "softmax"
    dim: int = 0


class Add(OperationValue):
    """The sum of its inputs."""

    arity: ClassVar[tuple[int, int]] = (2, MANY)
    op: Literal["add"] = "add"


class Subtract(OperationValue):
    """The first input less the second."""

    arity: ClassVar[tuple[int, int]] = (2, 2)
    op: Literal["subtract"] = "subtract"


class Multiply(OperationValue):
    """The product of its inputs."""

    arity: ClassVar[tuple[int, int]] = (2, MANY)
    op: Literal["multiply"] = "multiply"


class MatMul(OperationValue):
    """torch.matmul."""

    arity: ClassVar[tuple[int, int]] = (2, 2)
    op: Literal["mat_mul"] = "mat_mul"


class Concat(OperationValue):
    """torch.cat, with broadcasting of the other dimensions, so that a parameter joins each row."""

    arity: ClassVar[tuple[int, int]] = (1, MANY)
    op: Literal["concat"] = "concat"
    dim: int = 0


class Affine(OperationValue):
    """Each element times `scale` plus `shift`."""

    op: Literal["affine"] = "affine"
    scale: float = 0.0
    shift: float = 0.0


class Parameter(OperationValue):
    """A learned tensor that depends on no input."""

    arity: ClassVar[tuple[int, int]] = (0, 0)
    op: Literal["parameter"] = "parameter"
    shape: Annotated[tuple[AtLeastOne, ...], MinLen(1), MaxLen(6)]
    initial_standard_deviation: PositiveOrZero = 0.0
    frozen: bool = False


Operation = Annotated[
    Linear
    | Convolution
    | Pooling
    | AdaptivePooling
    | BatchNorm
    | LayerNorm
    | GroupNorm
    | Activation
    | Dropout
    | Embedding
    | Lstm
    | Gru
    | MultiheadAttention
    | TransformerEncoderLayer
    | Flatten
    | Reshape
    | Permute
    | Select
    | Narrow
    | Unsqueeze
    | Squeeze
    | Reduce
    | Softmax
    | Add
    | Subtract
    | Multiply
    | MatMul
    | Concat
    | Affine
    | Parameter,
    Field(discriminator="op"),
]


class GraphNode(Value):
    """One operation of a graph: its id, where its arguments come from, and what it computes."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    inputs: tuple[str, ...] = ()
    operation: Operation


class TorchGraphSpecification(Value):
    """A network as a graph of PyTorch operations."""

    kind: Literal["torch_graph"] = "torch_graph"
    input_shape: Annotated[tuple[AtLeastOne, ...], MinLen(1), MaxLen(6)]
    nodes: Annotated[tuple[GraphNode, ...], MinLen(1), MaxLen(2000)]
    output: str
