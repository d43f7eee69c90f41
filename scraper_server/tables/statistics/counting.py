"""Values with how often they occur: exact, until there are too many different ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NumberCounts:
    """Different numbers in ascending order."""

    values: npt.NDArray[Any]
    counts: Counts

    @classmethod
    def of_sorted(cls, run: npt.NDArray[Any]) -> "NumberCounts":
        """Those of a sorted array."""
        starts = _starts(run)
        counts = np.empty_like(starts)
        np.subtract(starts[1:], starts[:-1], out=counts[:-1])
        counts[-1] = len(run) - starts[-1]
        return cls(run[starts], counts)

    def merged(self, other: "NumberCounts") -> "NumberCounts":
        """Those of both."""
        values = np.concatenate((self.values, other.values))
        order = np.argsort(values, kind="stable")
        values = values[order]
        starts = _starts(values)
        return NumberCounts(values[starts], np.add.reduceat(np.concatenate((self.counts, other.counts))[order], starts))

    def most(self, limit: int) -> "NumberCounts":
        """The most frequent, see `lowered`."""
        kept, counts = lowered(self.counts, limit)
        return NumberCounts(self.values[kept], counts)

    def top(self, limit: int) -> "NumberCounts":
        """The most frequent, most frequent first; of equal counts the smaller value."""
        if len(self.counts) > limit:
            least = np.partition(self.counts, -limit)[-limit]
            above = np.flatnonzero(self.counts > least)
            chosen = np.concatenate((above, np.flatnonzero(self.counts == least)[: limit - len(above)]))
        else:
            chosen = np.arange(len(self.counts))
        chosen = chosen[np.argsort(-self.counts[chosen], kind="stable")]
        return NumberCounts(self.values[chosen], self.counts[chosen])


@dataclass(frozen=True)
class TextCounts:
    """Different strings, each with the first row that has it, in the order of those."""

    values: Array
    counts: Counts
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, strings: Array, rows: npt.NDArray[np.int64]) -> "TextCounts":
        """Those of an array without nulls, whose strings are in these rows."""
        return cls._grouped(strings, np.ones(len(strings), np.int64), rows)

    @classmethod
    def merged(cls, parts: "list[TextCounts]") -> "TextCounts":
        """Those of several, which come from rows in this order."""
        if len(parts) == 1:
            return parts[0]
        counts = np.concatenate([part.counts for part in parts])
        rows = np.concatenate([part.rows for part in parts])
        return cls._grouped(pa.concat_arrays([part.values for part in parts]), counts, rows)

    @classmethod
    def _grouped(cls, values: Array, counts: Counts, rows: npt.NDArray[np.int64]) -> "TextCounts":
        encoded: Any = values.dictionary_encode()
        at = encoded.indices.to_numpy()
        different = len(encoded.dictionary)
        first = np.empty(different, np.int64)
        first[at[::-1]] = rows[::-1]  # the first row is written last
        return cls(encoded.dictionary, np.bincount(at, counts, different).astype(np.int64), first)

    @property
    def size_bytes(self) -> int:
        """Bytes that the strings take."""
        return self.values.nbytes

    def most(self, limit: int, limit_bytes: int) -> "TextCounts":
        """The most frequent, see `lowered`; fewer, if they take more bytes than that."""
        kept, counts = lowered(self.counts, limit)
        found = TextCounts(kernels.take(self.values, pa.array(kept)), counts, self.rows[kept])
        return found if limit == 1 or found.size_bytes <= limit_bytes else self.most(limit // 2, limit_bytes)

    def top(self, limit: int) -> "TextCounts":
        """The most frequent, most frequent first; of equal counts the string that sorts first."""
        ranked = pa.table({"value": self.values, "count": pa.array(self.counts)})
        order = [("count", "descending"), ("value", "ascending")]
        chosen = kernels.select_k_unstable(ranked, k=limit, sort_keys=order)
        at = chosen.to_numpy()
        return TextCounts(kernels.take(self.values, chosen), self.counts[at], self.rows[at])


def _starts(ordered: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where each value of a sorted array, which has at least one, comes first."""
    is_first = np.empty(len(ordered), np.bool_)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def lowered(counts: Counts, limit: int) -> tuple[npt.NDArray[np.intp], Counts]:
    """Where the at most `limit` most frequent are, and their counts, less that of the most frequent one left out.

    This is the merge of Misra-Gries summaries (Agarwal et al., "Mergeable summaries", 2012): what has more than
    1 / limit of all rows is never lost, and no count is too high.
    """
    if len(counts) <= limit:
        return np.arange(len(counts)), counts
    left_out = np.partition(counts, -limit - 1)[-limit - 1]
    kept = np.flatnonzero(counts > left_out)
    return kept, counts[kept] - left_out
