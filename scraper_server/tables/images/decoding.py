"""Decodes the images of an archive in parallel and in order, in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from scraper_server.archives.zip import Archive, Member
from scraper_server.limits import ImageLimits
from servicekit.errors import InvalidArgument
from servicekit.images.decoding import BrokenImage, DecodedImage, ImageDecoder
from servicekit.images.shape import ImageShape

THREADS = min(os.cpu_count() or 1, 8)
# Encoded images that are read ahead; one that is larger waits until it is alone.
AHEAD_BYTES = 64 << 20
AHEAD_IMAGES = 8 * THREADS
# An uncompressed image has up to four bytes for each pixel that it may have, and some more.
PIXEL_BYTES = 4
HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Read:
    """What became of an image: its pixels, or why there are none. None for both: no image was named."""

    image: DecodedImage | None
    why_broken: str | None = None


class ArchiveImages:
    """The images of an open archive, all made to fit one shape."""

    def __init__(self, archive: Archive, shape: ImageShape, limits: ImageLimits) -> None:
        self._archive = archive
        self._shape = shape
        self._max_bytes = limits.max_pixels * PIXEL_BYTES + HEAD_BYTES
        self._decoder = ImageDecoder(limits.max_pixels)

    def decoded(self, wanted: Iterable[Member | str | None]) -> Iterator[Read]:
        """What becomes of each member, in their order; a text in the place of one says why it is broken already.

        Members are read here, one after another, and decoded by threads.

        Raises:
            ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE.
        """
        waiting: deque[tuple[int, Future[Read]]] = deque()
        waiting_bytes = 0
        with ThreadPoolExecutor(THREADS, "image-decoding") as threads:
            try:
                for each in wanted:
                    size, work = self._work(each)
                    while waiting and (waiting_bytes + size > AHEAD_BYTES or len(waiting) >= AHEAD_IMAGES):
                        done_bytes, future = waiting.popleft()
                        waiting_bytes -= done_bytes
                        yield future.result()
                    waiting.append((size, threads.submit(work)))
                    waiting_bytes += size
                while waiting:
                    yield waiting.popleft()[1].result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _work(self, wanted: Member | str | None) -> "tuple[int, partial[Read]]":
        """The bytes that wait, and what is to be done with them."""
        if not isinstance(wanted, Member):
            return 0, partial(Read, None, wanted)
        try:
            with self._archive.open(wanted) as content:
                encoded = content.read(self._max_bytes + 1)
        except InvalidArgument as error:  # a damaged member is a broken image
            return 0, partial(Read, None, error.message)
        if len(encoded) > self._max_bytes:
            return 0, partial(Read, None, f"it has more than {self._max_bytes} bytes (IMAGE_TOO_LARGE)")
        return len(encoded), partial(self._decode, encoded)

    def _decode(self, encoded: bytes) -> Read:
        try:
            return Read(self._decoder.decode(encoded, self._shape))
        except BrokenImage as error:
            return Read(None, str(error))
