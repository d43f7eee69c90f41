"""A model specification from the options of `flare models create`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flare.ml.v1 import specification_pb2 as pb
from google.protobuf import json_format

from flare_client.cli.arguments import numbers
from flare_client.cli.failures import CommandError
from flare_client.specifications import block, cnn, mlp

IMAGE = "image"


def mlp_specification(text: str, activation: str, dropout: float, normalization: str) -> pb.ModelSpecification:
    """`--mlp 64,32`."""
    return mlp(numbers("--mlp", text, int), activation=activation, dropout=dropout, normalization=normalization)


def cnn_specification(
    image: str, blocks: Sequence[str], head: str, activation: str, dropout: float
) -> pb.ModelSpecification:
    """`--cnn 1x8x8 --block 16 --block 32:pool --head 64`; `--cnn image` takes the view's image column."""
    shape = [] if image == IMAGE else numbers("--cnn", image, int, separator="x")
    if shape and len(shape) != 3:
        raise CommandError(f"--cnn {image!r} is not CHANNELSxHEIGHTxWIDTH, such as 1x8x8, or the word '{IMAGE}'")
    if not blocks:
        raise CommandError("--cnn needs at least one --block, such as --block 16 --block 32:pool")
    return cnn(
        (shape[0], shape[1], shape[2]) if shape else None,
        [_block(text, activation) for text in blocks],
        head=numbers("--head", head, int),
        head_dropout=dropout,
    )


def specification_of_file(path: Path) -> pb.ModelSpecification:
    """`--spec FILE.json`: the JSON form of `flare.ml.v1.ModelSpecification`."""
    try:
        return json_format.Parse(path.read_text(), pb.ModelSpecification())
    except json_format.ParseError as error:
        raise CommandError(f"{path} is not a ModelSpecification in JSON: {error}") from error


def _block(text: str, activation: str) -> pb.ConvolutionBlock:
    """`CHANNELS[:pool|:avgpool|:kSIZE|:sSTEP|:nonorm]...`."""
    channels, *options = text.split(":")
    kernel_size = stride = 0
    pooling, batch_norm = "", True
    try:
        for option in options:
            if option == "pool":
                pooling = "max"
            elif option == "avgpool":
                pooling = "average"
            elif option == "nonorm":
                batch_norm = False
            elif option.startswith("k"):
                kernel_size = int(option[1:])
            elif option.startswith("s"):
                stride = int(option[1:])
            else:
                raise ValueError(option)
        return block(
            int(channels),
            kernel_size=kernel_size,
            stride=stride,
            pooling=pooling,
            batch_norm=batch_norm,
            activation=activation,
        )
    except ValueError as error:
        raise CommandError(
            f"--block {text!r} is not CHANNELS with :pool, :avgpool, :kSIZE, :sSTEP or :nonorm after it, as 32:pool"
        ) from error
