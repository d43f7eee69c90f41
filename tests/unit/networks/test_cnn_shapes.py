"""What a convolutional network says about an image, or blocks, that do not fit."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_server.networks.feature_layout import FeatureLayout
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.shapes import check_shapes
from ml_server.networks.specification import ModelSpecification
from servicekit.errors import InvalidArgument, Reason


def cnn(image: tuple[int, int, int], *blocks: dict[str, Any], **more: Any) -> ModelSpecification:
    channels, height, width = image
    architecture = {
        "kind": "cnn",
        "image": {"channels": channels, "height": height, "width": width},
        "blocks": blocks,
        **more,
    }
    return ModelSpecification.model_validate({"architecture": architecture})


def test_image_of_another_size_than_the_columns() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(cnn((3, 32, 32), {"out_channels": 4}), FeatureLayout(dense=64), 10)
    assert caught.value.reason is Reason.IMAGE_SIZE_MISMATCH
    assert caught.value.violations[0].field == "specification.cnn.image"
    assert "image 3x32x32 needs 3072 input features but the view gives 64" in caught.value.message


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        ({"out_channels": 9, "kernel_size": 5, "padding": 0}, "the convolution window is 5x5 with padding 0"),
        ({"out_channels": 9, "pooling": "max", "stride": 2}, "leaves 1x1 and the pooling window is 2x2"),
    ],
)
def test_block_that_shrinks_its_map_to_nothing(last: dict[str, Any], cause: str) -> None:
    halving = {"out_channels": 7, "pooling": "max"}
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(cnn((1, 16, 16), halving, halving, halving, last), FeatureLayout(dense=256), 10)
    assert caught.value.reason is Reason.FEATURE_MAP_VANISHED
    assert caught.value.violations[0].field == "specification.cnn.blocks[3]"
    assert "blocks[3] shrinks its feature map to nothing: the map before it is 7x2x2" in caught.value.message
    assert cause in caught.value.message


def test_blocks_are_checked_without_a_view() -> None:
    with pytest.raises(InvalidArgument):
        check_shapes(cnn((1, 2, 2), {"out_channels": 1, "kernel_size": 5, "padding": 0}))
    assert check_shapes(cnn((1, 2, 2), {"out_channels": 1})).feature_count == 4


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_widths_beyond_any_memory(normalization: str) -> None:
    wide = {"hidden_units": [65536] * 100, "normalization": normalization}
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(cnn((1, 16, 16), {"out_channels": 65536}, head=wide), max_parameters=10**8)
    assert caught.value.reason is Reason.MODEL_TOO_LARGE
    assert "100,000,000" in caught.value.message


BLOCKS = st.lists(
    st.fixed_dictionaries(
        {
            "out_channels": st.integers(1, 3),
            "kernel_size": st.integers(1, 5),
            "stride": st.integers(1, 3),
            "padding": st.none() | st.integers(0, 3),
            "pooling": st.none() | st.sampled_from(["max", "average"]),
            "pooling_size": st.integers(1, 3),
        }
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)), BLOCKS, st.booleans())
def test_the_sizes_by_rule_are_those_of_torch(
    image: tuple[int, int, int], blocks: list[dict[str, Any]], averaged: bool
) -> None:
    """A specification that passes builds and runs; one that is refused is refused for its map, never by torch."""
    specification = cnn(image, *blocks, global_average_pooling=averaged)
    channels, height, width = image
    layout = FeatureLayout(dense=channels * height * width)
    try:
        size = check_shapes(specification, layout, 2)
    except InvalidArgument as error:
        refusal: Reason | None = error.reason
    else:
        refusal = None
        model = build_model(ModelConfig(specification=specification, layout=layout, outputs=2))
        assert model.eval()(torch.rand(2, layout.columns)).shape == (2, 2)
        assert model.parameter_count == size.parameter_count
    assert refusal in (None, Reason.FEATURE_MAP_VANISHED)
