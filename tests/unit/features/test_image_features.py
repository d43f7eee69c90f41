"""Image columns as features, in training and in prediction alike."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ml_server.features.columns import Column, ColumnType, ImageColumn, NumberColumn, arrow_column
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import InputColumn, expected_layout, fit
from ml_server.networks.kinds import Encoding
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.shapes import check_shapes
from ml_server.networks.specification import ColumnEncoding, ModelSpecification, Preprocessing
from ml_server.prediction import images as prediction_images
from ml_server.prediction.inputs import columns_of
from ml_server.prediction.raw import EncodedImages, RawColumn
from servicekit.errors import FlareError, InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape
from tests.summarized import summarized

SHAPE = ImageShape(2, 3, ImageMode.RGB)
IMAGE = InputColumn("image", ColumnType.IMAGE, image=SHAPE)
AGE = InputColumn("age", ColumnType.FLOAT, fill="0")
DECODER = ImageDecoder(max_pixels=1000)

Pixels = NDArray[np.uint8]


def random_images(count: int, seed: int = 0) -> Pixels:
    """(count, height, width, channels)"""
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 3, 3), dtype=np.uint8)


def streamed(images: Pixels, chunk: int = 2) -> ImageColumn:
    """The images as a view streams them, in several batches."""
    flat = pa.array([each.tobytes() for each in images], pa.binary(SHAPE.size_bytes))
    chunks = [flat.slice(start, chunk) for start in range(0, len(flat), chunk)]
    column = arrow_column(pa.chunked_array(chunks), ColumnType.IMAGE)
    assert isinstance(column, ImageColumn)
    return column


def fitted(images: Pixels, encoding: Encoding | None = None) -> FittedFeatures:
    asked = (ColumnEncoding(column="image", encoding=encoding),) if encoding else ()
    return fit([IMAGE], Preprocessing(columns=asked), summarized([IMAGE], {"image": streamed(images)}))


def png(pixels: Pixels) -> bytes:
    sink = BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def specification(**architecture: Any) -> ModelSpecification:
    return ModelSpecification.model_validate({"architecture": architecture})


def cnn(image: dict[str, int] | None = None) -> ModelSpecification:
    return specification(kind="cnn", image=image, blocks=[{"out_channels": 4}])


def test_images_become_channels_by_height_by_width_standardised_by_channel() -> None:
    images = random_images(7)
    features = fitted(images).transform({"image": streamed(images)}).reshape(7, 3, 2, 3)
    expected = images.transpose(0, 3, 1, 2).astype(np.float64)
    expected = (expected - expected.mean((0, 2, 3), keepdims=True)) / expected.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_images_scale_to_0_to_1_or_stay_as_they_are() -> None:
    images = random_images(3)
    as_channels = images.transpose(0, 3, 1, 2).reshape(3, 18).astype(np.float32)
    column = {"image": streamed(images)}
    np.testing.assert_allclose(fitted(images, Encoding.MIN_MAX).transform(column), as_channels / 255, rtol=1e-6)
    np.testing.assert_array_equal(fitted(images, Encoding.PASS_THROUGH).transform(column), as_channels)


def test_a_constant_channel_becomes_zero() -> None:
    images = random_images(3)
    images[..., 1] = 9
    features = fitted(images).transform({"image": streamed(images)}).reshape(3, 3, 6)
    assert (features[:, 1] == 0).all()
    assert np.isfinite(features).all()


def test_chunks_of_rows_give_what_all_rows_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(11)
    features = fitted(images)
    at_once = features.transform({"image": streamed(images, chunk=11)})
    monkeypatch.setattr("ml_server.features.features.CHUNK_FEATURES", 3 * 18)
    np.testing.assert_array_equal(features.transform({"image": streamed(images, chunk=4)}), at_once)


def test_encoded_images_of_a_request_become_the_features_of_training() -> None:
    images = random_images(4)
    stored = FittedFeatures.model_validate_json(fitted(images).model_dump_json())
    trained = stored.transform({"image": streamed(images)})
    files = [png(each) for each in images]
    texts = [base64.b64encode(each).decode() for each in files]
    links = [f"data:image/png;base64,{text}" for text in texts]
    for values in (EncodedImages(files), texts, links):
        columns = columns_of(stored, {"image": RawColumn(values)}, DECODER)
        np.testing.assert_array_equal(stored.transform(columns), trained)


def test_a_request_is_resized_as_its_data_set_was() -> None:
    shape = ImageShape(2, 2, ImageMode.GRAYSCALE, ImageResizing.CROP)
    column = InputColumn("image", ColumnType.IMAGE, image=shape)
    train = {"image": ImageColumn([np.zeros((2, 4), np.uint8)])}
    asked = Preprocessing(columns=(ColumnEncoding(column="image", encoding=Encoding.PASS_THROUGH),))
    features = fit([column], asked, summarized([column], train))
    wide = np.array([[1, 2, 2, 3]] * 2, np.uint8)
    columns = columns_of(features, {"image": RawColumn(EncodedImages([png(wide)]))}, DECODER)
    assert features.transform(columns).tolist() == [[2, 2, 2, 2]]


GOOD = png(random_images(1)[0])
BAD_VALUES = {
    "broken": (RawColumn(EncodedImages([GOOD, GOOD[:60]])), "column 'image', row 1: the value is no image"),
    "no image": (RawColumn(EncodedImages([b"hello"])), "row 0: the value is no image that can be taken: it is no"),
    "bomb": (RawColumn(EncodedImages([png(np.zeros((50, 50), np.uint8))])), "50 x 50 pixels are more than the 1000"),
    "no base64": (RawColumn(["?"]), "row 0: the value is '?', which is no base64"),
    "number": (RawColumn(np.array([1.0])), "the value is a number, and the column is IMAGE"),
    "missing": (RawColumn(EncodedImages([GOOD, b""]), frozenset([1])), "row 1: the value is missing"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_value_that_is_no_image_is_named_with_its_row(case: str) -> None:
    raw, message = BAD_VALUES[case]
    with pytest.raises(InvalidArgument) as caught:
        columns_of(fitted(random_images(3)), {"image": raw}, DECODER)
    assert caught.value.reason is Reason.VALUE_INVALID
    assert message in caught.value.message


def test_an_image_for_a_column_of_numbers_is_refused() -> None:
    features = fit([AGE], Preprocessing(), summarized([AGE], {"age": NumberColumn(np.array([1.0, 2.0]))}))
    with pytest.raises(InvalidArgument, match="'age', row 0: the value is an image, and the column is FLOAT"):
        columns_of(features, {"age": RawColumn(EncodedImages([GOOD]))}, DECODER)


def test_more_images_than_memory_is_set_aside_for_are_refused_before_any_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prediction_images, "MAX_DECODED_BYTES", 2 * SHAPE.size_bytes)
    with pytest.raises(FlareError, match="3 images of 2x3 rgb are more than 2") as caught:
        columns_of(fitted(random_images(3)), {"image": RawColumn(EncodedImages([b""] * 3))}, DECODER)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_a_cnn_without_an_image_takes_that_of_the_column() -> None:
    features = fitted(random_images(3))
    layout = expected_layout([IMAGE], Preprocessing())
    assert layout == features.layout
    assert check_shapes(cnn(), layout, 2).feature_count == 18
    model = build_model(ModelConfig(specification=cnn(), layout=layout, outputs=2))
    assert model(torch.zeros(5, 18)).shape == (5, 2)
    same = cnn({"channels": 3, "height": 2, "width": 3})
    assert check_shapes(same, layout, 2) == check_shapes(cnn(), layout, 2)


def test_a_cnn_without_an_image_and_without_a_view_can_be_made() -> None:
    assert check_shapes(cnn()).feature_count == 1


FLATTEN = {"id": "flat", "inputs": ["input"], "operation": {"op": "flatten"}}
REFUSED = {
    "turned": (cnn({"channels": 3, "height": 3, "width": 2}), [IMAGE], Reason.IMAGE_SIZE_MISMATCH, "holds, 3x2x3"),
    "numbers beside": (cnn(), [IMAGE, AGE], Reason.COLUMN_UNSUPPORTED, "1 features of other columns"),
    "no image": (cnn(), [AGE], Reason.IMAGE_SIZE_MISMATCH, "the view has no image column but 1 features"),
    "last channel": (
        specification(kind="torch_graph", input_shape=[2, 3, 3], nodes=[FLATTEN], output="flat"),
        [InputColumn("image", ColumnType.IMAGE, image=ImageShape(2, 3, ImageMode.RGB))],
        Reason.IMAGE_SIZE_MISMATCH,
        "set it to 3x2x3",
    ),
    "two images": (
        cnn(),
        [IMAGE, InputColumn("mask", ColumnType.IMAGE, image=SHAPE)],
        Reason.COLUMN_UNSUPPORTED,
        "2 image columns ('image', 'mask')",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_image_column_is_refused(case: str) -> None:
    given, inputs, reason, message = REFUSED[case]
    with pytest.raises(InvalidArgument) as caught:
        check_shapes(given, expected_layout(inputs, given.preprocessing), 2)
    assert caught.value.reason is reason
    assert message in caught.value.message


def test_a_perceptron_sees_images_and_numbers_in_the_order_of_the_view() -> None:
    images = random_images(3)
    columns: dict[str, Column] = {"image": streamed(images), "age": NumberColumn(np.array([1.0, 2.0, 3.0]))}
    features = fit([IMAGE, AGE], Preprocessing(), summarized([IMAGE, AGE], columns))
    assert features.layout == expected_layout([IMAGE, AGE], Preprocessing())
    made = features.transform(columns)
    np.testing.assert_array_equal(made[:, :18], fitted(images).transform({"image": streamed(images)}))
    assert check_shapes(specification(kind="mlp"), features.layout, 2).feature_count == 19


def test_an_image_has_no_encoding_of_categories() -> None:
    asked = Preprocessing(columns=(ColumnEncoding(column="image", encoding=Encoding.ONE_HOT),))
    with pytest.raises(InvalidArgument, match="'image' is IMAGE and can't be encoded by ONE_HOT: take STANDARDIZE"):
        expected_layout([IMAGE], asked)
