"""What encoded images become, pixel by pixel."""

import threading
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from servicekit.images.decoding import BrokenImage, DecodedImage, ImageDecoder
from servicekit.images.memory import PixelBudget
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape

MAX_PIXELS = 10_000
GRAY, RGB = ImageMode.GRAYSCALE, ImageMode.RGB


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def gray(*rows: bytes) -> Image.Image:
    return Image.frombytes("L", (len(rows[0]), len(rows)), b"".join(rows))


def decoded(
    given: bytes | Image.Image, height: int, width: int, mode: ImageMode = GRAY, how: ImageResizing | None = None
) -> DecodedImage:
    data = given if isinstance(given, bytes) else encoded(given)
    return ImageDecoder(MAX_PIXELS).decode(data, ImageShape(height, width, mode, how or ImageResizing.STRETCH))


def test_pixels_come_row_by_row_with_their_channels_together() -> None:
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    assert decoded(image, 1, 2, RGB) == DecodedImage(bytes([1, 2, 3, 4, 5, 6]), 1, 2)
    assert decoded(gray(b"\x01\x02", b"\x03\x04"), 2, 2).pixels == b"\x01\x02\x03\x04"


# Where the four corners a b / c d of the file stand once an orientation of EXIF is applied.
ORIENTED = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_orientation_of_exif_is_applied(orientation: int, kind: str) -> None:
    image = gray(b"aaabbb", b"cccddd")
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = decoded(encoded(image, kind, exif=exif), 2, 2)
    assert got.pixels == ORIENTED[orientation].encode()
    assert (got.height, got.width) == ((6, 2) if orientation >= 5 else (2, 6))


def test_a_damaged_exif_block_says_nothing_of_the_orientation() -> None:
    data = encoded(gray(b"ab"), exif=b"Exif\x00\x00garbage that is no TIFF header")
    assert decoded(data, 1, 2).pixels == b"ab"


def test_stretching_crops_nothing_cropping_keeps_the_middle_and_padding_fills_with_black() -> None:
    wide = gray(b"\x10\x20\x20\x30", b"\x10\x20\x20\x30")
    assert decoded(wide, 2, 2, how=ImageResizing.CROP).pixels == b"\x20\x20\x20\x20"
    assert decoded(gray(b"\x50" * 4, b"\x50" * 4), 4, 4, how=ImageResizing.PAD).pixels == (
        b"\x00" * 4 + b"\x50" * 8 + b"\x00" * 4
    )
    assert decoded(gray(b"\x50\x50"), 2, 2, how=ImageResizing.STRETCH).pixels == b"\x50" * 4


def test_padding_leaves_a_pixel_of_the_thinnest_image() -> None:
    assert decoded(Image.new("L", (1, 5000), 7), 3, 3, how=ImageResizing.PAD).pixels == b"\0\x07\0" * 3


def test_transparent_parts_become_white_and_palettes_become_colours() -> None:
    black_on_nothing = Image.new("LA", (2, 1), (0, 0))
    black_on_nothing.putpixel((1, 0), (0, 255))
    assert decoded(black_on_nothing, 1, 2).pixels == b"\xff\x00"
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert decoded(palette, 1, 2, RGB).pixels == bytes([9, 9, 9, 0, 255, 0])
    assert decoded(encoded(palette, transparency=0), 1, 2, RGB).pixels == bytes([255, 255, 255, 0, 255, 0])


def test_sixteen_bits_become_eight_and_cmyk_becomes_rgb() -> None:
    deep = Image.new("I;16", (3, 1))
    for place, value in enumerate((65535, 256, 255)):
        deep.putpixel((place, 0), value)
    assert decoded(deep, 1, 3).pixels == bytes([255, 1, 0])
    ink = encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "TIFF")
    assert decoded(ink, 1, 1, RGB).pixels == b"\0\0\0"


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [gray(bytes([value])) for value in (255, 0)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(data, 1, 1).pixels == b"\xff"


def test_a_jpeg_is_as_large_in_the_statistics_as_it_is_though_less_of_it_is_decoded() -> None:
    got = decoded(encoded(Image.new("L", (96, 80), 200), "JPEG"), 4, 4)
    assert (got.height, got.width) == (80, 96)
    assert got.pixels == b"\xc8" * 16


NOISE = Image.effect_noise((40, 40), 100)
BROKEN = {
    "nothing": (b"", "no bytes"),
    "text": (b"path,label\n", "no image of a known format"),
    "html": (b"<html>not found</html>", "no image of a known format"),
    "png cut short": (encoded(NOISE)[:300], "can't be decoded"),
    "jpeg cut short": (encoded(NOISE, "JPEG")[:500], "can't be decoded"),
    "head of a png alone": (encoded(NOISE)[:33], "no image of a known format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image of a known format"),
    "bomb": (encoded(Image.new("1", (101, 100))), "10000 that this server takes (IMAGE_TOO_LARGE)"),
    "floats": (encoded(Image.new("F", (2, 2)), "TIFF"), "32-bit"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_images_are_told_with_why(case: str) -> None:
    data, why = BROKEN[case]
    with pytest.raises(BrokenImage) as caught:
        decoded(data, 4, 4)
    assert why in str(caught.value)


def test_a_bomb_is_refused_by_its_header_before_its_pixels_are_made() -> None:
    header = encoded(Image.new("1", (1, 1)))
    huge = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]  # 3.6 billion pixels, and a checksum that is off
    with pytest.raises(BrokenImage):
        decoded(huge, 1, 1)
    gif = b"GIF89a" + (60_000).to_bytes(2, "little") * 2 + b"\x00\x00\x00" + b"\x2c" + b"\x00" * 4
    gif += (60_000).to_bytes(2, "little") * 2 + b"\x00\x02\x00"
    with pytest.raises(BrokenImage, match="60000 x 60000 pixels"):
        decoded(gif, 1, 1)


def test_the_pixels_of_all_threads_stay_within_the_budget_and_a_larger_image_goes_alone() -> None:
    budget = PixelBudget(100)
    running, peaks = [0], []

    def use(pixels: int) -> None:
        with budget.taken(pixels):
            running[0] += min(pixels, 100)
            peaks.append(running[0])
            running[0] -= min(pixels, 100)

    threads = [threading.Thread(target=use, args=(pixels,)) for pixels in (60, 60, 500, 40, 60, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(peaks) == len(threads)
    assert max(peaks) <= 100
