"""Computes every shape of a graph on PyTorch's meta device, where tensors have shapes and no memory.

Each node runs with two different batch sizes. What differs between the two results is the batch dimension, so a node
that would mix rows of a batch, or lose the batch dimension, is found too: a row's result must not depend on the rows
that happen to be in its batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml_server.networks import graph_specification as operations
from ml_server.networks.graph_expectations import Shape, unmet_expectation
from ml_server.networks.graph_layers import layer_of
from ml_server.networks.graph_specification import INPUT, GraphNode, TorchGraphSpecification
from ml_server.networks.graph_structure import FIELD, check_structure
from ml_server.networks.parameter_budget import ParameterBudget, is_overflow
from servicekit.errors import InvalidArgument, Reason

BATCH_SIZES = (2, 3)

_OVER_ROWS = (
    operations.Convolution,
    operations.Pooling,
    operations.AdaptivePooling,
    operations.BatchNorm,
    operations.GroupNorm,
    operations.Lstm,
    operations.Gru,
    operations.MultiheadAttention,
    operations.TransformerEncoderLayer,
)
"""Operations that take dimension 0 for the batch."""

_KEEPS_SHAPE = (
    operations.BatchNorm,
    operations.LayerNorm,
    operations.GroupNorm,
    operations.Activation,
    operations.Dropout,
    operations.TransformerEncoderLayer,
    operations.Affine,
)
"""Operations whose result is shaped like their input once it is as they expect. Frequent ones go by rule, since a run
on the meta device takes milliseconds for each."""


@dataclass(frozen=True)
class Result:
    """A result of a node, once for each of BATCH_SIZES, on the meta device."""

    tensors: tuple[Tensor, Tensor]

    @property
    def shape(self) -> Shape:
        """For a batch of BATCH_SIZES[0]."""
        return tuple(self.tensors[0].shape)

    @property
    def batch_dims(self) -> list[int]:
        """The dimensions that grow with the batch."""
        first, second = (tensor.shape for tensor in self.tensors)
        return [dim for dim in range(len(first)) if first[dim] != second[dim]]

    @property
    def is_by_row(self) -> bool:
        """True if exactly one dimension is the batch."""
        dims = self.batch_dims
        return len(dims) == 1 and tuple(tensor.shape[dims[0]] for tensor in self.tensors) == BATCH_SIZES


def check_graph_shapes(
    graph: TorchGraphSpecification, features: int, outputs: int | None, budget: ParameterBudget
) -> int:
    """Runs the graph on `features` features and returns the width of its output.

    Raises:
        InvalidArgument: GRAPH_INVALID, SHAPE_MISMATCH, FEATURE_MAP_VANISHED or MODEL_TOO_LARGE, with the field.
    """
    check_structure(graph)
    size = 1
    for dimension in graph.input_shape:
        size *= dimension
    if size != features:
        shape = "x".join(map(str, graph.input_shape))
        raise InvalidArgument(
            Reason.SHAPE_MISMATCH,
            f"input_shape {shape} takes {size} features but the input columns give {features}: "
            f"set input_shape so that its product is {features}, or change the view's inputs or their encodings",
            field=f"{FIELD}.input_shape",
        )
    results = {INPUT: _result_of_input(graph)}
    for index, node in enumerate(graph.nodes):
        results.update(_NodeCheck(node, index, [results[reference] for reference in node.inputs]).run(budget))
    return _check_output(graph, results[graph.output], outputs)


def _result_of_input(graph: TorchGraphSpecification) -> Result:
    try:
        first, second = (torch.empty(batch, *graph.input_shape, device="meta") for batch in BATCH_SIZES)
    except RuntimeError as error:
        message = f"input_shape has more numbers than a tensor can have: {_first_line(error)}"
        raise InvalidArgument(Reason.MODEL_TOO_LARGE, message, field=f"{FIELD}.input_shape") from error
    return Result((first, second))


def _check_output(graph: TorchGraphSpecification, result: Result, outputs: int | None) -> int:
    shape = result.shape
    wanted = "(N, outputs)" if outputs is None else f"(N, {outputs})"
    if len(shape) != 2 or result.batch_dims != [0]:
        raise InvalidArgument(
            Reason.SHAPE_MISMATCH,
            f"output '{graph.output}' has shape {_shown(result)} but must be {wanted}: one row of numbers for each row "
            "of input; flatten, reduce or select before it",
            field=f"{FIELD}.output",
        )
    if outputs is not None and shape[1] != outputs:
        raise InvalidArgument(
            Reason.SHAPE_MISMATCH,
            f"output '{graph.output}' gives {shape[1]} numbers for a row but the targets need {outputs}: "
            f"make its last layer {outputs} wide",
            field=f"{FIELD}.output",
        )
    return shape[1]


@dataclass(frozen=True)
class _NodeCheck:
    node: GraphNode
    index: int
    inputs: list[Result]

    def run(self, budget: ParameterBudget) -> dict[str, Result]:
        """The node's results by reference."""
        self._check_inputs()
        layer = self._built(budget)
        first, second = (self._ran(layer, [result.tensors[index] for result in self.inputs]) for index in (0, 1))
        names = (self.node.id, *(f"{self.node.id}:{name}" for name in self.node.operation.further_results))
        results = {name: Result(pair) for name, *pair in zip(names, first, second, strict=True)}  # type: ignore[arg-type]
        for result in results.values():
            self._check_rows(result)
        return results

    def _check_inputs(self) -> None:
        operation = self.node.operation
        for result, reference in zip(self.inputs, self.node.inputs, strict=True):
            unmet = unmet_expectation(operation, result.shape)
            if unmet is not None:
                given = result.shape[-1] if unmet.field in _LAST_DIMENSION and result.shape else _shown(result)
                raise self._error(
                    f"{unmet.expects} but '{reference}' gives {given}: {unmet.remedy}"
                    + ("" if given == _shown(result) else f" (shape {_shown(result)})"),
                    unmet.field,
                    Reason.FEATURE_MAP_VANISHED if unmet.vanishes else Reason.SHAPE_MISMATCH,
                )
            if isinstance(operation, _OVER_ROWS) and result.batch_dims not in ([], [0]):
                raise self._error(
                    f"expects the batch in dimension 0 but '{reference}' has it in dimension {result.batch_dims[0]}, "
                    f"with shape {_shown(result)}: permute it first"
                )
            if isinstance(operation, operations.Softmax) and operation.dim % len(result.shape) in result.batch_dims:
                raise self._error(f"would mix the rows of a batch: '{reference}' has its batch there", "dim")

    def _built(self, budget: ParameterBudget) -> nn.Module:
        try:
            with torch.device("meta"):
                layer = layer_of(self.node.operation)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise self._failure(error) from error
        budget.spend(layer, f"{FIELD}.nodes[{self.index}]", f"node '{self.node.id}'")
        return layer.eval()

    def _ran(self, layer: nn.Module, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        operation = self.node.operation
        if isinstance(operation, _KEEPS_SHAPE):
            return (tensors[0],)
        if isinstance(operation, operations.Linear):
            return (tensors[0].new_empty(*tensors[0].shape[:-1], operation.out_features),)
        if isinstance(operation, operations.Lstm | operations.Gru):
            return _recurrent_results(operation, tensors[0])
        if isinstance(operation, operations.MultiheadAttention):
            return self._attended(operation, tensors)
        try:
            with torch.no_grad():
                result: Tensor = layer(*tensors)
        except (RuntimeError, IndexError, ValueError, AssertionError, TypeError, NotImplementedError) as error:
            raise self._failure(error) from error
        return (result,)

    def _attended(self, operation: operations.MultiheadAttention, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        query, key, value = tensors * 3 if len(tensors) == 1 else tensors
        if key.shape[:2] != value.shape[:2] or query.shape[0] != key.shape[0]:
            shapes = ", ".join(_dims(tensor.shape) for tensor in (query, key, value))
            raise self._error(
                f"expects one batch size of query, key and value and as many steps in value as in key, "
                f"but is given {shapes}"
            )
        weights = query.new_empty(query.shape[0], query.shape[1], key.shape[1])
        return query.new_empty(query.shape[0], query.shape[1], operation.embed_dim), weights

    def _check_rows(self, result: Result) -> None:
        has_rows = any(given.batch_dims for given in self.inputs)
        if has_rows and not result.is_by_row:
            given = ", ".join(f"'{name}' {_shown(of)}" for name, of in zip(self.node.inputs, self.inputs, strict=True))
            raise self._error(
                f"would mix the rows of a batch: it makes {_dims(result.shape)} of {given} for a batch of "
                f"{BATCH_SIZES[0]}: leave the dimension of the batch as it is"
            )

    def _failure(self, error: Exception) -> InvalidArgument:
        if is_overflow(error):
            return self._error(
                f"needs more numbers than a tensor can have: {_first_line(error)}", "", Reason.MODEL_TOO_LARGE
            )
        given = ", ".join(
            f"'{name}' {_shown(result)}" for name, result in zip(self.node.inputs, self.inputs, strict=True)
        )
        return self._error(f"does not fit its inputs {given or '(none)'}: {_first_line(error)}")

    def _error(self, message: str, field: str = "", reason: Reason = Reason.SHAPE_MISMATCH) -> InvalidArgument:
        path = f"{FIELD}.nodes[{self.index}]"
        if field:
            path = f"{path}.{self.node.operation.op}.{field}"
        text = f"node '{self.node.id}' ({self.node.operation.op}) {message}"
        return InvalidArgument(reason, text, field=path, node=self.node.id)


_LAST_DIMENSION = ("in_features", "input_size", "embed_dim", "d_model")


def _recurrent_results(operation: operations.Lstm | operations.Gru, steps: Tensor) -> tuple[Tensor, ...]:
    """By rule: a run would take time for each step, even without memory."""
    directions = 2 if operation.bidirectional else 1
    batch, count, _ = steps.shape
    outputs = steps.new_empty(batch, count, operation.hidden_size * directions)
    state = steps.new_empty(operation.num_layers * directions, batch, operation.hidden_size)
    return (outputs, *([state] * len(operation.further_results)))


def _shown(result: Result) -> str:
    """The shape with N for the batch: (N, 16, 4)."""
    batch = result.batch_dims
    return _dims("N" if dim in batch else size for dim, size in enumerate(result.shape))


def _dims(sizes: object) -> str:
    return f"({', '.join(map(str, sizes))})"  # type: ignore[call-overload]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
