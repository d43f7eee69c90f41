"""Training images changed at random, anew in each epoch, on the device that trains."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ml_server.features.encodings import NumberEncoding
from ml_server.features.features import FittedFeatures
from ml_server.networks.graph_specification import TorchGraphSpecification
from ml_server.networks.manageable_model import ModelConfig
from ml_server.networks.specification import CnnSpecification, ImageShape
from ml_server.training.plans import ImageAugmentation
from ml_server.training.rows import RowSource
from servicekit.errors import InvalidArgument, Reason

FIELD = "training_job.plan.augmentation"
COLOURS = 3
BRIGHTEST = 255.0
# What is drawn for each image, whether or not the plan asks for it.
DRAWS = 8
# The shares of red, green and blue in grey: Recommendation ITU-R BT.601.
GREY = (0.299, 0.587, 0.114)
# Rows that are looked through at a time: all of them may be more than memory.
PORTION_ROWS = 8_192


@dataclass(frozen=True)
class SeenImages:
    """Where a network's images stand among its input columns, and what their numbers mean.

    A feature times `scale` plus `shift`, both (channels, height or 1, width or 1), goes from 0, black, to 1, white.
    Features of single places stay within `limits`, both (channels, height, width), if there are any.
    """

    first_column: int
    shape: ImageShape
    scale: Tensor
    shift: Tensor
    limits: tuple[Tensor, Tensor] | None = None

    @property
    def columns(self) -> slice:
        """Their columns."""
        return slice(self.first_column, self.first_column + self.shape.size)

    @property
    def is_alike_everywhere(self) -> bool:
        """True if numbers of all places of a channel mean the same."""
        return self.scale.shape[1:] == (1, 1)


class Augmentation:
    """Changes images as a plan says: mirrored, then moved, turned, and given other colours."""

    def __init__(self, plan: ImageAugmentation, images: SeenImages) -> None:
        self._plan = plan
        self._images = images
        self._is_mirrored_or_moved = plan.horizontal_flip > 0 or plan.vertical_flip > 0 or plan.crop_padding > 0
        self._changes_colours = plan.brightness > 0 or plan.contrast > 0 or plan.saturation > 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What who trains so should know."""
        moves = self._is_mirrored_or_moved or self._plan.rotation_degrees > 0
        if self._images.is_alike_everywhere or not moves:
            return ()
        return (
            "each pixel is a column that is scaled by itself, so an image that moves looks unlike any other to the "
            "network: numeric_encoding PASS_THROUGH leaves all pixels on one scale",
        )

    def __call__(self, features: Tensor, random: torch.Generator) -> Tensor:
        """The features (N, columns) with other images; `random` is on the CPU, and so alike for all devices."""
        images, shape = self._images, self._images.shape
        pixels = features[:, images.columns].reshape(-1, shape.channels, shape.height, shape.width)
        draws = torch.rand(len(features), DRAWS, generator=random).to(features.device)
        in_levels = self._changes_colours or not images.is_alike_everywhere
        if in_levels:
            pixels = pixels * images.scale + images.shift
        pixels = self._moved(pixels, draws)
        if self._changes_colours:
            pixels = self._coloured(pixels, draws)
        if in_levels:
            pixels = (pixels - images.shift) / images.scale
        if images.limits is not None:
            pixels = pixels.clamp(*images.limits)
        changed = pixels.flatten(1)
        if changed.shape == features.shape:
            return changed
        return torch.cat([features[:, : images.columns.start], changed, features[:, images.columns.stop :]], dim=1)

    def _moved(self, pixels: Tensor, draws: Tensor) -> Tensor:
        plan = self._plan
        if self._is_mirrored_or_moved:
            rows = _places(pixels.shape[2], plan.crop_padding, draws[:, 0] < plan.vertical_flip, draws[:, 2])
            columns = _places(pixels.shape[3], plan.crop_padding, draws[:, 1] < plan.horizontal_flip, draws[:, 3])
            pixels = taken(pixels, rows, columns)
        if plan.rotation_degrees:
            pixels = turned(pixels, plan.rotation_degrees * (2 * draws[:, 4] - 1))
        return pixels

    def _coloured(self, levels: Tensor, draws: Tensor) -> Tensor:
        plan = self._plan
        if plan.brightness:
            levels = (levels * _factors(plan.brightness, draws[:, 5])).clamp_(0, 1)
        if plan.contrast:
            mean = levels.mean(dim=(1, 2, 3), keepdim=True)
            levels = torch.lerp(mean, levels, _factors(plan.contrast, draws[:, 6])).clamp_(0, 1)
        if plan.saturation:
            shares = torch.tensor(GREY, device=levels.device)[:, None, None]
            grey = (levels * shares).sum(dim=1, keepdim=True)
            levels = torch.lerp(grey, levels, _factors(plan.saturation, draws[:, 7])).clamp_(0, 1)
        return levels


def taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of each image (N, C, H, W) the pixels of these rows (N, H) and columns (N, W), in this order."""
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)
    return images.flatten(2).gather(2, places[:, None, :].expand(-1, images.shape[1], -1)).view_as(images)


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Images (N, C, H, W) turned by so many degrees (N,) around their middle. What comes in is a mirror image."""
    height, width = images.shape[2:]
    angles = torch.deg2rad(degrees)
    cosine, sine, nothing = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # affine_grid has both sides of an image 2 long, whatever its pixels.
    rows = [cosine, -sine * (height / width), nothing, sine * (width / height), cosine, nothing]
    grid = affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _places(size: int, padding: int, is_mirrored: Tensor, draw: Tensor) -> Tensor:
    """The places (N, size) that each image's line of pixels is taken from: moved by up to `padding`, and mirrored."""
    offset = (draw * (2 * padding + 1)).long().clamp_(max=2 * padding) - padding
    places = torch.arange(size, device=draw.device) + offset[:, None]
    # Beyond the edge it goes back as it came, without the edge itself: as "reflect" of torch.nn.functional.pad.
    places = places.remainder(max(2 * size - 2, 1))
    places = torch.minimum(places, 2 * size - 2 - places)
    return torch.where(is_mirrored[:, None], size - 1 - places, places)


def _factors(most: float, draw: Tensor) -> Tensor:
    return (1 + most * (2 * draw - 1))[:, None, None, None]


def image_augmentation(
    plan: ImageAugmentation, config: ModelConfig, features: FittedFeatures, train: RowSource
) -> Augmentation | None:
    """The augmentation of a plan, None if it changes nothing. Raises InvalidArgument as `check_augmentation`."""
    if plan == ImageAugmentation():
        return None
    check_augmentation(plan, config, len(features.columns))
    return Augmentation(plan, _seen_images(config, features, train))


def check_augmentation(plan: ImageAugmentation, config: ModelConfig, input_count: int) -> None:
    """Raises InvalidArgument if a network, of a view with so many input columns, does not see such images."""
    if plan == ImageAugmentation():
        return
    shape = _image_of(config)
    # Without an image column each input column is a pixel: one number.
    if shape is None or (config.layout.image is None and config.layout.columns != input_count):
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            "augmentation changes images, and this model sees none: leave it out, take a view with an image column, or "
            "a CNN whose image says how the columns of pixels lie",
            field=FIELD,
        )
    if plan.saturation and shape.channels != COLOURS:
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            f"saturation is for images of {COLOURS} channels, and those of this model are {shape} (channels x height x "
            "width): leave it out",
            field=f"{FIELD}.saturation",
        )


def _image_of(config: ModelConfig) -> ImageShape | None:
    architecture = config.specification.architecture
    if config.layout.image is not None:
        return config.layout.image
    if isinstance(architecture, CnnSpecification):
        return architecture.image
    if isinstance(architecture, TorchGraphSpecification) and len(architecture.input_shape) == 3:
        channels, height, width = architecture.input_shape
        return ImageShape(channels=channels, height=height, width=width)
    return None


def _seen_images(config: ModelConfig, features: FittedFeatures, train: RowSource) -> SeenImages:
    shape = _image_of(config)
    assert shape is not None
    device = train.device
    if features.image is not None:
        first, encoding = features.image
        scales, shifts = (
            torch.tensor(each, device=device)[:, None, None] for each in (encoding.scales, encoding.shifts)
        )
        return SeenImages(first, shape, 1 / (scales * BRIGHTEST), shifts / BRIGHTEST)
    pixels = [column.encoding for column in features.columns if isinstance(column.encoding, NumberEncoding)]
    scales, shifts = (
        torch.tensor(each, device=device).view(shape.channels, shape.height, shape.width)
        for each in ([pixel.scale for pixel in pixels], [pixel.shift for pixel in pixels])
    )
    is_alike = bool((scales == scales[0, 0, 0]).all() and (shifts == shifts[0, 0, 0]).all())
    # Pixels in columns may go to any number: the largest of the training rows is white, and 0 or the smallest is black.
    lowest, highest = (end.view_as(scales) for end in _extremes(train))
    black = (lowest / scales + shifts).min().clamp(max=0)
    spread = ((highest / scales + shifts).max() - black).clamp(min=1e-9)
    scale, shift = 1 / (scales * spread), (shifts - black) / spread
    if is_alike:
        return SeenImages(0, shape, scale[:, :1, :1], shift[:, :1, :1])
    # A pixel that hardly ever differs has a scale by which what moves to it would be larger than all else.
    return SeenImages(0, shape, scale, shift, (lowest, highest))


def _extremes(train: RowSource) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value of each feature (F,)."""
    found = [torch.aminmax(batch.features, dim=0) for batch in train.batches(PORTION_ROWS)]
    return torch.stack([each.min for each in found]).amin(dim=0), torch.stack([each.max for each in found]).amax(dim=0)
