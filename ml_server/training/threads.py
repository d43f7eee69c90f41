"""How many processor threads a training has."""

import os
from dataclasses import dataclass
from typing import Literal

from ml_server.training.plans import TrainingPlan

# Smaller batches are done before a second thread is awake.
SMALL_BATCH_ROWS = 256


@dataclass(frozen=True)
class Threads:
    """As many as the operator says, or with `auto` a share of the cores.

    The share is that of `jobs` running at a time, whether or not they do: with another number of threads sums come in
    another order, and a job that goes on after a break would end with other weights.
    """

    setting: int | Literal["auto"]
    jobs: int

    def of(self, plan: TrainingPlan) -> int:
        """The threads of one training."""
        if self.setting != "auto":
            return self.setting
        if plan.batch_size < SMALL_BATCH_ROWS:
            return 1
        return max(1, len(os.sched_getaffinity(0)) // self.jobs)
