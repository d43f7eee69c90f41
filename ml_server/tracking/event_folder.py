"""TensorBoard's event files of one run, written so that each value of each step is there once."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FILE_VERSION = "brain.Event:2"
_numbers = count()


class EventFolder:
    """The folder of one run. Each process adds a file of its own, as TensorBoard wants it."""

    def __init__(self, directory: Path) -> None:
        """Reads what is there already."""
        directory.mkdir(parents=True, exist_ok=True)
        self._newest: dict[str, int] = {}
        for event in events_in(directory):
            for value in event.summary.value:
                self._newest[value.tag] = max(event.step, self._newest.get(value.tag, event.step))
        stamp = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file = (directory / f"events.out.tfevents.{stamp}").open("xb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version=FILE_VERSION).SerializeToString())

    def add(self, seconds: float, step: int, values: Sequence[Summary.Value]) -> None:
        """Adds values that belong together, but for those of which this step, or a later one, is there."""
        new = [value for value in values if step > self._newest.get(value.tag, -1)]
        if new:
            event = Event(wall_time=seconds, step=step, summary=Summary(value=new))
            self._records.write(event.SerializeToString())
            self._newest.update({value.tag: step for value in new})

    def flush(self) -> None:
        """Makes visible what was added. Raises OSError."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def events_in(directory: Path) -> Iterator[Event]:
    """All events of a run. What a kill cut off in the middle is not there."""
    for file in sorted(directory.glob("events.out.tfevents.*")):
        for record in RawEventFileLoader(str(file)).Load():
            yield Event.FromString(record)
