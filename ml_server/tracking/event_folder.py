"""TensorBoard's event files of one run, written so that each value of each step is there once."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FILE_VERSION = "brain.Event:2"
LOCK = "lock"
_numbers = count()


class EventFolder:
    """The folder of one run. Each process adds a file of its own, as TensorBoard wants it."""

    def __init__(self, directory: Path) -> None:
        """Reads nothing yet."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._newest: dict[str, int] = {}
        self._read: dict[Path, int] = {}
        stamp = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = directory / f"events.out.tfevents.{stamp}"
        self._file = self._path.open("xb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version=FILE_VERSION).SerializeToString())

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Nobody else adds meanwhile, and what others have added is known; in the end what was added is visible.

        A server that hands a job over may still write as its successor begins, and both have the same log.
        Raises OSError.
        """
        with (self._directory / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read_others()
            yield
            self._file.flush()

    def add(self, seconds: float, step: int, values: Sequence[Summary.Value]) -> None:
        """Adds values that belong together, but for those of which this step, or a later one, is there."""
        new = [value for value in values if step > self._newest.get(value.tag, -1)]
        if new:
            event = Event(wall_time=seconds, step=step, summary=Summary(value=new))
            self._records.write(event.SerializeToString())
            self._newest.update({value.tag: step for value in new})

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _read_others(self) -> None:
        for path in event_files(self._directory):
            size = path.stat().st_size
            if path == self._path or self._read.get(path) == size:
                continue
            for event in events_in(path):
                for value in event.summary.value:
                    self._newest[value.tag] = max(event.step, self._newest.get(value.tag, event.step))
            self._read[path] = size


def event_files(directory: Path) -> list[Path]:
    """The files of a run, the oldest first."""
    return sorted(directory.glob("events.out.tfevents.*"))


def events_in(path: Path) -> Iterator[Event]:
    """The events of a file. What a kill cut off in the middle is not there."""
    for record in RawEventFileLoader(str(path)).Load():
        yield Event.FromString(record)
