"""What the folders of an image say of it: its class, and its part of a split that somebody made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

# As in train, Training, test_set, seg_train, asl-alphabet-test. The values are those that views take for their parts.
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_PART = re.compile(rf"(?:^|.*[_-])({'|'.join(_PARTS)})(?:[_-].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Placed:
    """An image's class, None if no folder is a class; and its part, None if no folder is one."""

    label: str | None
    part: str | None


def placed(paths: Sequence[str]) -> list[Placed]:
    """What the folders of each image say. The class is the folder that holds the image.

    Folders of parts lie above those of classes (`train/cat/1.png`). One that holds all images, as the archive's own
    root may be called `train`, says nothing.
    """
    found = [_placed(path) for path in paths]
    if len({each.part for each in found}) == 1:
        return [Placed(each.label, None) for each in found]
    return found


def _placed(path: str) -> Placed:
    folders = PurePosixPath(path).parts[:-1]
    parts = [part for folder in folders if (part := _part_of(folder)) is not None]
    label = folders[-1] if folders and _part_of(folders[-1]) is None else None
    return Placed(label, parts[0] if parts else None)


def _part_of(folder: str) -> str | None:
    match = _PART.fullmatch(folder)
    return _PARTS[match[1].lower()] if match else None
