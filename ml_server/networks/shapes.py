"""Checks a specification before anything is built: shapes on the meta device, without memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ml_server.networks.cnn import feature_map
from ml_server.networks.feature_layout import EmbeddingInput, FeatureLayout
from ml_server.networks.graph_shapes import BATCH_SIZES, check_graph_shapes
from ml_server.networks.graph_specification import TorchGraphSpecification
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.parameter_budget import ParameterBudget, is_overflow
from ml_server.networks.registered_module import resolve
from ml_server.networks.specification import (
    CnnSpecification,
    ImageShape,
    MlpSpecification,
    ModelSpecification,
    RegisteredModuleSpecification,
)
from servicekit.errors import InvalidArgument, Reason


@dataclass(frozen=True)
class ModelSize:
    """What a network weighs: learned numbers, features of a row, numbers given for a row."""

    parameter_count: int
    feature_count: int
    output_count: int


def check_shapes(
    specification: ModelSpecification,
    layout: FeatureLayout | None = None,
    outputs: int | None = None,
    max_parameters: int | None = None,
) -> ModelSize:
    """Checks every shape of a network for `layout` and `outputs`, and returns what it weighs.

    Without a layout or outputs (no view is named) the checks go as far as the specification decides them, and what it
    does not decide counts as 1 in the size, so that the limit on parameters holds for the part that is known.

    Raises:
        InvalidArgument: SHAPE_MISMATCH, GRAPH_INVALID, IMAGE_SIZE_MISMATCH, FEATURE_MAP_VANISHED, MODULE_UNKNOWN or
            MODEL_TOO_LARGE; the violation names the field of the specification.
    """
    architecture = specification.architecture
    budget = ParameterBudget(max_parameters)
    if layout is not None and layout.embeddings:
        with torch.device("meta"):
            table = EmbeddingInput(layout)
        budget.spend(table, "specification.preprocessing", "the embeddings of the input columns")
    match architecture:
        case TorchGraphSpecification():
            features = _product(architecture.input_shape) if layout is None else layout.features
            if layout is not None and layout.image is not None:
                _check_order(architecture.input_shape, layout.image)
            width = check_graph_shapes(architecture, features, outputs, budget)
            return ModelSize(budget.spent, features, width)
        case CnnSpecification():
            if layout is None and architecture.image is None:
                return ModelSize(0, 1, outputs or 1)
            features = layout.features if layout else architecture.image.size if architecture.image else 1
            feature_map(architecture, layout or FeatureLayout(dense=features))
        case RegisteredModuleSpecification():
            resolve(architecture)
            if layout is None or outputs is None:
                return ModelSize(0, layout.features if layout else 1, outputs or 1)
            features = layout.features
        case MlpSpecification():
            features = 1 if layout is None else layout.features
    flat = FeatureLayout(dense=features, image=layout.image if layout else None)
    config = ModelConfig(specification=specification, layout=flat, outputs=outputs or 1)
    model = _built_without_memory(config)
    budget.spend(model, f"specification.{architecture.kind}", "all its layers")
    if isinstance(architecture, RegisteredModuleSpecification):
        _check_run(model, config)
    return ModelSize(budget.spent, features, config.outputs)


def _built_without_memory(config: ModelConfig) -> ManageableModel:
    try:
        with torch.device("meta"):
            return build_model(config)
    except RuntimeError as error:
        if not is_overflow(error):
            raise
        raise InvalidArgument(
            Reason.MODEL_TOO_LARGE,
            f"a layer needs more numbers than a tensor can have: {error}",
            field=f"specification.{config.specification.architecture.kind}",
        ) from error


def _check_run(model: ManageableModel, config: ModelConfig) -> None:
    """Runs the operator's module for two batch sizes: (N, features) must give (N, outputs)."""
    field = "specification.registered_module"
    model.eval()
    for batch in BATCH_SIZES:
        given = torch.empty(batch, config.layout.columns, device="meta")
        try:
            with torch.no_grad():
                result = model(given)
        except Exception as error:  # the operator's code may raise anything
            message = f"the network fails on an input of shape {tuple(given.shape)}: {type(error).__name__}: {error}"
            raise InvalidArgument(Reason.SHAPE_MISMATCH, message, field=field) from error
        expected = (batch, config.outputs)
        if not isinstance(result, Tensor) or tuple(result.shape) != expected:
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            message = f"the network gives {shape} for an input of shape {tuple(given.shape)} but must give {expected}"
            raise InvalidArgument(Reason.SHAPE_MISMATCH, message, field=field)


def _check_order(input_shape: tuple[int, ...], image: ImageShape) -> None:
    """Raises IMAGE_SIZE_MISMATCH for a graph that takes an image's numbers in another order than they come in."""
    expected = (image.channels, image.height, image.width)
    if input_shape != expected and sorted(input_shape) == sorted(expected):
        raise InvalidArgument(
            Reason.IMAGE_SIZE_MISMATCH,
            f"input_shape {'x'.join(map(str, input_shape))} is in another order than the view's images, which come as "
            f"channels x height x width: set it to {image}, and permute inside the graph if need be",
            field="specification.torch_graph.input_shape",
        )


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
