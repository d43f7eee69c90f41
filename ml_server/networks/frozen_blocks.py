"""Blocks of a network whose weights training leaves as they are.

A block is known by the beginning of its parameters' names, up to a dot: those of `blocks.0.linear.weight` are `blocks`,
`blocks.0` and `blocks.0.linear`.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ml_server.networks.manageable_model import ManageableModel
from servicekit.errors import InvalidArgument, Reason

FIELD = "training_job.plan.frozen_blocks"
SHOWN_BLOCKS = 40


def freeze(model: ManageableModel, blocks: Sequence[str]) -> None:
    """Takes the gradients from the parameters of some blocks, and keeps their running statistics where they are.

    Raises:
        InvalidArgument: There is no such block, and which there are; or nothing is left to train.
    """
    known = list(dict.fromkeys(block for name, _ in _parameters(model) for block in _blocks_of(name)))
    for index, block in enumerate(blocks):
        if block not in known:
            shown = ", ".join(f"'{each}'" for each in known[:SHOWN_BLOCKS])
            more = f" and {len(known) - SHOWN_BLOCKS} more" if len(known) > SHOWN_BLOCKS else ""
            raise InvalidArgument(
                Reason.INVALID_FIELD,
                f"'{block}' is no block of the network: its blocks are {shown}{more}",
                field=f"{FIELD}[{index}]",
            )
    for name, parameter in _parameters(model):
        if _is_within(name, blocks):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise _nothing_left()
    model.still_layers = tuple(
        module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and _is_within(f"{model.user_name(name)}.", blocks)
    )


def require_learning(model: ManageableModel) -> None:
    """Raises InvalidArgument if no weight that is left to train has a part in the outputs, as in an unused node.

    The model may be on the meta device; it is left in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    with torch.enable_grad():
        outputs = model(torch.zeros(2, model.config.layout.columns, device=device))
    if not outputs.requires_grad:
        raise _nothing_left()


def _parameters(model: ManageableModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Each parameter by the name that users know it by; one that has two of them comes twice."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield model.user_name(name), parameter


def _blocks_of(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end])


def _is_within(name: str, blocks: Sequence[str]) -> bool:
    return any(name.startswith(f"{block}.") for block in blocks)


def _nothing_left() -> InvalidArgument:
    return InvalidArgument(
        Reason.INVALID_FIELD,
        "the frozen blocks are all of the network that its outputs depend on, so that nothing is left to train: leave "
        "one of them out",
        field=FIELD,
    )
