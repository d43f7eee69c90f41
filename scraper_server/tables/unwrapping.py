"""Takes the table out of the archive or the compression that it came in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scraper_server.archives.compressed import Wrapping, decompress, wrapping_of
from scraper_server.archives.zip import Archive, Member, listed
from scraper_server.endings import TABLE_ENDINGS, TEXT_ENDINGS, ending_of, is_table, unwrapped_name
from scraper_server.limits import ArchiveLimits
from scraper_server.tables.formats import Compression
from scraper_server.tables.refusals import not_a_table
from servicekit.errors import InvalidArgument, Reason

BytesDone = Callable[[int], None]
COMPRESSION = {
    Wrapping.GZIP: Compression.GZIP,
    Wrapping.ZIP: Compression.ZIP,
    Wrapping.ZSTD: Compression.ZSTD,
}
OFFICE_DIRECTORY = "[Content_Types].xml"


@dataclass(frozen=True)
class Unwrapped:
    """A file that nothing wraps."""

    path: Path
    name: str
    """What messages call it, with the ending that tells its format."""
    compression: Compression = Compression.NONE
    member: str = ""
    """Which file of an archive it was."""


def unwrapped(
    source: Path,
    name: str,
    wanted_member: str,
    patterns: Sequence[str],
    limits: ArchiveLimits,
    directory: Path,
    done: BytesDone,
) -> Unwrapped:
    """The table in the file `source`, which its owner calls `name`: `source` itself if nothing wraps it.

    Of an archive it is the member `wanted_member` if that is not empty; else, among the members that fit one of the
    patterns (all, without patterns), the one that is called as the archive is, or else the only one that seems to be a
    table. A member may be compressed. What comes out is written into `directory`, under a name of ours. `done` takes
    the bytes of `source` that are done with.

    Raises:
        InvalidArgument: FILE_PART_NOT_FOUND; INVALID_FIELD if it is not clear which member is meant (the message lists
            them); ARCHIVE_UNSAFE; FILE_NOT_A_TABLE if it is damaged, holds no table, or an archive of archives.
        ResourceExhausted: TOO_MANY_ARCHIVE_ENTRIES, ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE.
    """
    wrapping = wrapping_of(source)
    if wrapping is Wrapping.ZIP:
        with Archive(source, name, limits) as archive:
            if not is_spreadsheet(archive):
                member = chosen_member(archive, name, wanted_member, patterns)
                path = directory / _own_name("member", member.path)
                archive.extract(member, path, done)
                return _plain_member(path, member, name, limits, directory)
    if wanted_member or patterns:
        asked = f"'{wanted_member}'" if wanted_member else ", ".join(f"'{pattern}'" for pattern in patterns)
        message = f"file '{name}' is no archive, so it has no file {asked}: leave that out"
        raise InvalidArgument(Reason.FILE_PART_NOT_FOUND, message, field="format.member")
    if wrapping in (None, Wrapping.ZIP):
        return Unwrapped(source, name)
    path = directory / _own_name("whole", name)
    decompress(source, name, wrapping, limits, path, done)
    _check_unwrapped(path, name, limits)
    return Unwrapped(path, unwrapped_name(name), COMPRESSION[wrapping])


def is_spreadsheet(archive: Archive) -> bool:
    """Whether an archive is itself a document, of Excel or OpenDocument."""
    paths = {member.path for member in archive.members}
    return OFFICE_DIRECTORY in paths or {"mimetype", "content.xml"} <= paths


def chosen_member(archive: Archive, name: str, wanted: str, patterns: Sequence[str]) -> Member:
    """The member that holds the table, as `unwrapped` says.

    Raises:
        InvalidArgument: FILE_PART_NOT_FOUND, INVALID_FIELD, FILE_NOT_A_TABLE.
    """
    if wanted:
        return archive.find(wanted)
    members = archive.matching(patterns) if patterns else archive.members
    if patterns and not members:
        asked = ", ".join(f"'{pattern}'" for pattern in patterns)
        message = f"archive '{name}' has no file that fits {asked}; it has {listed(archive.members)}"
        raise InvalidArgument(Reason.FILE_PART_NOT_FOUND, message, field="kaggle.members")
    # The file X that was packed for its transport is the member X of an archive that is called X or X.zip.
    transported = {PurePosixPath(name).name, PurePosixPath(unwrapped_name(name)).name}
    same = [member for member in members if PurePosixPath(member.path).name in transported]
    tables = [member for member in members if is_table(member.path)]
    texts = [member for member in members if ending_of(member.path) in TEXT_ENDINGS]
    for found in (same, tables, texts, members):
        if len(found) == 1:
            return found[0]
        if found is not same and found and found is not members:
            message = (
                f"archive '{name}' holds {len(found)} tables, so name one in format.member: {listed(found)}; "
                "a data set is one table"
            )
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.member")
    why = f"none of its files ends with {', '.join(sorted(TABLE_ENDINGS))}; it has {listed(members)}"
    raise not_a_table(name, f"it is an archive, and {why}. Name one in format.member if it is a table nevertheless")


def _plain_member(path: Path, member: Member, name: str, limits: ArchiveLimits, directory: Path) -> Unwrapped:
    inner = wrapping_of(path)
    shown = f"{member.path} in {name}"
    if inner in (Wrapping.GZIP, Wrapping.ZSTD):
        packed, path = path, directory / _own_name("whole", member.path)
        decompress(packed, shown, inner, limits, path, lambda _: None)
        packed.unlink()
    _check_unwrapped(path, shown, limits)
    return Unwrapped(path, unwrapped_name(member.path), Compression.ZIP, member.path)


def _check_unwrapped(path: Path, name: str, limits: ArchiveLimits) -> None:
    """Refuses an archive in what was unwrapped already: those are not opened however deep they go."""
    wrapping = wrapping_of(path)
    if wrapping is Wrapping.ZIP:
        with Archive(path, name, limits) as archive:
            if is_spreadsheet(archive):
                return
    if wrapping is not None:
        raise not_a_table(name, f"it holds another {wrapping} file, and only one is unpacked: unpack it first")


def _own_name(stem: str, name: str) -> str:
    """A name of ours with the ending that tells the format, which may be a hint where the content leaves it open."""
    ending = ending_of(name)
    return stem + ending if ending in TABLE_ENDINGS else stem
