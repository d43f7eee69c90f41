"""Finds the image that a cell of a table of images names."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from scraper_server.archives.zip import Member


class ImagesByName:
    """The members of an archive, by the ends of their paths, with and without suffix."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._by_name: defaultdict[str, list[Member]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Member]] = defaultdict(list)
        for member in members:
            path = PurePosixPath(member.path)
            self._by_name[path.name].append(member)
            self._by_stem[path.stem].append(member)

    def find(self, text: str, folder: str = "") -> tuple[Member, ...]:
        """The members that a cell may mean, best one first in doubt; none, one, or several.

        `images/7.png` means any `.../images/7.png`, `7` any `.../7.png`. Of several the one that lies at just this path
        under `folder`, where the table lies, is meant.
        """
        wanted = "/".join(part for part in text.strip().replace("\\", "/").split("/") if part not in ("", ".", ".."))
        name = wanted.rpartition("/")[2]
        found = [each for each in self._by_name.get(name, ()) if _ends(each.path, wanted)]
        found = found or [each for each in self._by_stem.get(name, ()) if _ends(_without_suffix(each.path), wanted)]
        here = f"{folder}/{wanted}" if folder else wanted
        exact = [each for each in found if here in (each.path, _without_suffix(each.path))]
        return tuple(exact or found)


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f"/{end}")


def _without_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
