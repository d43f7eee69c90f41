"""The convolutional network."""

import torch
from torch import Tensor, nn

from ml_server.networks.feature_layout import FeatureLayout
from ml_server.networks.kinds import Normalization, PoolingKind
from ml_server.networks.manageable_model import ManageableModel, ModelConfig
from ml_server.networks.mlp import perceptron
from ml_server.networks.specification import CnnSpecification, ConvolutionBlock, ImageShape, MlpSpecification
from servicekit.errors import InvalidArgument, Reason

MapSize = tuple[int, int, int]
"""Channels, height and width of a feature map."""


class Cnn(ManageableModel):
    """Features as an image (N, channels, height, width), row-major, through blocks into a perceptron."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        specification = config.specification.architecture
        assert isinstance(specification, CnnSpecification)
        image = image_of(specification, config.layout)
        channels, height, width = feature_map(specification, config.layout)
        self.image = (image.channels, image.height, image.width)
        self.blocks = nn.Sequential()
        before = image.channels
        for block in specification.blocks:
            self.blocks.append(_block(block, before))
            before = block.out_channels
        self.pooling = nn.AdaptiveAvgPool2d(1) if specification.global_average_pooling else None
        inputs = channels if specification.global_average_pooling else channels * height * width
        self.head = perceptron(specification.head or MlpSpecification(), inputs, config.outputs)
        # Maps whose channels lie together: convolutions take about two thirds of the time with them.
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compute(self, features: Tensor) -> Tensor:
        maps = self.blocks(features.reshape(-1, *self.image).contiguous(memory_format=torch.channels_last))
        if self.pooling is not None:
            maps = self.pooling(maps)
        outputs: Tensor = self.head(maps.flatten(1))
        return outputs


def _block(block: ConvolutionBlock, in_channels: int) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(in_channels, block.out_channels, block.kernel_size, block.stride, block.border),
    )
    if block.normalization is Normalization.BATCH:
        layers.append(nn.BatchNorm2d(block.out_channels))
    layers.append(block.activation.layer())
    if block.pooling is PoolingKind.MAX:
        layers.append(nn.MaxPool2d(block.pooling_size))
    elif block.pooling is PoolingKind.AVERAGE:
        layers.append(nn.AvgPool2d(block.pooling_size))
    if block.dropout > 0:
        layers.append(nn.Dropout(block.dropout))
    return layers


def image_of(specification: CnnSpecification, layout: FeatureLayout) -> ImageShape:
    """The image that all features are: the layout's own, or as the specification cuts columns of pixels.

    Raises:
        InvalidArgument: IMAGE_SIZE_MISMATCH, or COLUMN_UNSUPPORTED if there are inputs beside an image column.
    """
    if layout.image is not None:
        return _image_of_column(specification.image, layout.image, layout.features)
    image, features = specification.image, layout.features
    if image is None:
        raise _mismatch(
            f"image is not set and the view has no image column but {features} features of other columns: set it to "
            "the channels, height and width that they are the pixels of, or take a view with an image column"
        )
    if image.size != features:
        raise _mismatch(
            f"image {image} needs {image.size} input features but the view gives {features}: "
            "set channels, height and width so that their product is the number of features, "
            "or mark exactly the pixel columns as inputs"
        )
    return image


def _image_of_column(asked: ImageShape | None, image: ImageShape, features: int) -> ImageShape:
    if image.size != features:
        raise InvalidArgument(
            Reason.COLUMN_UNSUPPORTED,
            f"a CNN sees an image and nothing else, but the view gives {features - image.size} features of other "
            "columns beside its image column: give them the role IGNORED in the view, or take an MLP or a graph",
            field="specification.cnn.image",
        )
    if asked is not None and asked != image:
        raise _mismatch(
            f"image {asked} (channels x height x width) is not what the view's image column holds, {image}: leave "
            "image out, or import the images in that size and mode"
        )
    return image


def _mismatch(message: str) -> InvalidArgument:
    return InvalidArgument(Reason.IMAGE_SIZE_MISMATCH, message, field="specification.cnn.image")


def feature_map(specification: CnnSpecification, layout: FeatureLayout) -> MapSize:
    """The feature map after the last block.

    Raises:
        InvalidArgument: As `image_of`; FEATURE_MAP_VANISHED if a block shrinks its map to nothing.
    """
    image = image_of(specification, layout)
    size = (image.channels, image.height, image.width)
    for index, block in enumerate(specification.blocks):
        size = _after(block, index, size)
    return size


def _after(block: ConvolutionBlock, index: int, before: MapSize) -> MapSize:
    _, height, width = before
    kernel, border = block.kernel_size, block.border
    if min(height, width) + 2 * border < kernel:
        raise _vanished(
            index,
            before,
            f"the convolution window is {kernel}x{kernel} with padding {border}",
            "make kernel_size smaller or padding larger",
        )
    height = (height + 2 * border - kernel) // block.stride + 1
    width = (width + 2 * border - kernel) // block.stride + 1
    if block.pooling is not None:
        window = block.pooling_size
        if min(height, width) < window:
            raise _vanished(
                index,
                before,
                f"its convolution leaves {height}x{width} and the pooling window is {window}x{window}",
                "take its pooling out or make pooling_size smaller",
            )
        height, width = height // window, width // window
    return block.out_channels, height, width


def _vanished(index: int, before: MapSize, cause: str, remedy: str) -> InvalidArgument:
    channels, height, width = before
    return InvalidArgument(
        Reason.FEATURE_MAP_VANISHED,
        f"blocks[{index}] shrinks its feature map to nothing: the map before it is {channels}x{height}x{width} "
        f"and {cause}: {remedy}, use fewer blocks, or smaller strides and pooling before it",
        field=f"specification.cnn.blocks[{index}]",
    )
