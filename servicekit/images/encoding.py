"""Pixels become an encoded image again, to be looked at."""

from io import BytesIO

from PIL import Image

from servicekit.images.shape import ImageMode, ImageShape


def thumbnail_png(pixels: bytes, shape: ImageShape, side: int) -> bytes:
    """The image as PNG, neither side longer than `side` pixels."""
    mode = "RGB" if shape.mode is ImageMode.RGB else "L"
    image = Image.frombytes(mode, (shape.width, shape.height), pixels)
    image.thumbnail((side, side))
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()
