"""Which members of an archive are images, and which are tables of them; by their names alone."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from scraper_server.archives.zip import Member

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".jp2", ".avif", ".ico"}
)
TABLE_SUFFIXES = frozenset({".csv", ".tsv"})


def images_of(members: Iterable[Member]) -> Sequence[Member]:
    """The members that are called like images, by path: equal archives give equal tables, in whatever order packed."""
    return sorted((each for each in members if _suffix(each) in IMAGE_SUFFIXES), key=lambda each: each.path)


def tables_of(members: Iterable[Member]) -> Sequence[Member]:
    """The members that are called like tables."""
    return sorted((each for each in members if _suffix(each) in TABLE_SUFFIXES), key=lambda each: each.path)


def holds_images(members: Sequence[Member]) -> bool:
    """True for an archive of images: more than half of its members are called so."""
    return 2 * len(images_of(members)) > len(members)


def _suffix(member: Member) -> str:
    return PurePosixPath(member.path).suffix.lower()
