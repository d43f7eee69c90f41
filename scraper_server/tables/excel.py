"""Reads a sheet of a workbook: Excel's xlsx, xlsb and xls, and OpenDocument's ods."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError, SheetTypeEnum

from scraper_server.limits import Limits
from scraper_server.tables.formats import FileFormat, FormatKind
from scraper_server.tables.reader import BytesDone
from scraper_server.tables.refusals import empty, not_a_table
from scraper_server.tables.spool import Spool, cell_text
from scraper_server.tables.text_table import TextTable
from scraper_server.tables.workbook_size import check_workbook
from servicekit.errors import InvalidArgument, Reason

LISTED_SHEETS = 30
TOLD_ROWS = 1000


def excel_table(
    path: Path, name: str, wanted: FileFormat, limits: Limits, directory: Path, done: BytesDone
) -> TextTable:
    """The table in the sheet `wanted.sheet` of a workbook, or in its first sheet with a value.

    The first row with a value is the header; with `wanted.has_no_header` it is a row, and the columns are numbered.
    Empty rows are left out, and so are columns without name and value. Of merged cells the first has the value.

    Raises:
        InvalidArgument: FILE_PART_NOT_FOUND; FILE_NOT_A_TABLE, FILE_EMPTY.
        ResourceExhausted: TOO_MANY_ROWS, TOO_MANY_COLUMNS, CELL_TOO_LARGE; and as `check_workbook`.
    """
    size = path.stat().st_size
    check_workbook(path, name, limits.archive)
    try:
        with CalamineWorkbook.from_path(path) as workbook:
            sheet = _chosen_sheet(workbook, wanted.sheet, name)
            spool = Spool(directory / "spool", name, limits.table)
            header = _spooled(sheet, spool, wanted.has_no_header, lambda row: done(size * row // max(sheet.height, 1)))
            title = sheet.name
    except PasswordError as error:
        raise not_a_table(name, "its workbook is encrypted: save it without a password") from error
    except CalamineError as error:
        raise not_a_table(name, f"its workbook is damaged or not whole ({error})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what Rust raises where it met what it never expected
            raise
        raise not_a_table(name, f"its workbook is damaged ({error})") from error
    spool.finish()
    columns = [(at, header[at]) for at in range(len(header)) if header[at] or spool.is_filled(at)]
    found = FileFormat(
        FormatKind.EXCEL, sheet=title, has_no_header=wanted.has_no_header, column_types=wanted.column_types
    )
    return TextTable(spool, columns, found, name, size)


def _chosen_sheet(workbook: CalamineWorkbook, wanted: str, name: str) -> CalamineSheet:
    titles = [sheet.name for sheet in workbook.sheets_metadata if sheet.typ is SheetTypeEnum.WorkSheet]
    if wanted:
        if wanted in titles:
            return workbook.get_sheet_by_name(wanted)
        listed = ", ".join(f"'{title}'" for title in titles[:LISTED_SHEETS])
        message = f"workbook '{name}' has no sheet '{wanted}'; it has {listed or 'none'}"
        raise InvalidArgument(Reason.FILE_PART_NOT_FOUND, message, field="format.sheet")
    for title in titles:
        sheet = workbook.get_sheet_by_name(title)
        if any(_filled(row) for row in sheet.iter_rows()):
            return sheet
    raise empty(name, "no sheet of its workbook has a value")


def _spooled(sheet: CalamineSheet, spool: Spool, has_no_header: bool, told: BytesDone) -> Sequence[str]:
    """Puts the rows below the header into the spool, each column under its position; returns the header."""
    header: list[str] | None = None
    for number, cells in enumerate(_text_rows(sheet)):
        if header is None and any(cells):
            header = ["" if has_no_header else (cell or "").strip() for cell in cells]
            spool.declare(range(len(header)))
            if not has_no_header:
                continue
        if any(cells):
            spool.add(dict(enumerate(cells)))
        if number % TOLD_ROWS == 0:
            told(number)
    return header or []


def _text_rows(sheet: CalamineSheet) -> Iterator[list[str | None]]:
    for row in sheet.iter_rows():
        yield [_cell(value) for value in row]


def _cell(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # Excel has no other numbers
    return cell_text(value) or None  # failed formulas are empty too


def _filled(row: Sequence[object]) -> bool:
    return any(value != "" for value in row)
