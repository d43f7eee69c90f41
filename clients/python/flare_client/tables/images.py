"""Images as cells: files, bytes, PIL images and arrays go out as encoded images; pixels come in as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare.scraper.v1 import dataset_pb2

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

# Far below the message limit of 16 MiB, and below what the service decodes for one request.
REQUEST_BYTES = 8 << 20
REQUEST_IMAGES = 32


def encoded_image(value: Any) -> bytes | None:
    """The bytes of an encoded image; None if the value is none. PIL images and arrays become PNG.

    An array holds uint8: (height, width), or (height, width, channels) with 1, 3 or 4 channels.

    Raises:
        OSError: The file can't be read.
        ValueError: An array is of another kind.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, PathLike):
        return Path(value).read_bytes()
    if hasattr(value, "__array_interface__") and getattr(value, "ndim", 0) > 1:
        return _png(_from_array(value))
    if hasattr(value, "save") and hasattr(value, "getbands"):  # a PIL image, without importing Pillow to find out
        return _png(value)
    return None


def parts(columns: Mapping[str, Any], row_count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows that go into one request each: the first of them, and their columns, with images encoded.

    Raises as `encoded_image`.
    """
    start, size = 0, 0
    waiting: dict[str, list[Any]] = {name: [] for name in columns}
    cells = {name: list(values) for name, values in columns.items()}
    for row in range(row_count):
        encoded = {name: encoded_image(values[row]) for name, values in cells.items()}
        added = sum(len(image) for image in encoded.values() if image is not None)
        if row > start and (size + added > REQUEST_BYTES or row - start == REQUEST_IMAGES):
            yield start, _part(columns, waiting, start, row)
            start, size = row, 0
            waiting = {name: [] for name in columns}
        size += added
        for name, image in encoded.items():
            waiting[name].append(cells[name][row] if image is None else image)
    yield start, _part(columns, waiting, start, row_count)


def holds_images(values: Any) -> bool:
    """Whether the first cell with a value is an image, in a column of any form."""
    if getattr(getattr(values, "dtype", None), "kind", "O") != "O":
        return False
    present = next((value for value in values if value is not None and not isinstance(value, float)), None)
    is_array = hasattr(present, "__array_interface__") and getattr(present, "ndim", 0) > 1
    return is_array or isinstance(present, (bytes, bytearray, memoryview, PathLike)) or hasattr(present, "getbands")


def with_arrays(frame: pd.DataFrame, shapes: Mapping[str, dataset_pb2.ImageShape]) -> pd.DataFrame:
    """The frame with pixels as arrays (height, width) or (height, width, 3) where a column holds images."""
    import pandas as pd

    for name, shape in shapes.items():
        arrays = [None if pixels is None else _array(pixels, shape) for pixels in frame[name]]
        frame[name] = pd.Series(arrays, index=frame.index, dtype=object)
    return frame


def _part(columns: Mapping[str, Any], encoded: Mapping[str, list[Any]], start: int, end: int) -> dict[str, Any]:
    """Columns without any image stay as they are, types included."""
    return {
        name: encoded[name] if any(isinstance(cell, bytes) for cell in encoded[name]) else values[start:end]
        for name, values in columns.items()
    }


def _array(pixels: bytes, shape: dataset_pb2.ImageShape) -> npt.NDArray[np.uint8]:
    import numpy as np

    is_gray = shape.mode == dataset_pb2.IMAGE_MODE_GRAYSCALE
    sizes = (shape.height, shape.width) if is_gray else (shape.height, shape.width, 3)
    return np.frombuffer(pixels, np.uint8).reshape(sizes)


def _from_array(array: Any) -> Any:
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if str(array.dtype) != "uint8" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(
            f"an array of an image holds uint8 as (height, width) or (height, width, 3), not {array.dtype} as "
            f"{tuple(array.shape)}"
        )
    return Image.fromarray(array)


def _png(image: Any) -> bytes:
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()
