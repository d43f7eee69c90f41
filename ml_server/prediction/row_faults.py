"""Values that can't be taken: the first refuses the request, or each is kept with its row and the others go on."""

from dataclasses import dataclass
from typing import Protocol

from ml_server.prediction.raw import invalid_value
from servicekit.errors import InvalidArgument, Reason

# A message of 16 MiB has room for millions of empty texts, and a reply has none for a sentence about each.
MAX_FAULTS = 10_000


@dataclass(frozen=True)
class RowFault:
    """Why a row can't be predicted: a column, and what is wrong with its value there."""

    column: str
    problem: str


class Faults(Protocol):
    """Is told of each value that its column can't have."""

    def found(self, column: str, row: int, problem: str) -> None:
        """Returns if the other rows are to go on without this one. Raises InvalidArgument: VALUE_INVALID, if not."""
        ...


class Refusing:
    """Refuses the request at the first fault."""

    def found(self, column: str, row: int, problem: str) -> None:
        """As Faults says."""
        raise invalid_value(column, row, problem)


@dataclass(frozen=True)
class RefusingPart:
    """Refuses rows of a part of a view at the first fault; the first of these rows has a number in the part."""

    part: str
    first_row: int

    def found(self, column: str, row: int, problem: str) -> None:
        """As Faults says."""
        place = self.first_row + row
        raise InvalidArgument(
            Reason.VALUE_INVALID,
            f"column '{column}', row {place} of the {self.part} rows: the value {problem}, or name a view without it",
            column=column,
            row=str(place),
        )


class Collecting:
    """Keeps the first fault of each of so many rows, and refuses the request only if there are more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows: dict[int, RowFault] = {}

    def found(self, column: str, row: int, problem: str) -> None:
        """As Faults says."""
        if row in self.rows:
            return
        if len(self.rows) == self._most:
            raise InvalidArgument(
                Reason.VALUE_INVALID,
                f"more than {self._most} rows have values that can't be taken, one of them in column '{column}', "
                f"row {row}: the value {problem}",
                field="inputs",
                column=column,
                row=str(row),
            )
        self.rows[row] = RowFault(column, f"the value {problem}")
