"""How much memory a training has."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What cgroups of versions 2 and 1 allow to the processes of a container.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Memory:
    """As much as the operator says, or with `auto` a share of half of the machine's.

    The share is that of `jobs` running at a time, whether or not they do: it decides in which order rows come that are
    more than memory, and a job that goes on after a break goes on in the same order.
    """

    setting: int | Literal["auto"]
    jobs: int

    @property
    def job_bytes(self) -> int:
        """The memory of one training."""
        return machine_memory() // 2 // self.jobs if self.setting == "auto" else self.setting


def machine_memory() -> int:
    """Bytes of memory of the machine, or of the container."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in LIMITS:
        with suppress(OSError, ValueError):  # another version, or "max"
            found.append(int(limit.read_text()))
    return min(found)
