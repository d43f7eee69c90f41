"""Workbooks of all four formats, written as their specifications say and as small as they may be."""

import io
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from xml.sax.saxutils import escape, quoteattr

Cell = str | float | bool | date | None
Sheets = Mapping[str, Sequence[Sequence[Cell]]]

_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # spreadsheets know no time zones
ERROR = "#N/A"


def _zipped(parts: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _serial(value: date) -> float:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
    return (moment - _EPOCH).total_seconds() / 86400


def _place(row: int, column: int) -> str:
    letters = ""
    number = column + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"


def _package(sheets: Sheets, kind: str, workbook: str | bytes, styles: str | bytes, parts: list[str | bytes]) -> bytes:
    """A package as both xlsx and xlsb are; `kind` is the ending of its parts."""
    targets = [f"worksheets/sheet{number}.{kind}" for number in range(1, len(sheets) + 1)]
    relations = "".join(
        f'<Relationship Id="rId{at}" Type="{_RELATIONSHIPS}/worksheet" Target="{target}"/>'
        for at, target in enumerate(targets, 1)
    )
    return _zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
            f'Type="{_RELATIONSHIPS}/officeDocument" Target="xl/workbook.{kind}"/></Relationships>',
            f"xl/workbook.{kind}": workbook,
            f"xl/_rels/workbook.{kind}.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}'
            f'<Relationship Id="rId99" Type="{_RELATIONSHIPS}/styles" Target="styles.{kind}"/></Relationships>',
            f"xl/styles.{kind}": styles,
            **{f"xl/{target}": part for target, part in zip(targets, parts, strict=True)},
        }
    )


def xlsx(sheets: Sheets, merged: str = "") -> bytes:
    """Excel's workbook since 2007."""

    def cell(row: int, column: int, value: Cell) -> str:
        place = _place(row, column)
        match value:
            case None:
                return ""
            case bool():
                return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
            case date():
                return f'<c r="{place}" s="1"><v>{_serial(value)}</v></c>'
            case str() if value == ERROR:
                return f'<c r="{place}" t="e"><v>{value}</v></c>'
            case str():
                return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
            case _:
                return f'<c r="{place}"><v>{value}</v></c>'

    def part(rows: Sequence[Sequence[Cell]]) -> str:
        lines = (
            f'<row r="{at + 1}">{"".join(cell(at, number, value) for number, value in enumerate(row))}</row>'
            for at, row in enumerate(rows)
        )
        merges = f'<mergeCells count="1"><mergeCell ref="{merged}"/></mergeCells>' if merged else ""
        return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData>{merges}</worksheet>'

    names = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{at}" r:id="rId{at}"/>' for at, name in enumerate(sheets, 1)
    )
    workbook = f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONSHIPS}"><sheets>{names}</sheets></workbook>'
    styles = f'<styleSheet xmlns="{_MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'
    return _package(sheets, "xml", workbook, styles, [part(rows) for rows in sheets.values()])


