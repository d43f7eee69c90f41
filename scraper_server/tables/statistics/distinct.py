"""Estimates how many different values there are, from their hashes."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from scraper_server.tables.arrow import Array

Hashes = npt.NDArray[np.uint64]


class DistinctSketch:
    """HyperLogLog with the estimator of Ertl ("New cardinality estimation algorithms", 2017), on whole arrays.

    The standard error is 1.04 / sqrt(2 ** bits): 0.8 percent for 14 bits, 1.6 for 12. Hashes have no seed, so equal
    tables give equal estimates. (The sketches of the package datasketches take their values one by one.)
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._registers = np.zeros(1 << bits, np.uint8)

    def add(self, hashes: Hashes) -> None:
        """Takes values, any of them any number of times."""
        register = (hashes >> np.uint64(64 - self._bits)).astype(np.intp)
        # 53 of the remaining bits, which a float holds: its exponent tells the leading zeros.
        rest = (hashes << np.uint64(self._bits)) >> np.uint64(11)
        rank = (54 - np.frexp(rest.astype(np.float64))[1]).astype(np.uint8)
        np.maximum.at(self._registers, register, rank)

    def estimate(self) -> int:
        """About how many different values there were."""
        size = len(self._registers)
        counts = np.bincount(self._registers, minlength=55).astype(float)
        total = size * _tau(1 - counts[54] / size)
        for count in counts[53:0:-1]:
            total = 0.5 * (total + count)
        total += size * _sigma(counts[0] / size)
        return round(size * size / (2 * math.log(2) * total))


def number_hashes(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> Hashes:
    """Hashes of numbers: the finalizer of splitmix64 (Steele, Lea and Flood, 2014). Equal numbers have equal ones."""
    bits = (values + 0 if values.dtype.kind == "f" else values).view(np.uint64)  # -0.0 becomes 0.0
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def text_hashes(values: Array) -> Hashes:
    """Hashes of strings: SipHash with a fixed key."""
    return pd.util.hash_array(values.to_numpy(zero_copy_only=False), categorize=False)


def _sigma(share: float) -> float:
    if share == 1:
        return math.inf
    power, total, factor = share, share, 1.0
    while True:
        power *= power
        before = total
        total += power * factor
        factor += factor
        if total == before:
            return total


def _tau(share: float) -> float:
    if share in (0, 1):
        return 0.0
    power, total, factor = share, 1 - share, 1.0
    while True:
        power = math.sqrt(power)
        before = total
        factor /= 2
        total -= (1 - power) ** 2 * factor
        if total == before:
            return total / 3
