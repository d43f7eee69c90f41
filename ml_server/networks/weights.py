"""Weights by name: checked against a specification, loaded into a network."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ml_server.networks.feature_layout import FeatureLayout
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.shapes import check_shapes
from ml_server.networks.specification import ModelSpecification
from servicekit.errors import InvalidArgument, Reason, Violation

INPUT_PREFIX = "input."
"""Names of the embeddings of category columns. They depend on the data, so uploaded weights may lack them."""

SHOWN_TENSORS = 20
"""An error names at most so many, and counts the rest: a gRPC status travels in a header of a few kilobytes."""


def load_initial_weights(model: ManageableModel, state: Mapping[str, Tensor]) -> None:
    """Copies tensors into the network, by the names of `model.weights()`; all of them or none.

    Raises:
        InvalidArgument: WEIGHTS_MISMATCH, with a violation for each tensor that is missing, unexpected, or of another
            shape or kind of number.
    """
    own = model.weights()
    _require_match(own, state)
    _copy(own, state)


def load_base_weights(model: ManageableModel, state: Mapping[str, Tensor], base: str) -> None:
    """Copies the weights of a base version into the network, by the names of `weights()`; all of them or none.

    Raises:
        InvalidArgument: As `check_base_weights`.
    """
    check_base_weights(model, state, base)
    _copy(model.weights(), state)


def check_base_weights(model: ManageableModel, state: Mapping[str, Tensor], base: str) -> None:
    """Checks that a network can start from the weights of `base`. Tensors and network may be on the meta device.

    Raises:
        InvalidArgument: WEIGHTS_MISMATCH, naming each tensor that is missing, unexpected or of another shape.
    """
    own = model.weights()
    violations = _mismatches(own, state) + [
        _missing(name, tensor) for name, tensor in own.items() if name.startswith(INPUT_PREFIX) and name not in state
    ]
    if violations:
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH,
            f"the weights of '{base}' do not fit this model on this view: {_listed(violations)}; take a base version "
            "of the same specification on the same columns and classes, or leave base_version out",
            field="training_job.base_version",
        )


def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def check_weights(
    specification: ModelSpecification,
    state: Mapping[str, Tensor],
    layout: FeatureLayout | None = None,
    outputs: int | None = None,
) -> None:
    """Checks weights against a specification as `load_initial_weights` will, without building the network.

    Tensors on the meta device do. Without a layout or outputs, a graph is checked whole, since it decides its own
    shapes, but for the embeddings of columns; of a perceptron or CNN only the names and ranks are, as the widths of its
    ends are not known; and nothing of a registered module, or of a CNN whose image the view is to decide.
    """
    is_known = layout is not None and outputs is not None
    architecture = specification.architecture
    is_open = architecture.kind == "registered_module" or (architecture.kind == "cnn" and architecture.image is None)
    if is_open and not is_known:
        return
    size = check_shapes(specification, layout, outputs)
    config = ModelConfig(
        specification=specification,
        layout=layout or FeatureLayout(dense=size.feature_count),
        outputs=size.output_count,
    )
    with torch.device("meta"):
        model = build_model(config)
    if layout is None:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(INPUT_PREFIX)}
    _require_match(model.weights(), state, shapes=is_known or specification.architecture.kind == "torch_graph")


def _require_match(own: Mapping[str, Tensor], given: Mapping[str, Tensor], *, shapes: bool = True) -> None:
    if violations := _mismatches(own, given, shapes=shapes):
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH,
            f"the weights do not fit the specification: {_listed(violations)}",
            violations=violations[:SHOWN_TENSORS],
        )


def _mismatches(own: Mapping[str, Tensor], given: Mapping[str, Tensor], *, shapes: bool = True) -> list[Violation]:
    violations = [
        _missing(name, tensor)
        for name, tensor in own.items()
        if name not in given and not name.startswith(INPUT_PREFIX)
    ]
    for name, tensor in given.items():
        if name not in own:
            problem = f"unexpected with shape {_shape(tensor)}: the network has no tensor of this name"
            violations.append(Violation(name[:128], problem))
        elif tensor.is_floating_point() != own[name].is_floating_point():
            violations.append(Violation(name, f"holds {tensor.dtype} but the network has {own[name].dtype}"))
        elif tensor.dim() != own[name].dim() or (shapes and tensor.shape != own[name].shape):
            problem = f"has shape {_shape(tensor)} but the network has {_shape(own[name])}"
            violations.append(Violation(name, problem))
    return violations


def _missing(name: str, own: Tensor) -> Violation:
    return Violation(name, f"missing: the network has it with shape {_shape(own)}")


def _listed(violations: list[Violation]) -> str:
    shown = violations[:SHOWN_TENSORS]
    listed = "; ".join(f"'{violation.field}' {violation.description}" for violation in shown)
    return listed + (f"; and {len(violations) - len(shown)} more" if len(violations) > len(shown) else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