def ods(sheets: Sheets) -> bytes:
    """OpenDocument's workbook."""

    def cell(value: Cell) -> str:
        match value:
            case None:
                return "<table:table-cell/>"
            case bool():
                return f'<table:table-cell office:value-type="boolean" office:boolean-value="{str(value).lower()}"/>'
            case date():
                return f'<table:table-cell office:value-type="date" office:date-value="{value.isoformat()}"/>'
            case str():
                text = f"<text:p>{escape(value)}</text:p>"
                return f'<table:table-cell office:value-type="string">{text}</table:table-cell>'
            case _:
                return f'<table:table-cell office:value-type="float" office:value="{value}"/>'

    tables = "".join(
        f"<table:table table:name={quoteattr(name)}>"
        + "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    prefix = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<office:document-content xmlns:office="{prefix}:office:1.0" xmlns:table="{prefix}:table:1.0" '
        f'xmlns:text="{prefix}:text:1.0"><office:body><office:spreadsheet>{tables}'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = f'<manifest:manifest xmlns:manifest="{prefix}:manifest:1.0"/>'
    return _zipped({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest})


def xlsb(sheets: Sheets) -> bytes:
    """Excel's binary workbook since 2007 ([MS-XLSB])."""

    def record(kind: int, content: bytes = b"") -> bytes:
        number = bytes((kind,)) if kind < 128 else bytes((kind & 0x7F | 0x80, kind >> 7))
        size, length = b"", len(content)
        while length > 127:
            size, length = size + bytes((length & 0x7F | 0x80,)), length >> 7
        return number + size + bytes((length,)) + content

    def wide(text: str) -> bytes:
        return struct.pack("<I", len(text)) + text.encode("utf-16-le")

    def cell(column: int, value: Cell) -> bytes:
        start = struct.pack("<II", column, int(isinstance(value, date)))
        match value:
            case None:
                return b""
            case bool():
                return record(4, start + bytes((value,)))
            case date():
                return record(5, start + struct.pack("<d", _serial(value)))
            case str() if value == ERROR:
                return record(3, start + b"\x2a")
            case str():
                return record(6, start + wide(value))
            case _:
                return record(5, start + struct.pack("<d", value))

    def part(rows: Sequence[Sequence[Cell]]) -> bytes:
        last = struct.pack("<IIII", 0, max(len(rows), 1) - 1, 0, max(map(len, rows), default=1) - 1)
        body = b"".join(
            record(0, struct.pack("<IIHBBBI", at, 0, 300, 0, 0, 0, 0))
            + b"".join(cell(number, value) for number, value in enumerate(row))
            for at, row in enumerate(rows)
        )
        return record(129) + record(148, last) + record(145) + body + record(146) + record(130)

    names = b"".join(
        record(156, struct.pack("<II", 0, at) + wide(f"rId{at}") + wide(name)) for at, name in enumerate(sheets, 1)
    )
    workbook = record(131) + record(153, bytes(12)) + record(143) + names + record(144) + record(132)
    formats = [record(47, struct.pack("<HHHHHBBI", 0, kind, 0, 0, 0, 0, 0, 0)) for kind in (0, 22)]
    styles = record(278) + record(617, struct.pack("<I", 2)) + b"".join(formats) + record(618) + record(279)
    return _package(sheets, "bin", workbook, styles, [part(rows) for rows in sheets.values()])


def xls(sheets: Sheets) -> bytes:
    """Excel's workbook until 2003 ([MS-XLS]), in the container that it needs ([MS-CFB])."""

    def record(kind: int, content: bytes = b"") -> bytes:
        return struct.pack("<HH", kind, len(content)) + content

    def begin(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0x1000, 1997, 0, 6))

    def cell(row: int, column: int, value: Cell) -> bytes:
        start = struct.pack("<HHH", row, column, int(isinstance(value, date)))
        match value:
            case None:
                return b""
            case bool():
                return record(0x205, start + bytes((value, 0)))
            case date():
                return record(0x203, start + struct.pack("<d", _serial(value)))
            case str() if value == ERROR:
                return record(0x205, start + b"\x2a\x01")
            case str():
                text = struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")
                return record(0x204, start + text)
            case _:
                return record(0x203, start + struct.pack("<d", value))

    def part(rows: Sequence[Sequence[Cell]]) -> bytes:
        cells = b"".join(cell(at, number, value) for at, row in enumerate(rows) for number, value in enumerate(row))
        size = struct.pack("<IIHHH", 0, len(rows), 0, max(map(len, rows), default=1), 0)
        return begin(0x10) + record(0x200, size) + cells + record(0x0A)

    formats = b"".join(record(0xE0, struct.pack("<HHH", 0, kind, 0) + bytes(14)) for kind in (0, 22))

    def globals_of(offsets: Sequence[int]) -> bytes:
        names = b"".join(
            record(0x85, struct.pack("<IBBBB", offset, 0, 0, len(name), 1) + name.encode("utf-16-le"))
            for offset, name in zip(offsets, sheets, strict=True)
        )
        return begin(0x05) + record(0x42, struct.pack("<H", 1200)) + formats + names + record(0x0A)

    parts = [part(rows) for rows in sheets.values()]
    offsets, position = [], len(globals_of([0] * len(parts)))
    for each in parts:
        offsets.append(position)
        position += len(each)
    return _compound("Workbook", globals_of(offsets) + b"".join(parts))


def _compound(name: str, content: bytes) -> bytes:
    """A compound file with one stream, which is made long enough to be kept in plain sectors."""
    content = content.ljust(4096, b"\x00")
    content += bytes(-len(content) % 512)
    sectors = len(content) // 512
    table_sectors = 1
    while table_sectors * 128 < sectors + table_sectors + 1:
        table_sectors += 1
    assert table_sectors <= 109
    end, free = 0xFFFFFFFE, 0xFFFFFFFF
    directory_at, content_at = table_sectors, table_sectors + 1
    chain = [0xFFFFFFFD] * table_sectors + [end]
    chain += [content_at + at + 1 for at in range(sectors - 1)] + [end]
    chain += [free] * (table_sectors * 128 - len(chain))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, table_sectors, directory_at, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", *[*range(table_sectors), *[free] * (109 - table_sectors)])

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        text = (name + "\x00").encode("utf-16-le") if name else b""
        links = struct.pack("<BBIII", kind, 1, free, free, child)
        return (
            text.ljust(64, b"\x00") + struct.pack("<H", len(text)) + links + bytes(36) + struct.pack("<IQ", start, size)
        )

    root = entry("Root Entry", 5, 1, end, 0)
    directory = root + entry(name, 2, free, content_at, len(content)) + 2 * entry("", 0, free, 0, 0)
    return header + struct.pack(f"<{len(chain)}I", *chain) + directory + content


WORKBOOKS: Mapping[str, Callable[[Sheets], bytes]] = {"xlsx": xlsx, "xlsb": xlsb, "xls": xls, "ods": ods}
