"""ZIP archives, of which nothing is believed but the bytes that come out."""

import io
import stat
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from scraper_server.archives.directory import entry_count
from scraper_server.archives.outflow import CHUNK_BYTES, BytesDone, Outflow, counted, write_out
from scraper_server.archives.paths import is_junk, shown, why_unsafe
from scraper_server.archives.patterns import matcher
from scraper_server.archives.refusals import damage_told, unreadable, unsafe
from scraper_server.limits import ArchiveLimits
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted

LISTED_MEMBERS = 20
LOCAL_HEADER_BYTES = 30
IS_ENCRYPTED = 0x1 | 0x40 | 0x2000
# The smallest step that zipfile takes. It bounds what a step of bzip2 or LZMA puts into memory, which only zlib can.
STEP_BYTES = 4096
_STEPS = {
    zipfile.ZIP_STORED: CHUNK_BYTES,
    zipfile.ZIP_DEFLATED: CHUNK_BYTES,
    zipfile.ZIP_BZIP2: STEP_BYTES,
    zipfile.ZIP_LZMA: STEP_BYTES,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    path: str
    """In the archive, with forward slashes; never absolute, and never leading out."""
    size_bytes: int
    """As the archive declares it: for people, not for deciding."""
    info: zipfile.ZipInfo


class Archive:
    """An open ZIP archive. Folders and leftovers of operating systems are none of its members.

    Bytes that are read count for the archive's limits, each time they are read.
    """

    def __init__(self, path: Path, name: str, limits: ArchiveLimits) -> None:
        """Reads the directory of the archive at `path`; `name` is what messages call it.

        Raises:
            InvalidArgument: ARCHIVE_UNSAFE if it is encrypted or a member's name would leave the archive's folder;
                FILE_NOT_A_TABLE if it is damaged.
            ResourceExhausted: TOO_MANY_ARCHIVE_ENTRIES; ARCHIVE_TOO_DENSE if members share bytes, as in bombs.
        """
        self.name = name
        self._limits = limits
        self._file = path.open("rb")
        try:
            if entry_count(self._file, name, limits.max_entries) > limits.max_entries:
                message = f"archive '{name}' has more than {limits.max_entries} entries, the limit of this server "
                message += "(FLARE_SCRAPER_MAX_ARCHIVE_ENTRIES)"
                raise ResourceExhausted(Reason.TOO_MANY_ARCHIVE_ENTRIES, message, file=name)
            with damage_told(f"archive '{name}'"):
                self._zip = zipfile.ZipFile(self._file)
            entries = self._zip.infolist()
            _check_apart(name, entries, self._zip.start_dir)
            self._members = {member.path: member for member in _members(name, entries)}
        except BaseException:
            self._file.close()
            raise
        self._outflow = Outflow(f"archive '{name}'", limits, path.stat().st_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._zip.close()
        self._file.close()

    @property
    def members(self) -> Sequence[Member]:
        """The files in it, in its order. Of two with one path the later counts."""
        return tuple(self._members.values())

    def matching(self, patterns: Iterable[str]) -> Sequence[Member]:
        """The members that fit one of the patterns: `*` and `?` stop at slashes, `**` does not."""
        matchers = [matcher(pattern) for pattern in patterns]
        return tuple(member for member in self.members if any(fits(member.path) for fits in matchers))

    def find(self, path: str) -> Member:
        """The member at `path`.

        Raises:
            InvalidArgument: FILE_PART_NOT_FOUND; the message lists the members.
        """
        member = self._members.get(path)
        if member is None:
            message = f"archive '{self.name}' has no file {shown(path)}; it has {listed(self.members)}"
            raise InvalidArgument(Reason.FILE_PART_NOT_FOUND, message, field="format.member")
        return member

    def open(self, member: Member) -> io.BufferedReader:
        """A reader of the member's bytes as they are unpacked.

        Raises, and its reads do:
            InvalidArgument: FILE_NOT_A_TABLE if the member is damaged or compressed in a way that is not known.
            ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE; by what comes out.
        """
        what = f"file {shown(member.path)} in archive '{self.name}'"
        step_bytes = _STEPS.get(member.info.compress_type)
        if step_bytes is None:
            why = f"it is compressed with method {member.info.compress_type}; pack it anew with the usual one, deflate"
            raise unreadable(what, why)
        outflow = Outflow(what, self._limits, member.info.compress_size, self._outflow)
        with damage_told(what):
            return counted(self._zip.open(member.info), what, outflow, step_bytes)

    def read(self, member: Member, max_bytes: int) -> bytes:
        """The member's bytes, whole.

        Raises:
            InvalidArgument: As `open`.
            ResourceExhausted: As `open`; ARCHIVE_TOO_LARGE too if there are more than `max_bytes`.
        """
        with self.open(member) as content:
            found = content.read(max_bytes + 1)
        if len(found) > max_bytes:
            message = f"file {shown(member.path)} in archive '{self.name}' has more than {max_bytes} bytes, the limit"
            raise ResourceExhausted(Reason.ARCHIVE_TOO_LARGE, message, file=member.path)
        return found

    def extract(self, member: Member, target: Path, done: BytesDone) -> None:
        """Writes the member's bytes to the file `target`. Raises as `open`."""
        start = member.info.header_offset
        write_out(self.open(member), target, lambda: done(max(self._file.tell() - start, 0)))


def listed(members: Sequence[Member]) -> str:
    """The paths of members, as messages list them."""
    if not members:
        return "no files"
    paths = ", ".join(shown(member.path) for member in members[:LISTED_MEMBERS])
    more = len(members) - LISTED_MEMBERS
    return f"{paths} and {more} more" if more > 0 else paths


def _members(name: str, entries: Iterable[zipfile.ZipInfo]) -> Iterable[Member]:
    for entry in entries:
        original = _original_name(entry)
        if why := why_unsafe(original):
            raise unsafe(name, f"the name of its entry {shown(original)} {why}")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise unsafe(name, f"its entry {shown(original)} is a link or a device, not a file")
        if entry.flag_bits & IS_ENCRYPTED:
            raise unsafe(name, f"its file {shown(original)} is encrypted: pack it without a password")
        if not original.endswith("/") and not is_junk(original):
            yield Member(str(PurePosixPath(original)), entry.file_size, entry)


def _original_name(entry: zipfile.ZipInfo) -> str:
    """The name as it was written; zipfile cuts it at a NUL, and takes names that are not marked as UTF-8 for DOS's.

    macOS writes UTF-8 without the mark.
    """
    original = entry.orig_filename
    if entry.flag_bits & 0x800 or original.isascii():
        return original
    try:
        return original.encode("cp437").decode("utf-8")
    except UnicodeError:
        return original


def _check_apart(name: str, entries: Iterable[zipfile.ZipInfo], directory_offset: int) -> None:
    """Refuses entries that share bytes, by which small archives unpack to any size, and so bounds their sum."""
    end, before = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            why = f"its entries {shown(before)} and {shown(entry.orig_filename)} share bytes, as only bombs' do"
            raise ResourceExhausted(Reason.ARCHIVE_TOO_DENSE, f"archive '{name}' is not opened: {why}", file=name)
        end, before = entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size, entry.orig_filename
    if end > directory_offset:
        what = f"archive '{name}'"
        raise unreadable(what, f"it is damaged: its entry {shown(before)} would reach beyond its end")
