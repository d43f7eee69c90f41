"""The rows in a JSON file of any usual shape, in bounded memory, and those of JSON lines."""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any

import ijson

from scraper_server.tables.json_depth import MOST_LEVELS, ShallowJson, TooDeep
from scraper_server.tables.reader import BytesDone
from scraper_server.tables.refusals import not_a_table

Row = Mapping[str, object]
LINE_BYTES = 64 << 20
TOLD_ROWS = 1000
READ_BYTES = 1 << 20


class Shape(Enum):
    """What a value at the top of a JSON file is."""

    SCALAR = "a single value"
    OBJECT = "an object"
    LIST = "a list of single values"
    LIST_OF_LISTS = "a list of lists"
    ROWS = "a list of objects"
    EMPTY = "an empty list"


def json_rows(path: Path, name: str, done: BytesDone) -> Iterator[Row]:
    """The rows of a JSON file in UTF-8, or of the one list of objects in it, flat: without objects and lists in them.

    Taken are a list of objects; an object that holds just one such list; and what pandas writes of a table: by column
    (lists, or objects by index), or split into names and lists of cells.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if it is damaged, or of another shape.
    """
    with path.open("rb") as file:
        try:
            for number, row in enumerate(_rows(file, name)):
                if number % TOLD_ROWS == 0:
                    done(file.tell())
                yield dict(_flattened(row))
        except TooDeep as error:
            raise not_a_table(name, f"its JSON is nested more than {MOST_LEVELS} levels deep") from error
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())
            raise not_a_table(name, f"its JSON is damaged or not whole at about byte {file.tell()}: {why}") from error
        except (OverflowError, ValueError) as error:
            raise not_a_table(name, f"its JSON can't be read: {error}") from error


def json_line_rows(path: Path, name: str, done: BytesDone) -> Iterator[Row]:
    """The rows of a file with a JSON object a line, in UTF-8, flat as those of `json_rows`. Empty lines are no rows.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE, with the line that is none.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES):
            number += 1
            if len(line) == LINE_BYTES:
                raise not_a_table(name, f"line {number} is longer than {LINE_BYTES >> 20} MiB")
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise not_a_table(name, f"line {number} is not a JSON object but {_told(row)}")
                flat = dict(_flattened(row))
            except (ValueError, RecursionError) as error:
                raise not_a_table(name, f"line {number} is not a JSON object: {error}") from error
            if number % TOLD_ROWS == 1:
                done(file.tell())
            yield flat


def _flattened(row: Row) -> Iterator[tuple[str, object]]:
    """The values of a row, with those of objects in it under names like `a.b`. Lists become their JSON text."""
    for key, value in row.items():
        yield from _flat(key, value, 1)


def _flat(name: str, value: object, level: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and level < MOST_LEVELS:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner, level + 1)
    elif isinstance(value, dict | list):
        yield name, json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=float)
    else:
        yield name, value


def _rows(file: IO[bytes], name: str) -> Iterator[Row]:
    shapes = _top_shapes(file)
    if isinstance(shapes, Shape):
        if shapes is not Shape.ROWS and shapes is not Shape.EMPTY:
            raise not_a_table(name, f"its JSON is {shapes.value}, and a table is a list of objects")
        yield from _items(file, "item", name)
        return
    tables = [key for key, shape in shapes.items() if shape is Shape.ROWS]
    found = set(shapes.values())
    if len(tables) == 1:
        yield from _items(file, f"{tables[0]}.item" if tables[0] else ".item", name)
    elif tables:
        listed = ", ".join(f"'{key}'" for key in tables)
        raise not_a_table(name, f"its JSON object holds {len(tables)} lists of objects ({listed}): keep one of them")
    elif shapes.get("columns") is Shape.LIST and shapes.get("data") is Shape.LIST_OF_LISTS:
        yield from _split_rows(file, name)
    elif found == {Shape.OBJECT} and all(key.isdecimal() for key in shapes) and not _is_by_column(file):
        yield from (row for _, row in _members(file))
    elif found in ({Shape.LIST}, {Shape.OBJECT}):
        yield from _column_rows(file, name)
    elif shapes:
        yield from _items(file, "", name)  # one object, one row


def _top_shapes(file: IO[bytes]) -> Shape | dict[str, Shape]:
    """The shape of the JSON value, or those of the values in it if it is an object."""
    events = ijson.basic_parse(_whole(file), buf_size=READ_BYTES)
    event, _ = next(events)
    if event != "start_map":
        return _item_shape(next(events)[0]) if event == "start_array" else Shape.SCALAR
    shapes: dict[str, Shape] = {}
    depth, key, previous = 1, "", ""
    for event, value in events:
        if depth == 1 and event == "map_key":
            key = str(value)
        elif depth == 1 and event not in ("start_array", "start_map", "end_map"):
            shapes[key] = Shape.SCALAR
        elif depth == 1 and event == "start_map":
            shapes[key] = Shape.OBJECT
        elif depth == 2 and previous == "start_array" and shapes.get(key) is not Shape.OBJECT:
            shapes[key] = _item_shape(event)
        if event in ("start_map", "start_array"):
            depth += 1
        elif event in ("end_map", "end_array"):
            depth -= 1
        previous = event
    return shapes


def _item_shape(event: str) -> Shape:
    """The shape of a list by the event of its first item."""
    known = {"start_map": Shape.ROWS, "start_array": Shape.LIST_OF_LISTS, "end_array": Shape.EMPTY}
    return known.get(event, Shape.LIST)


def _whole(file: IO[bytes]) -> ShallowJson:
    """The file from its beginning."""
    file.seek(0)
    return ShallowJson(file)


def _items(file: IO[bytes], prefix: str, name: str) -> Iterator[Row]:
    for number, row in enumerate(ijson.items(_whole(file), prefix, buf_size=READ_BYTES)):
        if not isinstance(row, dict):
            raise not_a_table(name, f"item {number} of its list is not an object but {_told(row)}")
        yield row


def _split_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    columns = [str(each) for each in ijson.items(_whole(file), "columns.item")]
    for number, cells in enumerate(ijson.items(_whole(file), "data.item", buf_size=READ_BYTES)):
        if not isinstance(cells, list) or len(cells) != len(columns):
            raise not_a_table(name, f"item {number} of 'data' is not a list of {len(columns)} cells")
        yield dict(zip(columns, cells, strict=True))


def _members(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    yield from ijson.kvitems(_whole(file), "", buf_size=READ_BYTES)


def _is_by_column(file: IO[bytes]) -> bool:
    """Whether the keys of the first inner object number rows; if not they name columns, and the outer ones are rows."""
    return all(key.isdecimal() for key in next(_members(file))[1])


def _column_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    """The rows of a table that is written column by column. All of it is in memory."""
    columns: dict[str, list[object]] = {}
    index: list[str] | None = None
    for key, cells in _members(file):
        if isinstance(cells, dict):
            index = list(cells) if index is None else index
            if list(cells) != index:
                raise not_a_table(name, f"column '{key}' of its JSON does not have the rows of the first column")
            columns[key] = list(cells.values())
        else:
            columns[key] = cells
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1:
        raise not_a_table(name, f"the columns of its JSON have {min(lengths)} to {max(lengths)} cells, not all as many")
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))


def _told(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "\N{HORIZONTAL ELLIPSIS}"
