"""The torch module that computes a node's operation. Its state is named as torch names it.

A layer takes its node's inputs in order and returns a tensor, or, if its operation has further results, a tuple of the
first result and those.
"""

from torch import Tensor, nn

from ml_server.networks import graph_functions as functions
from ml_server.networks import graph_specification as operations
from ml_server.networks.graph_specification import OperationValue
from ml_server.networks.kinds import PoolingKind

Results = tuple[Tensor | None, ...]


class LstmLayer(nn.LSTM):
    """(N, steps, features) to outputs, last hidden and last cell states."""

    def forward(self, steps: Tensor) -> Results:  # type: ignore[override]  # a node starts from zero states
        outputs, (hidden, cell) = super().forward(steps)
        return outputs, hidden, cell


class GruLayer(nn.GRU):
    """(N, steps, features) to outputs and last hidden states."""

    def forward(self, steps: Tensor) -> Results:  # type: ignore[override]  # a node starts from zero states
        outputs, hidden = super().forward(steps)
        return outputs, hidden


class AttentionLayer(nn.MultiheadAttention):
    """Query, key and value (N, steps, features), or one for all three, to attended values and weights."""

    gives_weights = False
    """True to compute the weights: torch's faster attention does without."""

    def forward(  # type: ignore[override]  # a node has no masks
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None
    ) -> Results:
        key = query if key is None else key
        value = query if value is None else value
        attended, weights = super().forward(query, key, value, need_weights=self.gives_weights)
        return attended, weights


def layer_of(operation: OperationValue) -> nn.Module:
    """A module for the operation, with fresh weights. Raises what torch raises for sizes that do not fit together."""
    match operation:
        case operations.Linear():
            return nn.Linear(operation.in_features, operation.out_features, bias=not operation.without_bias)
        case operations.Convolution():
            return _convolution(operation)
        case operations.Pooling():
            return _pooling(operation)
        case operations.AdaptivePooling():
            return _adaptive_pooling(operation)
        case operations.Embedding():
            return functions.WholeNumberEmbedding(operation.num_embeddings, operation.embedding_dim)
        case operations.Lstm() | operations.Gru():
            return _recurrent(operation)
        case operations.MultiheadAttention():
            return AttentionLayer(
                operation.embed_dim,
                operation.num_heads,
                dropout=operation.dropout,
                bias=not operation.without_bias,
                batch_first=True,
            )
        case operations.TransformerEncoderLayer():
            return nn.TransformerEncoderLayer(
                operation.d_model,
                operation.num_heads,
                operation.dim_feedforward,
                operation.dropout,
                activation=operation.activation.value,
                batch_first=True,
                norm_first=operation.norm_first,
            )
        case operations.Activation():
            return operation.kind.layer()
        case operations.Dropout():
            return nn.Dropout(operation.probability)
        case operations.Parameter():
            return functions.LearnedTensor(operation.shape, operation.initial_standard_deviation, operation.frozen)
        case operations.BatchNorm() | operations.LayerNorm() | operations.GroupNorm():
            return _normalization(operation)
        case _:
            return _function(operation)


def _convolution(operation: operations.Convolution) -> nn.Module:
    rank = len(operation.kernel_size)
    convolution: type[nn.Conv1d | nn.Conv2d] = nn.Conv1d if rank == 1 else nn.Conv2d
    return convolution(
        operation.in_channels,
        operation.out_channels,
        operation.kernel_size,  # type: ignore[arg-type]  # as long as the window has dimensions
        stride=operation.stride or 1,  # type: ignore[arg-type]
        padding=operation.padding or 0,  # type: ignore[arg-type]
        dilation=operation.dilation or 1,  # type: ignore[arg-type]
        groups=operation.groups,
        bias=not operation.without_bias,
    )


def _pooling(operation: operations.Pooling) -> nn.Module:
    classes: dict[tuple[PoolingKind, int], type[nn.Module]] = {
        (PoolingKind.MAX, 1): nn.MaxPool1d,
        (PoolingKind.MAX, 2): nn.MaxPool2d,
        (PoolingKind.AVERAGE, 1): nn.AvgPool1d,
        (PoolingKind.AVERAGE, 2): nn.AvgPool2d,
    }
    pooling = classes[operation.kind, len(operation.kernel_size)]
    return pooling(operation.kernel_size, operation.stride or None, operation.padding or 0)


def _adaptive_pooling(operation: operations.AdaptivePooling) -> nn.Module:
    classes: dict[tuple[PoolingKind, int], type[nn.Module]] = {
        (PoolingKind.MAX, 1): nn.AdaptiveMaxPool1d,
        (PoolingKind.MAX, 2): nn.AdaptiveMaxPool2d,
        (PoolingKind.AVERAGE, 1): nn.AdaptiveAvgPool1d,
        (PoolingKind.AVERAGE, 2): nn.AdaptiveAvgPool2d,
    }
    return classes[operation.kind, len(operation.output_size)](operation.output_size)


def _recurrent(operation: operations.Lstm | operations.Gru) -> nn.Module:
    recurrent: type[LstmLayer | GruLayer] = LstmLayer if isinstance(operation, operations.Lstm) else GruLayer
    return recurrent(
        operation.input_size,
        operation.hidden_size,
        operation.num_layers,
        batch_first=True,
        dropout=operation.dropout if operation.num_layers > 1 else 0.0,  # it acts between layers only
        bidirectional=operation.bidirectional,
    )


class BatchNormOfAnyRank(nn.modules.batchnorm._BatchNorm):
    """BatchNorm1d and BatchNorm2d differ in the rank that they check; a graph's shapes are checked before."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # torch's name
        """Nothing is left to check."""


def _normalization(operation: operations.BatchNorm | operations.LayerNorm | operations.GroupNorm) -> nn.Module:
    affine = not operation.without_affine
    match operation:
        case operations.BatchNorm():
            return BatchNormOfAnyRank(operation.num_features, operation.eps, operation.momentum, affine)
        case operations.LayerNorm():
            return nn.LayerNorm(operation.normalized_shape, operation.eps, affine)
        case operations.GroupNorm():
            return nn.GroupNorm(operation.num_groups, operation.num_channels, operation.eps, affine)


def _function(operation: OperationValue) -> nn.Module:
    match operation:
        case operations.Flatten():
            return nn.Flatten(operation.start_dim, operation.end_dim)
        case operations.Reshape():
            return functions.Reshape(operation.shape)
        case operations.Permute():
            return functions.Permute(operation.dims)
        case operations.Select():
            return functions.Select(operation.dim, operation.index)
        case operations.Narrow():
            return functions.Narrow(operation.dim, operation.start, operation.length)
        case operations.Unsqueeze():
            return functions.Unsqueeze(operation.dim)
        case operations.Squeeze():
            return functions.Squeeze(operation.dim)
        case operations.Reduce():
            return functions.Reduce(operation.kind, operation.dims, operation.keep_dims)
        case operations.Softmax():
            return nn.Softmax(operation.dim)
        case operations.Add():
            return functions.Add()
        case operations.Subtract():
            return functions.Subtract()
        case operations.Multiply():
            return functions.Multiply()
        case operations.MatMul():
            return functions.MatMul()
        case operations.Concat():
            return functions.Concat(operation.dim)
        case operations.Affine():
            return functions.Affine(operation.scale, operation.shift)
        case _:
            raise TypeError(f"operation '{operation!r}' has no layer")
