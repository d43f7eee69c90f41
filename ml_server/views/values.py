"""A view as this service knows it: which columns its rows have, and how many rows each part."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn

VALUE_BYTES = 8


class Part(StrEnum):
    """A part of a view's rows; the file of a fetched part is named after it."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class View:
    """What a view says of its rows. Equal digests mean equal rows.

    `weight` is the column that says how much each row counts; None if all count alike.
    """

    name: str
    digest: str
    inputs: tuple[InputColumn, ...]
    targets: tuple[TargetColumn, ...]
    rows: dict[Part, int]
    weight: str | None = None

    @property
    def total_rows(self) -> int:
        """Rows of all parts."""
        return sum(self.rows.values())

    @property
    def expected_bytes(self) -> int:
        """What the rows take on a disk, about: texts are taken to be short."""
        inputs = sum(each.image.size_bytes if each.image else VALUE_BYTES for each in self.inputs)
        return self.total_rows * (inputs + VALUE_BYTES * (len(self.targets) + (self.weight is not None)))


@dataclass(frozen=True)
class PartHeader:
    """What the rows of a part begin with. `schema` is an Arrow IPC message.

    With `feature_columns`, the first column of the batches holds these side by side, as lists of float64.
    """

    row_count: int
    schema: bytes
    feature_columns: tuple[str, ...]


@dataclass(frozen=True)
class RowBatch:
    """Some rows of a part, numbered from 0, as an Arrow IPC message."""

    index: int
    row_count: int
    message: bytes


class ViewSource(Protocol):
    """Where views are looked up with a caller's own rights."""

    async def get(self, name: str) -> View:
        """The view of the current caller, read with the caller's own token. Raises what its service says."""
        ...
