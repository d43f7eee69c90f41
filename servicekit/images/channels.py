"""The distribution of each channel over many images, exactly and in little memory."""

import numpy as np
from numpy.typing import NDArray

LEVELS = 256


class ChannelHistogram:
    """Counts how often each channel has each of its 256 levels."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, LEVELS), dtype=np.int64)

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Takes images whose channels lie together: any shape whose size is a multiple of the number of channels."""
        by_channel = pixels.reshape(-1, len(self._counts))
        for counts, levels in zip(self._counts, by_channel.T, strict=True):
            counts += np.bincount(levels, minlength=LEVELS)

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean of each channel, 0 to 255; 0 without any image."""
        return self._counts @ np.arange(LEVELS) / self._pixel_count

    @property
    def deviations(self) -> NDArray[np.float64]:
        """The standard deviation of each channel (the population's)."""
        squares = (np.arange(LEVELS) - self.means[:, None]) ** 2
        deviations: NDArray[np.float64] = np.sqrt((self._counts * squares).sum(axis=1) / self._pixel_count)
        return deviations

    @property
    def _pixel_count(self) -> int:
        return max(int(self._counts[0].sum()), 1)
