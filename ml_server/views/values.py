"""A view as this service knows it: which columns its rows have, and how many rows each part."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn


class Part(StrEnum):
    """A part of a view's rows; the file of a fetched part is named after it."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class View:
    """What a view says of its rows. Equal digests mean equal rows."""

    name: str
    digest: str
    inputs: tuple[InputColumn, ...]
    targets: tuple[TargetColumn, ...]
    rows: dict[Part, int]

    @property
    def total_rows(self) -> int:
        """Rows of all parts."""
        return sum(self.rows.values())


class ViewSource(Protocol):
    """Where views are looked up with a caller's own rights."""

    async def get(self, name: str) -> View:
        """The view of the current caller, read with the caller's own token. Raises what its service says."""
        ...
