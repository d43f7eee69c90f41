"""The order in which an epoch takes rows that are more than memory: by blocks of consecutive rows.

Blocks are drawn over the whole file, so many at a time as fit into a buffer, and the rows in it are shuffled. So a row
meets rows from everywhere, in another company each epoch, while the disk reads long pieces. Of a table sorted by class
a buffer of b blocks has the classes in their proportions but for what a sample of b rows would miss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# A disk gives long pieces about as fast as a whole file.
BLOCK_BYTES = 256 << 10
# With fewer blocks a buffer would be a poor sample of a sorted table.
BUFFER_BLOCKS = 256
SEEDS = 1 << 62


@dataclass(frozen=True)
class BlockOrder:
    """The order of an epoch. Blocks that are read together form a group.

    `starts` and `ends` (blocks,) are the rows of each block, group after group; `first_blocks` and `first_rows`
    (groups + 1,) say where the groups begin, in blocks and in rows of the epoch.
    """

    starts: Tensor
    ends: Tensor
    first_blocks: list[int]
    first_rows: list[int]
    seed: int

    @classmethod
    def draw(cls, rows: int, row_bytes: int, buffer_rows: int, generator: torch.Generator) -> "BlockOrder":
        """An order of all rows, of which no more than `buffer_rows` are in a group."""
        block_rows = max(1, min(BLOCK_BYTES // max(row_bytes, 1), buffer_rows // BUFFER_BLOCKS))
        # The borders move from epoch to epoch, so that the rows of a block do not always come together.
        shift = int(torch.randint(block_rows, (), generator=generator))
        borders = torch.tensor([0, *range(shift or block_rows, rows, block_rows), rows])
        blocks = len(borders) - 1
        order = torch.randperm(blocks, generator=generator)
        seed = int(torch.randint(SEEDS, (), generator=generator))
        groups = max(1, -(-blocks // (buffer_rows // block_rows)))
        # Groups are alike in size: a small one at the end would be a poor sample.
        first_blocks = [blocks * group // groups for group in range(groups + 1)]
        starts, ends = borders[:-1][order], borders[1:][order]
        totals = torch.cat([torch.zeros(1, dtype=torch.int64), (ends - starts).cumsum(0)])
        return cls(starts, ends, first_blocks, totals[first_blocks].tolist(), seed)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.first_blocks) - 1

    @property
    def most_rows(self) -> int:
        """The rows of the largest group."""
        return max(self.rows_of(group) for group in range(self.groups))

    def rows_of(self, group: int) -> int:
        """The rows of a group."""
        return self.first_rows[group + 1] - self.first_rows[group]

    def group_at(self, row: int) -> int:
        """The group of a row of the epoch; the last one for the row after the last."""
        found = int(torch.searchsorted(torch.tensor(self.first_rows), row, right=True)) - 1
        return min(found, self.groups - 1)

    def blocks_of(self, group: int) -> list[tuple[int, int]]:
        """First and last row (not included) of the blocks of a group, in the order of the file."""
        part = slice(self.first_blocks[group], self.first_blocks[group + 1])
        return sorted(zip(self.starts[part].tolist(), self.ends[part].tolist(), strict=True))

    def shuffled(self, group: int) -> Tensor:
        """The order of the rows of a group (rows,), when its blocks lie in memory in the order of the file."""
        generator = torch.Generator().manual_seed(self.seed + group)
        return torch.randperm(self.rows_of(group), generator=generator)
