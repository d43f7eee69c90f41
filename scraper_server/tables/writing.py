"""Reads rows, writes them, and finds out what is known of them, in one pass and in bounded memory."""

import itertools
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from scraper_server.limits import TableLimits
from scraper_server.tables.arrow import concatenated
from scraper_server.tables.digests import TableDigest
from scraper_server.tables.parquet import TableWriter
from scraper_server.tables.reader import BytesDone, Misread, TableReader
from scraper_server.tables.refusals import empty, too_many_rows
from scraper_server.tables.statistics.profile import TableProfile

# Row groups of the stored table. What reads a few of its rows reads whole groups, and each is in memory at once.
GROUP_ROWS = 65_536
GROUP_BYTES = 64 << 20
# A reading and a writing thread, and two for statistics; what they call lets go of Python's lock.
THREADS = 5
PROFILING_THREADS = 2

T = TypeVar("T")


@dataclass(frozen=True)
class WrittenRows:
    """What was found out on the way."""

    row_count: int
    digest: TableDigest
    profile: TableProfile


def write_rows(reader: TableReader, name: str, limits: TableLimits, path: Path, done: BytesDone) -> WrittenRows:
    """Writes all rows of a file, called `name`, to a Parquet file at `path`. What the reader raises is raised.

    Raises:
        ResourceExhausted: TOO_MANY_ROWS.
    """
    while True:
        try:
            return _written(reader, name, limits, path, done)
        except Misread:
            continue


def _written(reader: TableReader, name: str, limits: TableLimits, path: Path, done: BytesDone) -> WrittenRows:
    groups = regrouped(reader.batches(done))
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            ahead = _made_ahead(groups, threads)
            first = next(ahead, None)
            if first is None:
                raise empty(name, "it has no row")
            row_count = 0
            digest, profile = TableDigest(first.num_columns), TableProfile(first.schema, PROFILING_THREADS)
            with TableWriter(path, first.schema) as writer:
                for group in itertools.chain([first], ahead):
                    row_count += len(group)
                    if row_count > limits.max_rows:
                        raise too_many_rows(name, limits.max_rows)
                    steps = (writer.write, digest.add, *profile.steps)
                    for step in [threads.submit(step, group) for step in steps]:
                        step.result()
                writer.tell_types(reader.columns)
    finally:
        groups.close()  # only now, when no thread is in it
    return WrittenRows(row_count, digest, profile)


def _made_ahead(items: Iterator[T], threads: Executor) -> Iterator[T]:
    """The same items, the next of which is made while the caller is busy with one."""
    upcoming = threads.submit(next, items, None)
    while (item := upcoming.result()) is not None:
        upcoming = threads.submit(next, items, None)
        yield item


def regrouped(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    """The same rows in groups of at most GROUP_ROWS, and about GROUP_BYTES."""
    waiting: list[pa.RecordBatch] = []
    count, size = 0, 0
    for batch in batches:
        offset = 0
        row_bytes = max(batch.nbytes / max(len(batch), 1), 1)
        while offset < len(batch):
            room = min(GROUP_ROWS - count, max(int((GROUP_BYTES - size) / row_bytes), 1))
            taken = batch.slice(offset, room)
            waiting.append(taken)
            offset += len(taken)
            count += len(taken)
            size += int(len(taken) * row_bytes)
            if count >= GROUP_ROWS or size + row_bytes > GROUP_BYTES:
                yield concatenated(waiting)
                waiting, count, size = [], 0, 0
    if waiting:
        yield concatenated(waiting)
