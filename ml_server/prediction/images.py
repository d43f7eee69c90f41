"""Images of a request, made like those of training."""

import base64
import binascii
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import ImageColumn
from ml_server.prediction.raw import EncodedImages, PixelImages, RawColumn
from ml_server.prediction.row_faults import Faults
from servicekit.errors import Reason, ResourceExhausted
from servicekit.images.decoding import BrokenImage, ImageDecoder
from servicekit.images.shape import ImageShape

# A message of 16 MiB holds 200,000 empty images, which would take gigabytes once they are decoded.
MAX_DECODED_BYTES = 128 << 20


def image_column(name: str, shape: ImageShape, raw: RawColumn, decoder: ImageDecoder, faults: Faults) -> ImageColumn:
    """The images of a column, decoded and resized as those of training were when their data set was imported.

    A value that is missing, or no image, or a broken one, is a fault.

    Raises:
        InvalidArgument: VALUE_INVALID, if a fault refuses the request.
        ResourceExhausted: LIMIT_EXCEEDED, if there are too many.
    """
    if len(raw) * shape.size_bytes > MAX_DECODED_BYTES:
        most = MAX_DECODED_BYTES // shape.size_bytes
        message = f"column '{name}': {len(raw)} images of {shape} are more than {most}: send fewer in a request"
        raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message, field="inputs", column=name)
    for row in sorted(raw.missing):
        faults.found(name, row, "is missing, and a model can't do without the image: give one")
    if isinstance(raw.values, PixelImages):
        return ImageColumn([raw.values.values])
    pixels: NDArray[np.uint8] = np.empty((len(raw), shape.size_bytes), np.uint8)
    for row, encoded in _encoded(name, raw, faults):
        try:
            pixels[row] = np.frombuffer(decoder.decode(encoded, shape).pixels, np.uint8)
        except BrokenImage as error:
            faults.found(name, row, f"is no image that can be taken: {error}")
    return ImageColumn([pixels])


def _encoded(name: str, raw: RawColumn, faults: Faults) -> Iterator[tuple[int, bytes]]:
    """The encoded images of the rows that have one."""
    for row in range(len(raw)):
        if row in raw.missing:
            continue
        if isinstance(raw.values, EncodedImages):
            yield row, raw.values.values[row]
        elif isinstance(raw.values, np.ndarray | PixelImages):
            faults.found(name, row, "is a number, and the column is IMAGE: send an encoded image, such as PNG or JPEG")
        elif encoded := _from_base64(name, row, raw.values[row], faults):
            yield row, encoded


def _from_base64(name: str, row: int, text: str, faults: Faults) -> bytes | None:
    """Takes the address that a browser makes of an image (`data:image/png;base64,...`) too; None for a fault."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        faults.found(name, row, f"is '{text[:40]}', which is no base64 of an encoded image ({error})")
        return None
