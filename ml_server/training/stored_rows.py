"""Prepared rows of a part as files, an array each: row after row, so that any of them can be mapped or read."""

import mmap
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_server.features.targets import FittedTargets, Task
from ml_server.training.rows import Rows
from ml_server.views.values import Part

# Has all pages read and mapped in order, instead of one by one as rows are drawn; Linux 5.14, not yet in `mmap`.
MADV_POPULATE_READ = 22


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: a row is one value, or `width` of them."""

    path: Path
    dtype: torch.dtype
    width: int | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * (1 if self.width is None else self.width)

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of so many rows."""
        return (rows,) if self.width is None else (rows, self.width)

    def mapped(self, rows: int, *, populated: bool) -> Tensor:
        """The array, with the file's pages as its memory: nothing is copied, and processes share them.

        It may be written to, which changes a copy. With `populated` all of it is read now, if it is not in memory yet.
        """
        if not rows or not self.row_bytes:
            return torch.empty(self.shape(rows), dtype=self.dtype)
        with self.path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if populated:
            with suppress(OSError):  # an older kernel reads them as they are needed
                pages.madvise(MADV_POPULATE_READ)
        return torch.frombuffer(pages, dtype=self.dtype).reshape(self.shape(rows))


@dataclass(frozen=True)
class StoredRows:
    """The rows of a part."""

    rows: int
    features: StoredArray
    targets: tuple[StoredArray, ...]
    weights: StoredArray | None

    @classmethod
    def of(
        cls, directory: Path, part: Part, rows: int, width: int, targets: FittedTargets, *, is_weighted: bool
    ) -> "StoredRows":
        """`rows` rows of `width` features in the files of a folder."""
        kinds = [torch.float32 if each.task is Task.REGRESSION else torch.int64 for each in targets.targets]
        return cls(
            rows,
            StoredArray(directory / f"{part}-features", torch.float32, width),
            tuple(StoredArray(directory / f"{part}-target-{at}", kind) for at, kind in enumerate(kinds)),
            StoredArray(directory / f"{part}-weights", torch.float32) if is_weighted else None,
        )

    @property
    def arrays(self) -> list[StoredArray]:
        """All arrays, in the order of the fields of Rows."""
        return [self.features, *self.targets, *([self.weights] if self.weights else [])]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in all arrays."""
        return sum(array.row_bytes for array in self.arrays)

    @property
    def size_bytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.row_bytes

    def mapped(self) -> Rows:
        """The rows as tensors whose memory are the files' pages."""
        return self.rows_of([array.mapped(self.rows, populated=True) for array in self.arrays])

    def rows_of(self, tensors: list[Tensor]) -> Rows:
        """Rows of the tensors of all arrays."""
        features, *others = tensors
        return Rows(features, tuple(others[: len(self.targets)]), others[-1] if self.weights else None)


class RowsWriter(AbstractContextManager["RowsWriter"]):
    """Writes the files of a part's rows."""

    def __init__(self, stored: StoredRows) -> None:
        """The folder is there, its files are not."""
        with ExitStack() as opened:
            self._files = [opened.enter_context(array.path.open("xb", buffering=0)) for array in stored.arrays]
            self._opened = opened.pop_all()

    def write(self, arrays: "list[NDArray[Any]]") -> None:
        """Takes the next rows: an array for each file."""
        for file, array in zip(self._files, arrays, strict=True):
            left = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            while left:
                left = left[file.write(left) :]

    def __exit__(self, *error: object) -> None:
        """Closes the files."""
        self._opened.close()
