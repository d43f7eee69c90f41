"""Checkpoints of one job: the newest two, each whole or absent."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from servicekit.files import staged_file

KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint files in a folder, `epoch-00000007.pt`."""

    directory: Path

    def save(self, epoch: int, state: dict[str, Any]) -> int:
        """Writes the checkpoint of an epoch, then removes those that are no longer needed. Returns its bytes."""
        path = self.directory / f"epoch-{epoch:08d}.pt"
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
        return sorted(self.directory.glob("epoch-*.pt"), reverse=True)
