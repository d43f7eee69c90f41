"""Writes docs/limits.md from the limits of the scraper service; with `--check`, says whether it is up to date."""

import sys
from pathlib import Path
from typing import NamedTuple

from scraper_server.settings import Settings
from servicekit.errors import Reason
from tools.settings_page import default_text, written

PAGE = Path(__file__).parents[1] / "docs/limits.md"
PREFIX = str(Settings.model_config.get("env_prefix", ""))


class Limit(NamedTuple):
    """What is limited, the reason of the error, and why there is a limit at all."""

    what: str
    reason: Reason
    why: str


# By the name of the setting.
LIMITS = {
    "max_file_bytes": Limit(
        "the file of a download or an upload",
        Reason.FILE_TOO_LARGE,
        "it lies on the disk while it is converted, beside the table that is made of it",
    ),
    "quota_bytes": Limit(
        "all data sets, views and files under way of one person",
        Reason.QUOTA_EXCEEDED,
        "nobody fills the disk for all; counted as bytes arrive",
    ),
    "max_rows": Limit(
        "rows of a table", Reason.TOO_MANY_ROWS, "a view keeps which part of the split each row belongs to in memory"
    ),
    "max_columns": Limit(
        "columns of a table",
        Reason.TOO_MANY_COLUMNS,
        "a data set with all its statistics is one message, of at most 16 MiB",
    ),
    "max_cell_bytes": Limit(
        "a cell", Reason.CELL_TOO_LARGE, "a larger one is a quote that is never closed, and whole rows are in memory"
    ),
    "max_archive_entries": Limit(
        "entries of an archive", Reason.TOO_MANY_ARCHIVE_ENTRIES, "the list of them is in memory"
    ),
    "max_archive_bytes": Limit(
        "what the wanted files of an archive or of a compressed file unpack to",
        Reason.ARCHIVE_TOO_LARGE,
        "counted on bytes that come out, since an archive can say anything of itself",
    ),
    "max_archive_ratio": Limit(
        "how many times its compressed size a file unpacks to, once it is larger than 64 MiB",
        Reason.ARCHIVE_TOO_DENSE,
        "a bomb is stopped early; tables seldom compress to less than a fiftieth",
    ),
    "max_image_pixels": Limit(
        "pixels of an image, before it is resized",
        Reason.IMAGE_TOO_LARGE,
        "an image of a few kilobytes can decode to gigabytes",
    ),
}

HEAD = """\
# Limits

<!-- Made by `python -m tools.limits_page` from the settings and from itself: change those, then run it. -->

What the scraper service takes of a file, an archive, a table, an image and a person. Each limit is a
[setting](settings.md), and has a reason of its own: what goes beyond is refused with it, as RESOURCE_EXHAUSTED, and
nothing is left of it. The message names the limit, what went beyond it, and the setting.

| what | setting | default | reason | why |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    """The page as it should be."""
    return HEAD + "".join(
        f"| {limit.what} | `{PREFIX}{name.upper()}` | {default_text(name, Settings.model_fields[name])} "
        f"| `{limit.reason.value}` | {limit.why} |\n"
        for name, limit in LIMITS.items()
    )


if __name__ == "__main__":
    sys.exit(written(PAGE, page(), "limits_page", __doc__))
