"""Checkpoints of one job: the newest two, each whole or absent, and when the next is due."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from servicekit.files import staged_file

KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint files in a folder, named by epoch and step: `00000007-0000000123.pt`."""

    directory: Path

    def save(self, epoch: int, steps: int, state: dict[str, Any]) -> int:
        """Writes the checkpoint after so many epochs and steps of the next one, then removes those that are no longer
        needed. Returns its bytes. Raises OSError, with the earlier ones as they were."""
        path = self.directory / f"{epoch:08d}-{steps:010d}.pt"
        with staged_file(path) as staging:
            torch.save(state, staging)
        size = path.stat().st_size
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)
        return size

    def load_newest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, None if there is none, and what is wrong with newer ones.

        Tensors are on the CPU.
        """
        problems = []
        for path in self._newest_first():
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
                # A disk may lose what it was told to keep; the checkpoint before is still good.
                problems.append(f"checkpoint {path.stem} can't be read: {error}")
                continue
            return state, problems
        return None, problems

    def _newest_first(self) -> list[Path]:
        return sorted(self.directory.glob("*-*.pt"), reverse=True)
