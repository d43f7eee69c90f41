"""The columns of a table of text: read as their types, which are found out on the way."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from scraper_server.tables.arrow import Array
from scraper_server.tables.cells import cleaned
from scraper_server.tables.choices import chosen_types
from scraper_server.tables.deciding import Decision, decided, evidence_of, rivals_of
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.inference import (
    ColumnPart,
    Plan,
    StringKind,
    allowed_readings,
    closest_readings,
    first_readings,
    fitting_readings,
    likely_readings,
    read_column,
)
from scraper_server.tables.insisting import USUAL
from scraper_server.tables.misfits import LineOf, MisfitTally, missing_by_choice, nearly_all_fit
from scraper_server.tables.reader import Misread, plain_schema
from scraper_server.tables.readings import STRING, Family, Reading
from scraper_server.tables.schema import Column, ColumnType, TableWarning, TypeFit, WarningKind

# A column of text that a type fits so well is worth a word.
NEARLY_ALL = 0.95
SAMPLE_ROWS = 2000


class _Question:
    """What is known about one column."""

    def __init__(self, sample: Array, allowed: tuple[Reading, ...], chosen: ColumnType | None) -> None:
        self.chosen = chosen
        self._sample = sample
        self._allowed = allowed
        self._possible = frozenset(allowed)
        self.fitting = closest_readings(sample, allowed) if chosen else first_readings(sample, allowed)
        self.plan = Plan(STRING, (), chosen)
        self.begin()

    def begin(self) -> None:
        """Forgets the rows, not what they told."""
        self.count = 0
        self.watched = [MisfitTally() for _ in self.plan.watched]
        self.misfits = MisfitTally()
        self.strings = StringKind()
        self._is_misread = False

    def see(self, part: ColumnPart, first_row: int, line_of: LineOf) -> None:
        """Takes the next rows."""
        self.count += part.count
        for tally, misfits in zip(self.watched, part.watched, strict=False):
            tally.add(misfits, first_row, line_of)
        self.misfits.add(part.chosen, first_row, line_of)
        if self.plan.type.is_string:
            self.strings.add(part.count, part.distinct)
        if part.values is None:
            self._is_misread = True
            self._possible &= part.fitting

    def settle(self) -> None:
        """Draws from all rows which readings fit them."""
        if self._is_misread:
            first = fitting_readings(self._sample, self._allowed)
            self.fitting = tuple(each for each in first if each in self._possible)
        elif self.plan.watched:
            counts = [tally.count for tally in self.watched]
            least = min(counts) if self.chosen else 0
            watched = zip(self.plan.watched, counts, strict=True)
            self.fitting = tuple(each for each, count in watched if count <= least) if self.count else ()

    def start(self, decision: Decision) -> None:
        """Plans to read as decided."""
        reading = self._reading(decision)
        watched = rivals_of(self.fitting)
        if self.chosen and self._sample.null_count == len(self._sample):
            watched = self._allowed
        elif not watched and reading is STRING:
            watched = likely_readings(self._sample, self._allowed)
        self.plan = Plan(reading, watched, self.chosen)

    def agrees(self, decision: Decision) -> bool:
        """True if the rows were read as decided. Otherwise plans to."""
        if self._reading(decision) == self.plan.reading:
            return True
        self.start(decision)
        return False

    def _reading(self, decision: Decision) -> Reading:
        is_other = self.chosen and decision.reading.type is not self.chosen
        return USUAL[self.chosen] if self.chosen and is_other else decision.reading


class TypedColumns:
    """Reads blocks of text as the types that fit all of them.

    `learn` once, then for each pass over the file: `begin`, then `read` for each block (in any thread) and `take` in
    the order of the rows, and `end`, after which `columns` and `warnings` are complete.
    """

    def __init__(self, names: Sequence[str], wanted: FileFormat, file: str, usual_numbers: Family = Family.POINT):
        """Raises InvalidArgument if a type is chosen for a column that is not there."""
        self._names = tuple(names)
        self._chosen = chosen_types(wanted, names, file)
        self._allowed = allowed_readings(wanted)
        self._usual_numbers = usual_numbers
        self._questions: list[_Question] = []
        self._decisions: list[Decision] = []
        self.columns = tuple(Column(name, self._chosen.get(name, ColumnType.TEXT)) for name in names)
        self.warnings: tuple[TableWarning, ...] = ()

    def learn(self, sample: Sequence[Array]) -> None:
        """Looks at the first cells of each column, to have a first plan."""
        for name, cells in zip(self._names, sample, strict=True):
            chosen = self._chosen.get(name)
            allowed = tuple(each for each in self._allowed if chosen is None or each.type is chosen)
            self._questions.append(_Question(cleaned(cells[:SAMPLE_ROWS]), allowed, chosen))
        self._decide()
        for question, decision in zip(self._questions, self._decisions, strict=True):
            question.start(decision)

    @property
    def is_learned(self) -> bool:
        """True once there is a plan."""
        return bool(self._questions)

    def begin(self) -> None:
        """A new pass: no row was read."""
        for question in self._questions:
            question.begin()
        self._is_misread = False
        self.columns = tuple(
            Column(name, question.plan.type) for name, question in zip(self._names, self._questions, strict=True)
        )
        self._schema = plain_schema(self.columns)

    def read(self, block: Sequence[Array]) -> tuple[ColumnPart, ...]:
        """Reads a block of rows, a string array for each column. Changes nothing."""
        return tuple(
            read_column(cells, question.plan, self._allowed, question.strings.is_open)
            for cells, question in zip(block, self._questions, strict=True)
        )

    def take(self, parts: Sequence[ColumnPart], first_row: int, line_of: LineOf) -> pa.RecordBatch | None:
        """Takes the next block; returns it as a batch, or None if the pass will have to be repeated."""
        for question, part in zip(self._questions, parts, strict=True):
            question.see(part, first_row, line_of)
        arrays = [part.values for part in parts if part.values is not None]
        self._is_misread |= len(arrays) < len(parts)
        return None if self._is_misread else pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def end(self) -> None:
        """Draws the conclusions of a pass. Raises Misread if the columns are to be read otherwise."""
        for question in self._questions:
            question.settle()
        self._decide()
        agreed = [each.agrees(decision) for each, decision in zip(self._questions, self._decisions, strict=True)]
        if not all(agreed) or self._is_misread:
            raise Misread
        self.columns = tuple(map(_finished, self._names, self._questions))
        told = map(_warnings, self.columns, self._questions, self._decisions)
        self.warnings = tuple(warning for each in told for warning in each)

    @property
    def decimal_separator(self) -> str:
        """What the numbers have before their fraction; empty if columns differ."""
        families = {question.plan.reading.family for question in self._questions}
        if Family.COMMA not in families:
            return "."
        return "" if Family.POINT in families else ","

    @property
    def thousands_separator(self) -> str:
        """What groups digits; empty if nothing does, or columns differ."""
        marks = {question.plan.reading.thousands for question in self._questions} - {""}
        return marks.pop() if len(marks) == 1 else ""

    def _decide(self) -> None:
        evidence = evidence_of(question.fitting for question in self._questions)
        self._decisions = [
            decided(question.fitting, evidence, self._usual_numbers, question.chosen) for question in self._questions
        ]


def _finished(name: str, question: _Question) -> Column:
    kind = question.plan.type
    if kind is ColumnType.TEXT and not question.chosen:
        kind = question.strings.type
    fits = [question.misfits.fit(kind, question.count)]
    if kind.is_string and question.count:
        best: dict[ColumnType, TypeFit] = {}
        for reading, tally in zip(question.plan.watched, question.watched, strict=True):
            fit = tally.fit(reading.type, question.count)
            if reading.type not in best or fit.share > best[reading.type].share:
                best[reading.type] = fit
        fits += best.values()
    return Column(name, kind, type_fits=tuple(fits))


def _warnings(column: Column, question: _Question, decision: Decision) -> Iterator[TableWarning]:
    if question.chosen:
        yield from missing_by_choice(column.name, column.type_fits[0], question.count)
    else:
        nearly = [fit for fit in column.type_fits[1:] if NEARLY_ALL <= fit.share < 1]
        if nearly:
            yield nearly_all_fit(column.name, max(nearly, key=lambda fit: fit.share), question.count)
    if decision.rivals:
        yield TableWarning(WarningKind.AMBIGUOUS, column.name, _ambiguity(column.name, question, decision))


def _ambiguity(name: str, question: _Question, decision: Decision) -> str:
    if decision.rivals[0].type is ColumnType.DATETIME:
        if question.chosen:
            return f"column '{name}': days and months could be swapped; {decision.reading.family} was taken"
        return (
            f"column '{name}' holds dates whose days and months could be swapped, and stays text: import with "
            f"column_types {name}=DATETIME to take the month as first, or write the dates as 2024-01-31"
        )
    if decision.reading.family is Family.COMMA:
        return (
            f"column '{name}' holds numbers such as 1,234 whose comma was taken for the decimal one: import with "
            "thousands_separator ',' if it groups digits"
        )
    return (
        f"column '{name}' holds numbers such as 1,234 whose comma was taken for one that groups digits: import with "
        "decimal_separator ',' if it is the decimal one"
    )
