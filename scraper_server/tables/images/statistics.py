"""What is known about the images of a column, found out as they pass."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from scraper_server.tables.schema import ColumnStatistics, ImageSizeCount, ImageStatistics
from servicekit.images.channels import ChannelHistogram
from servicekit.images.decoding import DecodedImage
from servicekit.images.shape import ImageShape

MOST_FREQUENT_SIZES = 20


class SeenImages:
    """Sizes before resizing, channels after it."""

    def __init__(self, shape: ImageShape) -> None:
        self._channels = ChannelHistogram(shape.mode.channels)
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._digests: set[bytes] = set()
        self._missing_count = 0

    @property
    def count(self) -> int:
        """How many images there were."""
        return self._sizes.total()

    def add(self, rows: Sequence[DecodedImage | None]) -> None:
        """Takes the images of the next rows, None for one without."""
        images = [image for image in rows if image is not None]
        self._missing_count += len(rows) - len(images)
        for image in images:
            self._sizes[image.height, image.width] += 1
            self._digests.add(blake2b(image.pixels, digest_size=8).digest())
        if images:
            self._channels.add(np.frombuffer(b"".join(image.pixels for image in images), np.uint8))

    @property
    def statistics(self) -> ColumnStatistics:
        """What is known so far, about one image at least."""
        heights, widths = zip(*self._sizes, strict=True)
        ranked = sorted(self._sizes.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT_SIZES]
        return ColumnStatistics(
            count=self.count,
            missing_count=self._missing_count,
            distinct_count=len(self._digests),
            image=ImageStatistics(
                minimum_height=min(heights),
                maximum_height=max(heights),
                minimum_width=min(widths),
                maximum_width=max(widths),
                most_frequent_sizes=tuple(ImageSizeCount(height, width, times) for (height, width), times in ranked),
                channel_means=tuple(self._channels.means.tolist()),
                channel_standard_deviations=tuple(self._channels.deviations.tolist()),
            ),
        )
