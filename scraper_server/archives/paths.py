"""The paths of an archive's members: which are safe, and which are not worth a look."""

import re
from pathlib import PurePosixPath

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
# What operating systems put into folders, and nobody means.
_JUNK_FOLDERS = frozenset({"__MACOSX"})
_JUNK_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def why_unsafe(name: str) -> str:
    """What is wrong with a member's name as the archive has it; empty if it stays in its folder."""
    if _CONTROL.search(name):
        return "has control characters"
    if "\\" in name:
        return "has a backslash"
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    if ".." in name.split("/"):
        return "leaves its folder"
    return "" if PurePosixPath(name).parts else "is empty"


def is_junk(path: str) -> bool:
    """Whether a member is a leftover of an operating system."""
    parts = PurePosixPath(path).parts
    return parts[0] in _JUNK_FOLDERS or parts[-1] in _JUNK_FILES or parts[-1].startswith("._")


def shown(name: str) -> str:
    """A name as messages show it."""
    return repr(name if len(name) <= 100 else name[:99] + "\N{HORIZONTAL ELLIPSIS}")
