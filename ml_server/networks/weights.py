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
    violations = [
        Violation(name, f"missing: the network has it with shape {_shape(own[name])}")
        for name in own
        if name not in given and not name.startswith(INPUT_PREFIX)
    ]
    for name, tensor in given.items():
        if name not in own:
            violations.append(Violation(name[:128], "unexpected: the network has no tensor of this name"))
        elif tensor.is_floating_point() != own[name].is_floating_point():
            violations.append(Violation(name, f"holds {tensor.dtype} but the network has {own[name].dtype}"))
        elif tensor.dim() != own[name].dim() or (shapes and tensor.shape != own[name].shape):
            problem = f"has shape {_shape(tensor)} but the network has {_shape(own[name])}"
            violations.append(Violation(name, problem))
    if violations:
        shown = violations[:SHOWN_TENSORS]
        listed = "; ".join(f"'{violation.field}' {violation.description}" for violation in shown)
        more = f"; and {len(violations) - len(shown)} more" if len(violations) > len(shown) else ""
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH, f"the weights do not fit the specification: {listed}{more}", violations=shown
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
