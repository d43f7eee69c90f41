"""What is done about rows with more or fewer cells than the header, and what is told of them."""

from scraper_server.tables.blocks import Block
from scraper_server.tables.formats import RaggedRows
from scraper_server.tables.refusals import not_a_table
from scraper_server.tables.rows import BlockRows
from scraper_server.tables.schema import CellExample, TableWarning, WarningKind

# Without being told, so many rows in one ragged one are needed to leave it out.
ROWS_PER_RAGGED = 20
EXAMPLES = 20
EXAMPLE_CHARACTERS = 200
SHOWN_LINES = 5


class RaggedTally:
    """Counts the ragged rows of a file, and refuses the file if they are too many."""

    def __init__(self, width: int, wanted: RaggedRows | None, name: str, delimiter: str) -> None:
        """`width` is the header's; `name` is what messages call the file."""
        self._width = width
        self._wanted = wanted
        self._name = name
        self._delimiter = delimiter
        self._count = 0
        self._widths: list[tuple[int, int]] = []  # lines with their numbers of cells
        self._examples: list[CellExample] = []

    @property
    def policy(self) -> RaggedRows | None:
        """What was done; None if there was nothing to do and nobody asked."""
        return self._wanted or (RaggedRows.SKIP if self._count else None)

    @property
    def warnings(self) -> tuple[TableWarning, ...]:
        """What the owner of the file is told."""
        if not self._count:
            return ()
        are = f"1 row has more or fewer cells than the {self._width} of the header, and was"
        if self._count > 1:
            are = f"{self._count} rows have more or fewer cells than the {self._width} of the header, and were"
        fate = "filled up or cut off" if self._wanted is RaggedRows.FILL else "left out"
        message = f"{are} {fate}: {self._lines()}"
        return (TableWarning(WarningKind.ROWS_RAGGED, "", message, self._count, tuple(self._examples)),)

    def see(self, block: Block, rows: BlockRows, first_row: int) -> None:
        """Takes the next rows. `first_row` is how many the table has before them.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if there are ragged ones and none may be.
        """
        for row in rows.ragged[: EXAMPLES - len(self._examples)]:
            line = block.lines[row.position]
            self._widths.append((line, row.width))
            # The place in the table that it has, or would have.
            place = first_row + row.position - sum(out < row.position for out in rows.left_out)
            self._examples.append(CellExample(place, line, row.text[:EXAMPLE_CHARACTERS]))
        self._count += len(rows.ragged)
        if self._count and self._wanted is RaggedRows.FAIL:
            raise self._refusal("")

    def end(self, row_count: int) -> None:
        """Takes it that this was all, with so many rows in the table.

        Raises:
            InvalidArgument: FILE_NOT_A_TABLE if too many are ragged to leave them out unasked.
        """
        if self._wanted is None and self._count * ROWS_PER_RAGGED > self._count + row_count:
            of_all = f"{self._count} of {self._count + row_count} rows, more than 1 in {ROWS_PER_RAGGED}, are ragged: "
            raise self._refusal(of_all)

    def _refusal(self, of_all: str) -> Exception:
        return not_a_table(
            self._name,
            f"{of_all}{self._lines()}; correct them, say in format.delimiter what separates the cells if it is not "
            f"{self._delimiter!r}, or import with format.ragged_rows SKIP or FILL",
        )

    def _lines(self) -> str:
        (line, width), *others = self._widths[:SHOWN_LINES]
        shown = [f"line {line} has {width} cell{'s' * (width != 1)} where the header has {self._width}"]
        shown += [f"line {line} has {width}" for line, width in others]
        more = self._count - len(shown)
        return ", ".join(shown) + (f", and {more} more" if more else "")
