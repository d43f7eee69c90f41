"""Model specifications in a line: `mlp([64, 32])`, `cnn((1, 8, 8), [block(16), block(32, pooling="max")])`.

What is left out takes the default of the contract.
"""

from __future__ import annotations

from collections.abc import Sequence

from flare.ml.v1 import specification_pb2 as pb
from flare.ml.v1.torch_graph_pb2 import ActivationKind, PoolingKind

from flare_client.choices import choose


def mlp(
    hidden_units: Sequence[int],
    *,
    activation: str = "",
    dropout: float = 0.0,
    normalization: str = "",
) -> pb.ModelSpecification:
    """A perceptron with hidden layers of these sizes; `normalization` is empty, `batch` or `layer`."""
    return pb.ModelSpecification(mlp=_mlp(hidden_units, activation, dropout, normalization))


def block(
    out_channels: int,
    *,
    kernel_size: int = 0,
    stride: int = 0,
    padding: int | None = None,
    batch_norm: bool = True,
    activation: str = "",
    pooling: str = "",
    pooling_size: int = 0,
    dropout: float = 0.0,
) -> pb.ConvolutionBlock:
    """A block of a CNN; `pooling` is empty, `max` or `average`, and 0 takes the contract's default."""
    return pb.ConvolutionBlock(
        out_channels=out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        normalization=pb.NORMALIZATION_BATCH if batch_norm else pb.NORMALIZATION_UNSPECIFIED,
        activation=choose("activation", activation, ActivationKind),
        pooling=choose("pooling", pooling, PoolingKind),
        pooling_size=pooling_size,
        dropout=dropout,
    )


def cnn(
    image: tuple[int, int, int] | None = None,
    blocks: Sequence[pb.ConvolutionBlock] = (),
    *,
    head: Sequence[int] = (),
    head_dropout: float = 0.0,
    global_average_pooling: bool = False,
) -> pb.ModelSpecification:
    """Convolutions over an image of (channels, height, width), then hidden layers of the sizes in `head`.

    Without `image` it is the one that the view's image column holds.
    """
    shape = None if image is None else pb.ImageShape(channels=image[0], height=image[1], width=image[2])
    return pb.ModelSpecification(
        cnn=pb.Cnn(
            image=shape,
            blocks=blocks,
            global_average_pooling=global_average_pooling,
            head=_mlp(head, "", head_dropout, "") if head else None,
        )
    )


def architecture_of(specification: pb.ModelSpecification) -> str:
    """A line that says what it is made of: `MLP 64-32`, `CNN 1x8x8 16-32`, `graph of 12 nodes`."""
    kind = specification.WhichOneof("architecture")
    if kind == "mlp":
        return "MLP " + ("-".join(map(str, specification.mlp.hidden_units)) or "linear")
    if kind == "cnn":
        image = specification.cnn.image
        channels = "-".join(str(b.out_channels) for b in specification.cnn.blocks)
        shape = f"{image.channels}x{image.height}x{image.width} " if specification.cnn.HasField("image") else ""
        return f"CNN {shape}{channels}"
    if kind == "torch_graph":
        return f"graph of {len(specification.torch_graph.nodes)} nodes"
    if kind == "registered_module":
        return f"module {specification.registered_module.module}"
    return ""


def _mlp(hidden_units: Sequence[int], activation: str, dropout: float, normalization: str) -> pb.Mlp:
    return pb.Mlp(
        hidden_units=hidden_units,
        activation=choose("activation", activation, ActivationKind),
        dropout=dropout,
        normalization=choose("normalization", normalization, pb.Normalization),
    )
