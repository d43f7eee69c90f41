"""Counts the images that can't be taken, and decides when they are too many."""

from scraper_server.tables.schema import CellExample, TableWarning, WarningKind
from servicekit.errors import InvalidArgument, Reason

LISTED = 20
SHOWN = 5
TEXT_CHARACTERS = 200


class BrokenImages:
    """The broken ones of `total` images, of which the share `allowed` may be broken."""

    def __init__(self, file: str, column: str, total: int, allowed: float) -> None:
        """`file` is what messages call the archive, `column` the one that the images go into."""
        self._file = file
        self._column = column
        self._total = total
        self._allowed = allowed
        self._count = 0
        self._examples: list[CellExample] = []

    def add(self, row: int, path: str, why: str) -> None:
        """Takes a broken image. Raises IMAGES_BROKEN once they are more than may be."""
        self._count += 1
        if len(self._examples) < LISTED:
            self._examples.append(CellExample(row, value=f"{path}: {why}"[:TEXT_CHARACTERS]))
        if self._count > self._allowed * self._total:
            raise self._refusal(
                f"at least {self._count} of {self._total} images are broken, more than the share of {self._allowed:g} "
                "that format.images.max_broken_share allows"
            )

    def check_any_whole(self) -> None:
        """Raises IMAGES_BROKEN if none is whole."""
        if self._count == self._total:
            raise self._refusal(f"none of its {self._total} images can be read")

    @property
    def warnings(self) -> tuple[TableWarning, ...]:
        """What the owner of the data set should know."""
        if not self._count:
            return ()
        message = f"{self._count} of {self._total} images are broken and were left out, first {self._examples[0].value}"
        return (TableWarning(WarningKind.IMAGES_BROKEN, self._column, message, self._count, tuple(self._examples)),)

    def _refusal(self, what: str) -> InvalidArgument:
        shown = "; ".join(f"'{example.value}'" for example in self._examples[:SHOWN])
        message = f"file '{self._file}': {what}: {shown}"
        return InvalidArgument(Reason.IMAGES_BROKEN, message, file=self._file, count=str(self._count))
