"""Images of a request, made like those of training."""

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import ImageColumn
from ml_server.prediction.raw import EncodedImages, PixelImages, RawColumn, invalid_value
from servicekit.errors import Reason, ResourceExhausted
from servicekit.images.decoding import BrokenImage, ImageDecoder
from servicekit.images.shape import ImageShape

# A message of 16 MiB holds 200,000 empty images, which would take gigabytes once they are decoded.
MAX_DECODED_BYTES = 128 << 20


def image_column(name: str, shape: ImageShape, raw: RawColumn, decoder: ImageDecoder) -> ImageColumn:
    """The images of a column, decoded and resized as those of training were when their data set was imported.

    Raises:
        InvalidArgument: VALUE_INVALID, with the row, for a value that is missing, or no image, or a broken one.
        ResourceExhausted: LIMIT_EXCEEDED, if there are too many.
    """
    if len(raw) * shape.size_bytes > MAX_DECODED_BYTES:
        most = MAX_DECODED_BYTES // shape.size_bytes
        message = f"column '{name}': {len(raw)} images of {shape} are more than {most}: send fewer in a request"
        raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message, field="inputs", column=name)
    if raw.missing:
        raise invalid_value(name, min(raw.missing), "is missing, and a model can't do without the image: give one")
    if isinstance(raw.values, PixelImages):
        return ImageColumn([raw.values.values])
    pixels: NDArray[np.uint8] = np.empty((len(raw), shape.size_bytes), np.uint8)
    for row, encoded in enumerate(_encoded(name, raw)):
        try:
            pixels[row] = np.frombuffer(decoder.decode(encoded, shape).pixels, np.uint8)
        except BrokenImage as error:
            raise invalid_value(name, row, f"is no image that can be taken: {error}") from error
    return ImageColumn([pixels])


def _encoded(name: str, raw: RawColumn) -> Sequence[bytes]:
    if isinstance(raw.values, EncodedImages):
        return raw.values.values
    if isinstance(raw.values, np.ndarray | PixelImages):
        raise invalid_value(name, 0, "is a number, and the column is IMAGE: send an encoded image, such as PNG or JPEG")
    return [_from_base64(name, row, text) for row, text in enumerate(raw.values)]


def _from_base64(name: str, row: int, text: str) -> bytes:
    """Takes the address that a browser makes of an image (`data:image/png;base64,...`) too."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        problem = f"is '{text[:40]}', which is no base64 of an encoded image ({error})"
        raise invalid_value(name, row, problem) from error
