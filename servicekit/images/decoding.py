"""Encoded images become pixels of one shape: at import and at prediction by the same code."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from servicekit.images.memory import PixelBudget
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape

# Formats of data sets whose readers need no other program. EPS, for one, would run Ghostscript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
# Transparent parts show the page that people see them on: a black drawing on nothing must not become all black.
BACKGROUND = "white"
_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)
_BITS_16 = ("I;16", "I;16L", "I;16B", "I;16N")
Image.init()
# The decoder holds the size in the header against a limit of its own, before anything of that size is made.
Image.MAX_IMAGE_PIXELS = None


class BrokenImage(Exception):
    """Bytes that are no image which can be taken; the text says why."""


@dataclass(frozen=True)
class DecodedImage:
    """Pixels of the shape asked for, rows from the top, channels together; and the size before, as it is looked at."""

    pixels: bytes
    height: int
    width: int


class ImageDecoder:
    """Decodes images in as many threads as use it, in bounded memory."""

    def __init__(self, max_pixels: int) -> None:
        """`max_pixels` is what one image may have before it is resized."""
        self._max_pixels = max_pixels
        self._budget = PixelBudget()

    def decode(self, encoded: bytes, shape: ImageShape) -> DecodedImage:
        """Decodes an image and makes it fit `shape`. Of several frames the first is taken.

        The orientation that EXIF tells is applied, transparent parts become white, 16 bits a channel become 8.

        Raises:
            BrokenImage: It has too many pixels, is cut short, or is no image.
        """
        with _open(encoded) as image:
            width, height = image.size
            if width * height > self._max_pixels:
                text = f"{height} x {width} pixels are more than the {self._max_pixels} that this server takes"
                raise BrokenImage(f"{text} (IMAGE_TOO_LARGE)")
            if image.format in ("JPEG", "MPO"):
                # Only as much of it is decoded as is needed, with some to spare for the resizing and for a turn.
                side = 2 * max(shape.height, shape.width)
                image.draft(None, (side, side))
            with self._budget.taken(image.width * image.height):
                image.load()
                orientation = _orientation(image)  # now, since loading a TIFF has applied its own
                upright = _in_mode(image, shape.mode)
                if orientation in _TRANSPOSES:
                    upright = upright.transpose(_TRANSPOSES[orientation])
                if orientation in _TURNED:
                    height, width = width, height
                return DecodedImage(_fitted(upright, shape).tobytes(), height, width)


@contextmanager
def _open(encoded: bytes) -> Iterator[Image.Image]:
    """The image with its header read. Whatever goes wrong with it inside the block is a BrokenImage."""
    if not encoded:
        raise BrokenImage("it has no bytes")
    try:
        with Image.open(BytesIO(encoded), formats=FORMATS) as image:
            yield image
    except BrokenImage:
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage("it is no image of a known format, such as PNG or JPEG") from error
    except Exception as error:  # damaged bytes can fail in Pillow's readers in any way
        raise BrokenImage(f"it can't be decoded: {str(error) or type(error).__name__}") from error


def _orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF has it; 1 if it says nothing, or is damaged, which says nothing of the pixels."""
    with suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _in_mode(image: Image.Image, mode: ImageMode) -> Image.Image:
    if image.mode in _BITS_16:
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        raise BrokenImage("its pixels are 32-bit numbers, of which nobody says what is black and what white")
    if image.has_transparency_data:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", layer.size, BACKGROUND)
        image.paste(layer, mask=layer)
    wanted = "RGB" if mode is ImageMode.RGB else "L"
    return image if image.mode == wanted else image.convert(wanted)  # which would copy it


def _fitted(image: Image.Image, shape: ImageShape) -> Image.Image:
    size = (shape.width, shape.height)
    match shape.resizing:
        case ImageResizing.STRETCH:
            return image.resize(size, Image.Resampling.BILINEAR)
        case ImageResizing.CROP:
            return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        case ImageResizing.PAD:
            scale = min(shape.width / image.width, shape.height / image.height)
            inner = image.resize(
                (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR
            )
            padded = Image.new(image.mode, size)  # black
            padded.paste(inner, ((shape.width - inner.width) // 2, (shape.height - inner.height) // 2))
            return padded
