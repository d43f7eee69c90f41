"""How much of a column is remembered before its statistics become estimates."""

from dataclasses import dataclass

# Of all columns together: a million rows of 33 columns are exact.
BUDGET_BYTES = 256 << 20
VALUE_BYTES = 8


@dataclass(frozen=True)
class Capacity:
    """What one column may keep, of a budget that all share equally."""

    values: int
    """Numbers kept as they come; after the first so many, runs of a quarter are summarised one by one."""
    distinct: int
    """Different values kept with their counts, once not all values are."""
    text_bytes: int
    """Bytes that different strings may take."""
    quantile_points: int
    """Points of a summary of a distribution, see QuantileSketch for the error."""
    register_bits: int
    """Size of the sketch of different values, see DistinctSketch for the error."""

    @classmethod
    def of_column(cls, columns: int) -> "Capacity":
        """The share of each of so many columns."""
        values = max(BUDGET_BYTES // (VALUE_BYTES * columns), 1024)
        return cls(
            values=values,
            distinct=max(values // 4, 1024),
            text_bytes=VALUE_BYTES * values,
            quantile_points=min(max(values // 16, 256), 4096),
            register_bits=14 if values >= 65_536 else 12,
        )
