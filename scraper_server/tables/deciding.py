"""Decides how columns are read that fit several readings, by what the other columns of the file show."""

from collections.abc import Iterable
from dataclasses import dataclass

from scraper_server.tables.readings import STRING, Family, Reading
from scraper_server.tables.schema import ColumnType

_NUMBER_FAMILIES = (Family.POINT, Family.COMMA)


@dataclass(frozen=True)
class Evidence:
    """What the columns that can be read in one way alone show; None if they show nothing, or are of both kinds."""

    numbers: Family | None = None
    times: Family | None = None

    def of(self, family: Family) -> Family | None:
        """What is shown about the rivals of a family."""
        return self.numbers if family in _NUMBER_FAMILIES else self.times


@dataclass(frozen=True)
class Decision:
    """How a column is read. `rivals` are readings of another family that fit as well, where nothing showed which."""

    reading: Reading
    rivals: tuple[Reading, ...] = ()


def evidence_of(columns: Iterable[tuple[Reading, ...]]) -> Evidence:
    """What columns show, each by the readings that fit it."""
    seen = {families.pop() for fitting in columns if len(families := _families(fitting)) == 1}
    numbers = seen & set(_NUMBER_FAMILIES)
    times = seen - numbers
    return Evidence(numbers.pop() if len(numbers) == 1 else None, times.pop() if len(times) == 1 else None)


def decided(
    fitting: tuple[Reading, ...], evidence: Evidence, usual_numbers: Family, chosen: ColumnType | None = None
) -> Decision:
    """How to read a column that these readings fit, in the order of preference.

    Months and days that could be swapped stay text, unless somebody chose a type: then the month is first, as it is
    where most files come from. `usual_numbers` is for numbers such as 1,234.
    """
    if not fitting:
        return Decision(STRING)
    families = _families(fitting)
    first = fitting[0]
    if len(families) <= 1 or first.family is None:
        return Decision(first)
    shown = evidence.of(first.family)
    is_number = first.type.is_numeric
    if shown in families and (is_number or chosen):
        return Decision(_first_of(fitting, shown))
    rivals = tuple(each for each in fitting if each.family)
    if not is_number:
        return Decision(_first_of(fitting, Family.MONTH_FIRST) if chosen else STRING, rivals)
    if not first.thousands and first.family is Family.POINT:
        return Decision(first)  # 1.234 is a plain number before anything else
    return Decision(_first_of(fitting, usual_numbers), rivals)


def rivals_of(fitting: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings between which only all cells, or other columns, can decide; empty if the first is it anyhow."""
    return fitting if len(_families(fitting)) > 1 and fitting[0].family is not None else ()


def _families(fitting: tuple[Reading, ...]) -> set[Family]:
    return {each.family for each in fitting if each.family} if fitting and fitting[0].family else set()


def _first_of(fitting: tuple[Reading, ...], family: Family | None) -> Reading:
    return next((each for each in fitting if each.family in (None, family)), fitting[0])
