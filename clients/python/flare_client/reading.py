"""How a file is read, from the words that people use for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import grpc
from flare.scraper.v1 import dataset_pb2 as pb

from flare_client.choices import choose
from flare_client.errors import FlareError, Violation


class ReadingOptions(TypedDict, total=False):
    """What is to be different from what the server would find out or take."""

    kind: str
    """`delimited`, `parquet`, `json`, `json_lines`, `excel`, `sqlite` or `images`."""
    delimiter: str
    encoding: str
    quote: str
    decimal: str
    """Between whole and fraction: `.` or `,`."""
    thousands: str
    comment: str
    """What lines begin with that are no rows."""
    header: bool
    """False if the first line is a row; its columns are then `column_1`, ..."""
    ragged_rows: str
    """`fail`, `skip` or `fill`."""
    sheet: str
    table: str
    member: str
    """The file in an archive."""
    column_types: Mapping[str, str]
    """By column: `integer`, `float`, `boolean`, `datetime`, `categorical` or `text`. What does not fit is missing."""
    image_size: tuple[int, int]
    """Height and width in pixels."""
    image_mode: str
    """`rgb` or `grayscale`."""
    image_resizing: str
    """`stretch`, `crop` or `pad`."""
    max_broken_share: float
    """How many of the images may be broken, 0 to 1."""
    path_column: str
    """Where an archive holds a table of images: its column with their paths."""


TEXT_OPTIONS = (
    *("kind", "delimiter", "encoding", "quote", "decimal", "thousands", "comment", "ragged_rows"),
    *("sheet", "table", "member", "image_mode", "image_resizing", "path_column"),
)


def file_format(options: ReadingOptions) -> pb.FileFormat | None:
    """The contract's format; None if nothing is asked for.

    Raises:
        FlareError: A word is none of its choices.
    """
    message = pb.FileFormat(
        kind=choose("kind", options.get("kind", ""), pb.FileFormat.Kind),
        delimiter=options.get("delimiter", ""),
        encoding=options.get("encoding", ""),
        quote=options.get("quote", ""),
        decimal_separator=options.get("decimal", ""),
        thousands_separator=options.get("thousands", ""),
        comment=options.get("comment", ""),
        has_no_header=not options.get("header", True),
        ragged_rows=choose("ragged rows", options.get("ragged_rows", ""), pb.RaggedRows),
        sheet=options.get("sheet", ""),
        table=options.get("table", ""),
        member=options.get("member", ""),
        column_types=[
            pb.ColumnTypeChoice(column=column, type=choose("type", name, pb.ColumnType))
            for column, name in options.get("column_types", {}).items()
        ],
    )
    if images := _image_options(options):
        message.images.CopyFrom(images)
    return message if message != pb.FileFormat() else None


def reading_options(texts: Mapping[str, str]) -> ReadingOptions:
    """The options from a command line's words. Raises FlareError for a name or a value that can't be."""
    options = ReadingOptions()
    for name, text in texts.items():
        if name in TEXT_OPTIONS:
            options[name] = text  # type: ignore[literal-required]  # one of them, as was just seen
        elif name == "header":
            options["header"] = choose_truth(name, text)
        elif name == "image_size":
            options["image_size"] = _size(text)
        elif name == "max_broken_share":
            options["max_broken_share"] = _share(text)
        else:
            known = ", ".join(sorted((*TEXT_OPTIONS, "header", "image_size", "max_broken_share")))
            raise _refusal(name, f"{name!r} says nothing of how a file is read: it can be {known}")
    return options


def choose_truth(name: str, text: str) -> bool:
    """True for `yes`, False for `no`. Raises FlareError for another word."""
    known = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in known:
        raise _refusal(name, f"{name} {text!r} is neither yes nor no")
    return known[text.lower()]


def _image_options(options: ReadingOptions) -> pb.ImageOptions | None:
    height, width = options.get("image_size", (0, 0))
    message = pb.ImageOptions(
        height=height,
        width=width,
        mode=choose("image mode", options.get("image_mode", ""), pb.ImageMode),
        resizing=choose("image resizing", options.get("image_resizing", ""), pb.ImageResizing),
        path_column=options.get("path_column", ""),
        max_broken_share=options.get("max_broken_share"),
    )
    return message if message != pb.ImageOptions() else None


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise _refusal("image_size", f"image_size {text!r} is not HEIGHTxWIDTH in pixels, such as 28x28")
    return int(height), int(width)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _refusal("max_broken_share", f"max_broken_share {text!r} is not a number from 0 to 1") from error


def _refusal(field: str, message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation(field, message),))
