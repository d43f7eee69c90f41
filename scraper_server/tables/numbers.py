"""How numbers and truth values are written: plainly, with groups of thousands, or with a decimal comma.

00123 is a code and 0x1F a name, though Arrow would read both as numbers; and whole numbers too long for an integer are
identifiers, which a float would blur.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels, reductions
from scraper_server.tables.cells import CellBytes, finite, flags
from scraper_server.tables.readings import Cells, Family, Reading
from scraper_server.tables.schema import ColumnType

# Whole numbers below this have at most 18 digits and fit an integer, however they are written.
_SAFE = 10**18
_LONGEST = 2**63
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_FLOAT = rf"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){_EXPONENT}$|^[+-]?(?i:inf|infinity|nan)$"
_NOT_FLOAT = r"^[+-]?(?:0[0-9]+|[0-9]{19,})$"
# What may stand between groups of digits: French files have narrow spaces, Swiss ones curly apostrophes.
_GROUPING = {",": ",", ".": r"\.", " ": r"[ \x{a0}\x{202f}]", "'": r"['\x{2019}]"}


def _quick_integers(strings: Array) -> Array | None:
    try:
        values = kernels.cast(strings, pa.int64())
    except pa.ArrowInvalid:
        return None
    return values if not _leading_zeros(strings) and _within(values, _SAFE) else None


def _quick_floats(strings: Array) -> Array | None:
    try:
        values = kernels.cast(strings, pa.float64())
    except pa.ArrowInvalid:
        return None
    return values if not _leading_zeros(strings) and _within(values, _SAFE) else None


def _integers(strings: Array) -> Cells:
    shaped = kernels.match_substring_regex(strings, r"^[+-]?(?:0|[1-9][0-9]{0,18})$")
    return _read(strings, kernels.and_(shaped, kernels.invert(_too_long(strings, shaped))), _cast_integers)


def _floats(strings: Array) -> Cells:
    shaped = kernels.match_substring_regex(strings, _FLOAT)
    refused = kernels.match_substring_regex(strings, _NOT_FLOAT)
    return _read(strings, kernels.and_not(shaped, refused), _cast_floats)


def _booleans(strings: Array) -> Cells:
    shaped = kernels.match_substring_regex(strings, r"^(?i:true|false)$")
    return _read(strings, shaped, lambda fitting: kernels.equal(kernels.utf8_lower(fitting), "true"))


def _grouped_integers(grouping: str) -> Callable[[Array], Cells]:
    shape = rf"^[+-]?(?:0|[1-9][0-9]{{0,17}}|[1-9][0-9]{{0,2}}(?:{grouping}[0-9]{{3}}){{1,5}})$"

    def careful(strings: Array) -> Cells:
        fitting = kernels.match_substring_regex(strings, shape)
        return _read(
            strings, fitting, lambda found: _cast_integers(kernels.replace_substring_regex(found, grouping, ""))
        )

    return careful


def _styled_floats(decimal: str, grouping: str) -> Callable[[Array], Cells]:
    point = _GROUPING[decimal]
    groups = rf"[1-9][0-9]{{0,2}}(?:{grouping}[0-9]{{3}})+|" if grouping else ""
    shape = rf"^[+-]?(?:(?:{groups}[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+){_EXPONENT}$"

    def plain(found: Array) -> Array:
        ungrouped = kernels.replace_substring_regex(found, grouping, "") if grouping else found
        return _cast_floats(kernels.replace_substring(ungrouped, decimal, "."))

    def careful(strings: Array) -> Cells:
        shaped = kernels.match_substring_regex(strings, shape)
        refused = kernels.match_substring_regex(strings, _NOT_FLOAT)
        return _read(strings, kernels.and_not(shaped, refused), plain)

    return careful


def _read(strings: Array, shaped: Array, cast: Callable[[Array], Array]) -> Cells:
    """Reads the cells that have the right shape."""
    fitting = kernels.if_else(shaped, strings, pa.scalar(None, pa.string()))
    return Cells(cast(fitting), flags(kernels.invert(shaped)))


def _cast_integers(strings: Array) -> Array:
    return kernels.cast(kernels.replace_substring_regex(strings, r"^\+", ""), pa.int64())


def _cast_floats(strings: Array) -> Array:
    return finite(kernels.cast(strings, pa.float64()))


def _too_long(strings: Array, shaped: Array) -> Array:
    """Which of the whole numbers with 19 digits a 64 bit integer can't hold."""
    longest = flags(kernels.and_(shaped, kernels.match_substring_regex(strings, r"[0-9]{19}$")))
    found = np.zeros(len(strings), np.bool_)
    for position in np.flatnonzero(longest):
        found[position] = not -_LONGEST <= int(str(strings[int(position)].as_py())) < _LONGEST
    return pa.array(found)


def _within(values: Array, bound: int) -> bool:
    """True if all numbers are finite and nearer to zero than the bound."""
    if not values.null_count:
        numbers = values.to_numpy()
        # What is not a number is neither above nor below, and hence not within.
        return not len(numbers) or bool(-bound < numbers.min() and numbers.max() < bound)
    extremes = reductions.min_max(values).as_py()
    lowest, highest = extremes["min"], extremes["max"]
    if lowest is None:
        return True
    # Arrow's extremes pass over what is not a number.
    is_number = not pa.types.is_floating(values.type) or bool(reductions.all(kernels.is_finite(values)).as_py())
    return is_number and -bound < lowest and highest < bound


def _leading_zeros(strings: Array) -> bool:
    """True if a cell may begin with a zero before another digit or letter: 0123, -05, 0x1F. Looks at bytes alone."""
    cells = CellBytes(strings)
    starts, ends = cells.ends[:-1], cells.ends[1:]
    first = cells.at(starts)
    zeros = np.flatnonzero(first == ord("0"))
    signed = np.flatnonzero((first == ord("-")) | (first == ord("+")))
    inner = starts[signed] + 1
    is_zero = cells.at(inner) == ord("0")
    return _is_followed(cells, starts[zeros], ends[zeros]) or _is_followed(cells, inner[is_zero], ends[signed][is_zero])


def _is_followed(cells: CellBytes, zeros: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]) -> bool:
    """True if what follows a zero within its cell is neither a point nor an exponent."""
    within = zeros + 1 < ends
    following = cells.at(zeros[within] + 1)
    return bool(np.any((following != ord(".")) & (following | 0x20 != ord("e"))))


INTEGER = Reading("integer", ColumnType.INTEGER, _integers, _quick_integers)
FLOAT = Reading("float", ColumnType.FLOAT, _floats, _quick_floats, Family.POINT, ".")
BOOLEAN = Reading("boolean", ColumnType.BOOLEAN, _booleans)

_GROUPED_FAMILY = {",": Family.POINT, ".": Family.COMMA, " ": None, "'": None}
GROUPED_INTEGERS = tuple(
    Reading(f"integer {mark}", ColumnType.INTEGER, _grouped_integers(grouping), family=family, thousands=mark)
    for (mark, grouping), family in zip(_GROUPING.items(), _GROUPED_FAMILY.values(), strict=True)
)
STYLED_FLOATS = tuple(
    Reading(
        f"float {decimal}{mark}",
        ColumnType.FLOAT,
        _styled_floats(decimal, _GROUPING.get(mark, "")),
        family=Family.POINT if decimal == "." else Family.COMMA,
        decimal=decimal,
        thousands=mark,
    )
    for decimal, mark in product(".,", ("", *_GROUPING))
    if decimal != mark and (decimal, mark) != (".", "")
)
