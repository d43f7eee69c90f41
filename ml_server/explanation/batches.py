"""How many points a network computes at a time for an explanation."""

from collections.abc import Iterator

# Those of a batch are in memory at once, and for a gradient all that the network makes of them too.
BATCH_POINTS = 1_024
BATCH_FEATURES = 500_000


def batches(points: int, features: int) -> Iterator[slice]:
    """Parts of so many points, each of so many features."""
    size = max(1, min(BATCH_POINTS, BATCH_FEATURES // max(1, features)))
    return (slice(start, min(start + size, points)) for start in range(0, points, size))
