"""What the images of a column are, and how others are made like them: equal at import and at prediction."""

from dataclasses import dataclass
from enum import StrEnum


class ImageMode(StrEnum):
    """What a pixel holds."""

    RGB = "rgb"
    GRAYSCALE = "grayscale"

    @property
    def channels(self) -> int:
        """Bytes of a pixel."""
        return 3 if self is ImageMode.RGB else 1


class ImageResizing(StrEnum):
    """How images of another shape are made to fit."""

    STRETCH = "stretch"
    CROP = "crop"
    PAD = "pad"


@dataclass(frozen=True)
class ImageShape:
    """What every image of a column is, and how it was made so; sizes in pixels."""

    height: int
    width: int
    mode: ImageMode
    resizing: ImageResizing = ImageResizing.STRETCH

    @property
    def size_bytes(self) -> int:
        """Bytes of an image: rows from the top, each pixel's channels together."""
        return self.height * self.width * self.mode.channels

    def __str__(self) -> str:
        return f"{self.height}x{self.width} {self.mode.value}"
