"""Finds out what type a column of text has, from all of its cells, chunk by chunk."""

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.cells import AMBIGUOUS, READINGS, Reading
from scraper_server.tables.schema import ColumnType

# A column of strings is categorical with at most so many distinct ones ...
MOST_CATEGORIES = 1000
# ... that repeat: twice on average, or at all when there are only so many.
FEW_CATEGORIES = 20
FIRST_CELLS = 64


class StringKind:
    """Tells categories from text, from all the strings of a column."""

    def __init__(self) -> None:
        self._distinct: set[str] | None = set()  # None once there are too many
        self._count = 0

    def see(self, strings: Array) -> None:
        """Takes the next cells."""
        self._count += len(strings) - strings.null_count
        if self._distinct is None:
            return
        self._distinct.update(map(str, kernels.unique(kernels.drop_null(strings)).to_pylist()))
        if len(self._distinct) > MOST_CATEGORIES:
            self._distinct = None

    @property
    def type(self) -> ColumnType:
        """CATEGORICAL if the strings repeat enough, else TEXT."""
        if self._distinct is None:
            return ColumnType.TEXT
        distinct = len(self._distinct)
        repeats = distinct * 2 <= self._count or (distinct <= FEW_CATEGORIES and distinct < self._count)
        return ColumnType.CATEGORICAL if self._count and repeats else ColumnType.TEXT


class ColumnInference:
    """Keeps the readings that fit every cell of one column so far."""

    def __init__(self) -> None:
        self._fitting: tuple[Reading, ...] = READINGS
        self._strings = StringKind()
        self._count = 0

    def see(self, strings: Array) -> None:
        """Takes the next cells, cleaned."""
        self._count += len(strings) - strings.null_count
        # Most readings fail at the first few cells: trying those alone first spares the rest.
        first = tuple(reading for reading in self._fitting if reading.fits(strings[:FIRST_CELLS]))
        self._fitting = tuple(reading for reading in first if reading.fits(strings))
        self._strings.see(strings)

    @property
    def reading(self) -> Reading:
        """How to read the column, now that all its cells were seen."""
        fitting = self._fitting if self._count else ()
        names = {reading.name for reading in fitting}
        ambiguous = {name for pair in AMBIGUOUS if pair <= names for name in pair}
        chosen = [reading for reading in fitting if reading.name not in ambiguous]
        if chosen:
            return chosen[0]
        return Reading("string", self._strings.type, lambda strings: strings)
