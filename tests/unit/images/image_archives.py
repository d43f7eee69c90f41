"""Archives of small images for tests."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image


def png(level: int = 0, height: int = 4, width: int = 4, mode: str = "L") -> bytes:
    """An image of one level everywhere."""
    sink = BytesIO()
    Image.new(mode, (width, height), level if mode == "L" else (level, level, level)).save(sink, "PNG")
    return sink.getvalue()


def packed(path: Path, members: Mapping[str, bytes]) -> Path:
    """A ZIP archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
