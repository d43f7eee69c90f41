"""Archives are opened within limits, and hostile ones are refused with the name that is to blame."""

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scraper_server.archives.compressed import Wrapping, decompress, wrapping_of
from scraper_server.archives.patterns import matcher
from scraper_server.archives.zip import Archive
from scraper_server.limits import ArchiveLimits
from servicekit.errors import FlareError, InvalidArgument, Reason
from tests.unit.scraper.archive_files import Entry, zip_bytes

LIMITS = ArchiveLimits(max_entries=100, max_bytes=1_000_000, max_ratio=50, ratio_from_bytes=10_000)
Opened = Callable[..., Archive]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens the bytes of an archive."""

    def run(content: bytes, limits: ArchiveLimits = LIMITS) -> Archive:
        path = tmp_path / "archive"
        path.write_bytes(content)
        return Archive(path, "data.zip", limits)

    return run


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, content in members:
            out.writestr(name, content)
    return buffer.getvalue()


def refused(call: Callable[[], object]) -> FlareError:
    with pytest.raises(FlareError) as caught:
        call()
    return caught.value


def nowhere(_: int) -> None:
    pass


def test_members_are_the_files_that_somebody_meant(opened: Opened) -> None:
    content = packed(
        ("train/", b""),
        ("train/./a.csv", b"a"),
        ("__MACOSX/train/._a.csv", b"x"),
        ("train/.DS_Store", b"x"),
        ("Thumbs.db", b"x"),
        ("ünïcode.csv", b"bc"),
    )
    with opened(content) as archive:
        assert [(member.path, member.size_bytes) for member in archive.members] == [
            ("train/a.csv", 1),
            ("ünïcode.csv", 2),
        ]
        assert [archive.read(member, 10) for member in archive.members] == [b"a", b"bc"]


def test_a_name_in_utf8_that_is_not_marked_so_is_read_as_meant(opened: Opened) -> None:
    with opened(zip_bytes([Entry("täglich.csv".encode())])) as archive:
        assert [member.path for member in archive.members] == ["täglich.csv"]
    with opened(zip_bytes([Entry("täglich.csv".encode("cp437"))])) as archive:
        assert [member.path for member in archive.members] == ["täglich.csv"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Entry(b"../evil.csv"), "'../evil.csv' leaves its folder"),
        (Entry(b"a/../../evil.csv"), "leaves its folder"),
        (Entry(b"/etc/passwd"), "is absolute"),
        (Entry(b"C:/evil.csv"), "is absolute"),
        (Entry(b"a\\..\\evil.csv"), "has a backslash"),
        (Entry(b"a.csv\x00.png"), "has control characters"),
        (Entry(b"a\n.csv"), "has control characters"),
        (Entry(b"."), "is empty"),
        (Entry(b"link.csv", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "'link.csv' is a link"),
        (Entry(b"pipe", mode=stat.S_IFIFO), "'pipe' is a link or a device"),
        (Entry(b"secret.csv", b"x", flags=1), "'secret.csv' is encrypted"),
    ],
)
def test_an_archive_that_would_leave_its_folder_or_is_encrypted_is_not_opened(
    opened: Opened, entry: Entry, why: str
) -> None:
    error = refused(lambda: opened(zip_bytes([Entry(b"good.csv", b"x"), entry])))
    assert error.reason is Reason.ARCHIVE_UNSAFE
    assert isinstance(error, InvalidArgument)
    assert why in error.message
    assert "'data.zip'" in error.message


@pytest.mark.parametrize("declared_count", [None, 1])
def test_entries_are_counted_not_believed(opened: Opened, declared_count: int | None) -> None:
    entries = [Entry(f"{number}".encode()) for number in range(101)]
    error = refused(lambda: opened(zip_bytes(entries, declared_count)))
    assert error.reason is Reason.TOO_MANY_ARCHIVE_ENTRIES
    assert "FLARE_SCRAPER_MAX_ARCHIVE_ENTRIES" in error.message
    with opened(zip_bytes(entries[:100])) as archive:
        assert len(archive.members) == 100


def test_a_hundred_thousand_entries_are_opened(opened: Opened) -> None:
    content = packed(*((f"{number % 7}/{number}.png", b"") for number in range(100_000)))
    with opened(content, ArchiveLimits()) as archive:
        assert len(archive.matching(["3/*.png"])) == 14_286
    error = refused(lambda: opened(content, ArchiveLimits(max_entries=99_999)))
    assert error.reason is Reason.TOO_MANY_ARCHIVE_ENTRIES


def test_entries_that_share_bytes_are_a_bomb(opened: Opened) -> None:
    entries = [Entry(b"a", b"0" * 1000), Entry(b"b", b"0" * 1000, offset=0)]
    error = refused(lambda: opened(zip_bytes(entries)))
    assert error.reason is Reason.ARCHIVE_TOO_DENSE
    assert "'a' and 'b' share bytes" in error.message
    quoting = [Entry(b"a", packed=b"x" * 60, method=0), Entry(b"b", packed=b"x" * 10, method=0, offset=40)]
    assert refused(lambda: opened(zip_bytes(quoting))).reason is Reason.ARCHIVE_TOO_DENSE


@pytest.mark.parametrize("declared_size", [None, 100])
def test_a_bomb_ends_by_what_comes_out_whatever_it_declares(opened: Opened, declared_size: int | None) -> None:
    content = b"0" * 900_000
    entry = Entry(b"bomb.csv", content, declared_size=declared_size)
    with opened(zip_bytes([entry])) as archive:
        error = refused(lambda: archive.open(archive.members[0]).read())
    # zipfile reads no more than is declared, and then the checksum is wrong.
    assert error.reason is (Reason.ARCHIVE_TOO_DENSE if declared_size is None else Reason.FILE_NOT_A_TABLE)


def test_the_members_together_count_for_the_size(opened: Opened) -> None:
    noise = [bytes((at * number) % 251 for at in range(400_000)) for number in (3, 7, 11)]
    with opened(packed(*((str(at), each) for at, each in enumerate(noise)), method=zipfile.ZIP_STORED)) as archive:
        for member in archive.members[:2]:
            assert len(archive.read(member, 400_000)) == 400_000
        error = refused(lambda: archive.read(archive.members[2], 400_000))
    assert error.reason is Reason.ARCHIVE_TOO_LARGE
    assert "more than 1000000 bytes" in error.message


def test_a_member_is_read_up_to_what_its_reader_takes(opened: Opened) -> None:
    with opened(packed(("a", b"12345"))) as archive:
        assert archive.read(archive.members[0], 5) == b"12345"
        assert refused(lambda: archive.read(archive.members[0], 4)).reason is Reason.ARCHIVE_TOO_LARGE


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_usual_method_is_read_and_its_damage_told(opened: Opened, method: int) -> None:
    text = b"".join(b"%d,%d\n" % (number, number * 7919 % 1000) for number in range(20_000))
    content = packed(("a.csv", text), method=method)
    with opened(content) as archive:
        assert archive.read(archive.members[0], 1_000_000) == text
    broken = bytearray(content)
    broken[len(content) // 3] ^= 0xFF
    with opened(bytes(broken)) as archive:
        error = refused(lambda: archive.read(archive.members[0], 1_000_000))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "file 'a.csv' in archive 'data.zip' can't be unpacked: it is damaged" in error.message


def test_a_member_is_extracted_under_a_name_of_ours(opened: Opened, tmp_path: Path) -> None:
    content = packed(("x", b"x"), ("deep/a.csv", b"a,b\n" * 1000))
    told: list[int] = []
    with opened(content) as archive:
        archive.extract(archive.members[1], tmp_path / "ours", told.append)
        assert archive.members[1].info.compress_size < told[-1] < len(content)
    assert (tmp_path / "ours").read_bytes() == b"a,b\n" * 1000


def test_an_unusual_method_is_named(opened: Opened) -> None:
    with opened(zip_bytes([Entry(b"a.csv", b"x", method=9, packed=b"x")])) as archive:
        error = refused(lambda: archive.open(archive.members[0]))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "compressed with method 9" in error.message


def test_a_missing_member_is_told_with_those_there_are(opened: Opened) -> None:
    with opened(packed(*((f"{number:02}.csv", b"x") for number in range(25)))) as archive:
        assert archive.find("03.csv").path == "03.csv"
        error = refused(lambda: archive.find("other.csv"))
    assert error.reason is Reason.FILE_PART_NOT_FOUND
    assert "'00.csv', " in error.message
    assert error.message.endswith("and 5 more")


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("a.csv", ["a.csv"], ["x/a.csv", "aXcsv", "a.csv2"]),
        ("*.csv", ["a.csv", ".csv"], ["x/a.csv"]),
        ("?.csv", ["a.csv"], ["ab.csv", "/.csv"]),
        ("train/**", ["train/a", "train/x/y"], ["train", "test/a", "a/train/b"]),
        ("**/a.csv", ["a.csv", "x/a.csv", "x/y/a.csv"], ["xa.csv"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("**.png", ["a.png", "x/y.png"], ["a.jpg"]),
        ("**/*a*b/c*", ["x/ab/c", "y/z/1a2b/c3", "ab/a/ab/c"], ["x/ab/d/c"]),
        ("*a*a", ["aa", "aaa", "bababa"], ["a", "aab"]),
        ("[ab].csv", ["[ab].csv"], ["a.csv"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], others: list[str]) -> None:
    fits = matcher(pattern)
    assert [path for path in [*fitting, *others] if fits(path)] == fitting


@given(st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?", "**/"]), max_size=7), st.text("ab/", max_size=8))
def test_patterns_match_as_a_plain_definition_says(tokens: list[str], path: str) -> None:
    pattern = "".join(tokens)

    def plain(pattern: str, path: str, *, at_folder: bool = True) -> bool:
        if not pattern:
            return not path
        if at_folder and pattern.startswith("**/"):
            return any(plain(pattern[3:], rest) for rest in [path, *(path[at + 1 :] for at in slashes(path))])
        if pattern.startswith("**"):
            return any(plain(pattern[2:], path[at:], at_folder=False) for at in range(len(path) + 1))
        if pattern.startswith("*"):
            reach = len(path.partition("/")[0])
            return any(plain(pattern[1:], path[at:], at_folder=False) for at in range(reach + 1))
        fits = path[:1] == pattern[0] or (pattern[0] == "?" and path[:1] not in ("", "/"))
        return fits and plain(pattern[1:], path[1:], at_folder=pattern[0] == "/")

    def slashes(path: str) -> list[int]:
        return [at for at, character in enumerate(path) if character == "/"]

    assert matcher(pattern)(path) is plain(pattern, path)


@pytest.mark.timeout(20)
def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matcher("*a" * 200 + "b")("a" * 500)
    assert not matcher("**a" * 200 + "b")("a" * 500)
    assert not matcher("**/" + "*a" * 200 + "**b")("a" * 500)


WRAPPERS: dict[Wrapping, Callable[[bytes], bytes]] = {
    Wrapping.GZIP: gzip.compress,
    Wrapping.ZSTD: lambda content: pa.compress(content, "zstd", asbytes=True),
}


@pytest.mark.parametrize("wrapping", WRAPPERS)
def test_compressed_files_of_several_parts_are_read_whole(tmp_path: Path, wrapping: Wrapping) -> None:
    pack = WRAPPERS[wrapping]
    (tmp_path / "in").write_bytes(pack(b"a,b\n") + pack(b"") + pack(b"1,2\n"))
    assert wrapping_of(tmp_path / "in") is wrapping
    told: list[int] = []
    decompress(tmp_path / "in", "in", wrapping, LIMITS, tmp_path / "out", told.append)
    assert told[-1] == (tmp_path / "in").stat().st_size
    assert (tmp_path / "out").read_bytes() == b"a,b\n1,2\n"


@pytest.mark.parametrize("wrapping", WRAPPERS)
def test_compressed_bombs_end(tmp_path: Path, wrapping: Wrapping) -> None:
    def unpack(limits: ArchiveLimits) -> FlareError:
        return refused(lambda: decompress(tmp_path / "in", "in", wrapping, limits, tmp_path / "out", nowhere))

    (tmp_path / "in").write_bytes(WRAPPERS[wrapping](b"0" * 900_000))
    assert unpack(LIMITS).reason is Reason.ARCHIVE_TOO_DENSE
    assert unpack(ArchiveLimits(max_bytes=899_999)).reason is Reason.ARCHIVE_TOO_LARGE


@pytest.mark.parametrize("wrapping", WRAPPERS)
@pytest.mark.parametrize("cut", [3, 12, -5, -1])
def test_compressed_files_that_are_cut_are_refused(tmp_path: Path, wrapping: Wrapping, cut: int) -> None:
    (tmp_path / "in").write_bytes(WRAPPERS[wrapping](bytes(range(256)) * 10)[:cut])
    error = refused(lambda: decompress(tmp_path / "in", "in.gz", wrapping, LIMITS, tmp_path / "out", nowhere))
    assert error.reason is Reason.FILE_NOT_A_TABLE
    assert "file 'in.gz' can't be unpacked: it is damaged or not whole" in error.message


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"PK\x03\x04", Wrapping.ZIP),
        (zip_bytes([]), Wrapping.ZIP),
        (b"\x51\x2a\x4d\x18skip", Wrapping.ZSTD),
        (b"PK,name\n", None),
        (b"", None),
        (bz2.compress(b"x"), None),
        (lzma.compress(b"x"), None),
    ],
)
def test_wrappings_are_told_by_content(tmp_path: Path, head: bytes, expected: Wrapping | None) -> None:
    (tmp_path / "in").write_bytes(head)
    assert wrapping_of(tmp_path / "in") is expected


GOOD = packed(("a/b.csv", b"a,b\n1,2\n" * 50), ("c.csv", b"x"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD)), st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_garbled_archives_are_read_or_refused(opened: Opened, end: int, changes: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for at, byte in changes:
        content[at] = byte
    # Nothing but a FlareError comes out.
    with contextlib.suppress(FlareError), opened(bytes(content[: end if end % 3 else len(content)])) as archive:
        for member in archive.members:
            archive.read(member, 1000)
