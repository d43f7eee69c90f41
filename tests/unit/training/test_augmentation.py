"""What augmentation does to images, by known images and by counting."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from ml_server.features.columns import Column, ColumnType, ImageColumn, NumberColumn
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, fit
from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.kinds import Encoding
from ml_server.networks.manageable_model import ModelConfig
from ml_server.networks.specification import ColumnEncoding, ImageShape, ModelSpecification, Preprocessing
from ml_server.training.augmentation import Augmentation, SeenImages, check_augmentation, image_augmentation, turned
from ml_server.training.plans import ImageAugmentation
from ml_server.training.rows import Rows
from servicekit.errors import InvalidArgument
from servicekit.images.shape import ImageMode
from servicekit.images.shape import ImageShape as ColumnShape
from tests.summarized import summarized

COUNT = 4000
EVERYTHING = ImageAugmentation(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    crop_padding=1,
    rotation_degrees=20,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
)
ZEROS = torch.zeros(3, 16)
MLP = {"kind": "mlp", "hidden_units": [3]}
CNN = {"kind": "cnn", "blocks": [{"out_channels": 2}]}


def in_levels(shape: tuple[int, int, int]) -> SeenImages:
    """Images whose numbers go from 0 to 1 already."""
    channels, height, width = shape
    size = ImageShape(channels=channels, height=height, width=width)
    return SeenImages(0, size, torch.ones(channels, 1, 1), torch.zeros(channels, 1, 1))


def changed(images: Tensor, plan: ImageAugmentation, seed: int = 0) -> Tensor:
    """The images (N, C, H, W) after augmentation."""
    seen = in_levels(tuple(images.shape[1:]))  # type: ignore[arg-type]
    return Augmentation(plan, seen)(images.flatten(1), torch.Generator().manual_seed(seed)).view_as(images)


def ramp(channels: int, height: int, width: int, count: int = COUNT) -> Tensor:
    """Many times an image without any symmetry, in levels from 0 to 1."""
    levels = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(9))
    return levels.expand(count, -1, -1, -1)


@pytest.mark.parametrize(("name", "dimension"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_the_given_share_of_images_is_mirrored_and_the_rest_stays_as_it_is(name: str, dimension: int) -> None:
    images = ramp(3, 4, 5)
    result = changed(images, ImageAugmentation.model_validate({name: 0.3}))
    is_same = (result == images).flatten(1).all(1)
    is_mirrored = (result == images.flip(dimension)).flatten(1).all(1)
    assert bool((is_same ^ is_mirrored).all())
    assert is_mirrored.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_both_flips_are_drawn_apart_and_anew_for_each_batch() -> None:
    images = ramp(1, 3, 3)
    plan = ImageAugmentation(horizontal_flip=0.5, vertical_flip=0.5)
    counts = [
        (changed(images, plan) == images.flip(dimensions)).flatten(1).all(1).float().mean().item()
        for dimensions in ([], [2], [3], [2, 3])
    ]
    assert counts == pytest.approx([0.25] * 4, abs=0.03)
    random = torch.Generator().manual_seed(0)
    augmentation = Augmentation(plan, in_levels((1, 3, 3)))
    assert not torch.equal(augmentation(images.flatten(1), random), augmentation(images.flatten(1), random))


@pytest.mark.parametrize(("height", "width", "padding"), [(4, 5, 2), (3, 3, 1), (1, 6, 1)])
def test_crops_are_those_of_the_reflected_image_each_as_often(height: int, width: int, padding: int) -> None:
    images = ramp(2, height, width)
    rows = padding if height > 1 else 0  # what has a single row has no other one to reflect
    padded = pad(images[:1], (padding, padding, rows, rows), mode="reflect")
    crops = torch.stack(
        [
            padded[0, :, top : top + height, left : left + width]
            for top in range(2 * rows + 1)
            for left in range(2 * padding + 1)
        ]
    )
    result = changed(images, ImageAugmentation(crop_padding=padding))
    found = (result[:, None] == crops).flatten(2).all(2).float()
    assert found.sum(1).tolist() == [1.0] * COUNT
    assert found.mean(0).tolist() == pytest.approx([1 / len(crops)] * len(crops), abs=0.02)


def test_a_padding_beyond_the_image_reflects_on_and_on() -> None:
    images = ramp(1, 2, 2)
    result = changed(images, ImageAugmentation(crop_padding=1000))
    assert {tuple(each.flatten().tolist()) for each in result} == {
        tuple(images[0].flip(dimensions).flatten().tolist()) for dimensions in ([], [1], [2], [1, 2])
    }


def test_turns_by_right_angles_are_exact_and_turning_back_gives_what_was() -> None:
    square = ramp(3, 6, 6, count=1)
    quarters = [turned(square, torch.tensor([90.0 * times])) for times in range(4)]
    direction = 1 if torch.allclose(quarters[1], square.rot90(1, (2, 3)), atol=1e-5) else -1
    for times, quarter in enumerate(quarters):
        torch.testing.assert_close(quarter, square.rot90(direction * times, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned(ramp(1, 4, 7, 1), torch.tensor([180.0])), ramp(1, 4, 7, 1).flip(2, 3))
    smooth = torch.sin(torch.linspace(0, 3, 40))[:, None] * torch.cos(torch.linspace(0, 2, 60))[None, :]
    back = turned(turned(smooth[None, None], torch.tensor([25.0])), torch.tensor([-25.0]))
    torch.testing.assert_close(back[0, 0, 15:25, 20:40], smooth[15:25, 20:40], atol=5e-3, rtol=0)


def test_turned_images_keep_their_shapes_whatever_their_proportions() -> None:
    """A disc stays a disc, and no black comes in from outside."""
    y, x = torch.meshgrid(torch.arange(20.0) - 9.5, torch.arange(60.0) - 29.5, indexing="ij")
    disc = ((y**2 + x**2).sqrt() < 6).float()[None, None]
    result = turned(disc, torch.tensor([37.0]))
    assert (result - disc).abs().max() < 0.9
    assert (result - disc).abs().mean() < 0.01
    assert torch.allclose(turned(torch.ones(1, 1, 20, 60), torch.tensor([37.0])), torch.ones(1))


def test_the_angles_fill_the_range() -> None:
    dot = torch.zeros(COUNT, 1, 41, 41)
    dot[:, :, 20, 35:38] = 1
    result = changed(dot, ImageAugmentation(rotation_degrees=30))
    places = torch.arange(41.0) - 20
    mass = result.sum((1, 2, 3))
    down = (result.sum((1, 3)) * places).sum(1) / mass
    across = (result.sum((1, 2)) * places).sum(1) / mass
    angles = torch.rad2deg(torch.atan2(down, across))
    assert angles.abs().max().item() == pytest.approx(30, abs=1)
    assert angles.mean().item() == pytest.approx(0, abs=1)
    assert angles.std().item() == pytest.approx(30 / 3**0.5, abs=1)


def test_brightness_multiplies_all_of_an_image_and_ends_at_white() -> None:
    images = torch.tensor([0.2, 0.4, 0.6, 0.9]).view(1, 1, 2, 2).expand(COUNT, -1, -1, -1)
    result = changed(images, ImageAugmentation(brightness=0.5))
    factors = result[:, 0, 0, 0] / 0.2
    assert (factors.min().item(), factors.max().item()) == pytest.approx((0.5, 1.5), abs=0.01)
    assert factors.mean().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(result, (images * factors.view(-1, 1, 1, 1)).clamp(max=1))


def test_contrast_keeps_the_mean_and_saturation_the_grey() -> None:
    images = 0.4 + 0.2 * ramp(3, 4, 4)
    contrast = changed(images, ImageAugmentation(contrast=0.5))
    torch.testing.assert_close(contrast.mean((1, 2, 3)), images.mean((1, 2, 3)))
    factors = contrast.std((1, 2, 3)) / images.std((1, 2, 3))
    assert (factors.min().item(), factors.max().item()) == pytest.approx((0.5, 1.5), abs=0.01)
    saturation = changed(images, ImageAugmentation(saturation=1.0))
    shares = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(
        torch.einsum("nchw,c->nhw", saturation, shares), torch.einsum("nchw,c->nhw", images, shares)
    )
    spread = saturation.std(1).mean((1, 2)) / images.std(1).mean((1, 2))
    assert (spread.min().item(), spread.max().item()) == pytest.approx((0, 2), abs=0.02)


def picture(encoding: Encoding, count: int = 500) -> tuple[Tensor, FittedFeatures, Tensor]:
    """Features of rows with a picture between two numbers, their preprocessing, and the pictures in levels."""
    pixels = np.random.default_rng(1).integers(0, 256, (count, 4 * 5 * 3), dtype=np.uint8)
    age = NumberColumn(np.arange(count, dtype=np.float64))
    inputs = [
        InputColumn("age", ColumnType.FLOAT),
        InputColumn("image", ColumnType.IMAGE, image=ColumnShape(4, 5, ImageMode.RGB)),
        InputColumn("year", ColumnType.FLOAT),
    ]
    asked = Preprocessing(columns=(ColumnEncoding(column="image", encoding=encoding),))
    columns: dict[str, Column] = {"age": age, "image": ImageColumn([pixels]), "year": age}
    features = fit(inputs, asked, summarized(inputs, columns))
    levels = torch.from_numpy(pixels.reshape(count, 4, 5, 3).transpose(0, 3, 1, 2) / 255).float()
    return torch.from_numpy(features.transform(columns)), features, levels


@pytest.mark.parametrize("encoding", [Encoding.STANDARDIZE, Encoding.MIN_MAX, Encoding.PASS_THROUGH])
def test_pictures_change_alike_however_they_are_encoded_and_other_columns_do_not(encoding: Encoding) -> None:
    rows, features, levels = picture(encoding)
    config = network(MLP, features.layout)
    augmentation = image_augmentation(EVERYTHING, config, features, Rows(rows, ()))
    assert augmentation is not None
    result = augmentation(rows, torch.Generator().manual_seed(5))
    assert torch.equal(result[:, [0, -1]], rows[:, [0, -1]])
    assert features.image is not None
    shifts, scales = (
        torch.tensor(each)[:, None, None] for each in (features.image[1].shifts, features.image[1].scales)
    )
    seen = (result[:, 1:-1].view_as(levels) / scales + shifts) / 255
    torch.testing.assert_close(seen, changed(levels, EVERYTHING, seed=5), atol=1e-4, rtol=0)
    assert seen.min().item() >= -1e-4
    assert seen.max().item() <= 1 + 1e-4


def test_pixels_in_columns_are_moved_by_what_they_show_not_by_how_each_is_scaled() -> None:
    levels = np.random.default_rng(2).uniform(0, 16, (300, 12)) * np.linspace(0.8, 1, 12)
    columns = {f"p{number}": NumberColumn(levels[:, number]) for number in range(12)}
    inputs = [InputColumn(name, ColumnType.FLOAT) for name in columns]
    features = fit(inputs, Preprocessing(), summarized(inputs, columns))
    rows = torch.from_numpy(features.transform(columns))
    config = network({**CNN, "image": {"channels": 1, "height": 3, "width": 4}}, features.layout)
    augmentation = image_augmentation(ImageAugmentation(horizontal_flip=1.0), config, features, Rows(rows, ()))
    assert augmentation is not None
    mirrored = levels.reshape(300, 3, 4)[:, :, ::-1].reshape(300, 12)
    within = np.clip(mirrored, levels.min(axis=0), levels.max(axis=0))  # no pixel goes where it never was
    expected = features.transform({f"p{number}": NumberColumn(within[:, number]) for number in range(12)})
    result = augmentation(rows, torch.Generator().manual_seed(0))
    torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)
    (warning,) = augmentation.warnings
    assert "numeric_encoding PASS_THROUGH leaves all pixels on one scale" in warning
    # The brightest pixel of the training rows is white: brightness can't go beyond it.
    brighter = image_augmentation(ImageAugmentation(brightness=1.0), config, features, Rows(rows, ()))
    assert brighter is not None
    assert brighter.warnings == ()
    made = brighter(rows, torch.Generator().manual_seed(0)).double().numpy()
    scales, shifts = (
        np.array([getattr(each.encoding, name) for each in features.columns]) for name in ("scale", "shift")
    )
    assert (made / scales + shifts).max() == pytest.approx(levels.max(), rel=1e-4)


def test_a_trial_with_changes_that_its_model_has_no_images_for_is_refused_too() -> None:
    columns = {f"p{at}": NumberColumn(np.arange(3.0)) for at in range(16)}
    inputs = [InputColumn(name, ColumnType.FLOAT) for name in columns]
    features = fit(inputs, Preprocessing(), summarized(inputs, columns))
    with pytest.raises(InvalidArgument, match="this model sees none"):
        image_augmentation(ImageAugmentation(brightness=0.1), network(MLP, features.layout), features, Rows(ZEROS, ()))


def test_pixels_in_columns_of_one_scale_move_freely() -> None:
    images = ramp(1, 3, 4, count=50).clone()
    images[:, :, :, 0] = 0  # where no image has anything
    columns = {f"p{at}": NumberColumn(16 * images.flatten(1)[:, at].double().numpy()) for at in range(12)}
    preprocessing = Preprocessing(numeric_encoding=Encoding.PASS_THROUGH)
    inputs = [InputColumn(name, ColumnType.FLOAT) for name in columns]
    features = fit(inputs, preprocessing, summarized(inputs, columns))
    rows = torch.from_numpy(features.transform(columns))
    config = network({**CNN, "image": {"channels": 1, "height": 3, "width": 4}}, features.layout)
    augmentation = image_augmentation(ImageAugmentation(horizontal_flip=1.0), config, features, Rows(rows, ()))
    assert augmentation is not None
    assert augmentation.warnings == ()
    result = augmentation(rows, torch.Generator().manual_seed(0)).view_as(images)
    assert torch.equal(result, rows.view_as(images).flip(3))


def network(architecture: dict[str, Any], layout: FeatureLayout) -> ModelConfig:
    specification = ModelSpecification.model_validate({"architecture": architecture})
    return ModelConfig(specification=specification, layout=layout, outputs=2)


IMAGE = ImageShape(channels=1, height=4, width=4)
GRAPH_NODES = [
    {"id": "flat", "inputs": ["input"], "operation": {"op": "flatten"}},
    {"id": "head", "inputs": ["flat"], "operation": {"op": "linear", "in_features": 16, "out_features": 2}},
]


def graph(*input_shape: int) -> dict[str, Any]:
    return {"kind": "torch_graph", "input_shape": list(input_shape), "nodes": GRAPH_NODES, "output": "head"}


@pytest.mark.parametrize(
    ("architecture", "layout", "columns"),
    [
        (MLP, FeatureLayout(dense=17, image=IMAGE), 2),
        (CNN, FeatureLayout(dense=16, image=IMAGE), 1),
        ({**CNN, "image": IMAGE.model_dump()}, FeatureLayout(dense=16), 16),
        (graph(1, 4, 4), FeatureLayout(dense=16), 16),
    ],
)
def test_whatever_sees_images_may_have_them_changed(
    architecture: dict[str, Any], layout: FeatureLayout, columns: int
) -> None:
    check_augmentation(ImageAugmentation(horizontal_flip=0.5), network(architecture, layout), columns)
    with pytest.raises(InvalidArgument, match="of 3 channels, and those of this model are 1x4x4") as caught:
        check_augmentation(ImageAugmentation(saturation=0.1), network(architecture, layout), columns)
    assert caught.value.violations[0].field == "training_job.plan.augmentation.saturation"


@pytest.mark.parametrize(
    ("architecture", "layout", "columns"),
    [
        (MLP, FeatureLayout(dense=16), 16),
        (graph(16), FeatureLayout(dense=16), 16),
        # Some features are those of categories.
        ({**CNN, "image": IMAGE.model_dump()}, FeatureLayout(dense=16), 3),
        (graph(1, 4, 4), FeatureLayout(dense=14, embeddings=(EmbeddingColumn(name="c", categories=9, dim=2),)), 3),
    ],
)
def test_a_model_without_images_is_refused(architecture: dict[str, Any], layout: FeatureLayout, columns: int) -> None:
    with pytest.raises(InvalidArgument, match="this model sees none: leave it out") as caught:
        check_augmentation(ImageAugmentation(crop_padding=1), network(architecture, layout), columns)
    assert caught.value.violations[0].field == "training_job.plan.augmentation"
    check_augmentation(ImageAugmentation(), network(architecture, layout), columns)
