"""How many processor threads a training has."""

from dataclasses import dataclass
from typing import Literal

from ml_server.training.plans import TrainingPlan

# Smaller batches are done before a second thread is awake.
SMALL_BATCH_ROWS = 256


@dataclass(frozen=True)
class Threads:
    """As many as the operator says, or with `auto` all of the cores that a training has for itself.

    These are a share of the machine's, whether or not as many jobs run as could: with another number of threads sums
    come in another order, and a job that goes on after a break would end with other weights.
    """

    setting: int | Literal["auto"]
    cores: int

    def of(self, plan: TrainingPlan) -> int:
        """The threads of one training."""
        if self.setting != "auto":
            return self.setting
        return 1 if plan.batch_size < SMALL_BATCH_ROWS else max(1, self.cores)
