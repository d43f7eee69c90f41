"""How far each job's log has been shown, on this disk: what a server that starts anew goes on from."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a job is shown up to: `attempt` is the one that this server ran."""

    owner: str
    attempt: int
    sequence: int = 0


class Places:
    """A folder with a file for each job that is being shown."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> Iterator[tuple[str, Place]]:
        """Every job's id, and its place."""
        for file in sorted(self._directory.glob("*.json")):
            yield file.stem, Place(**json.loads(file.read_bytes()))

    def sequence(self, job_id: str) -> int:
        """Up to which event a job was shown; 0 for none."""
        file = self._file(job_id)
        return Place(**json.loads(file.read_bytes())).sequence if file.exists() else 0

    def keep(self, job_id: str, place: Place) -> None:
        """Writes a job's place, the new one or, after a kill, the old one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._file(job_id)
        staged = file.with_suffix(".new")
        staged.write_text(json.dumps(asdict(place)))
        os.replace(staged, file)

    def forget(self, job_id: str) -> None:
        """The job is not shown any more."""
        self._file(job_id).unlink(missing_ok=True)

    def _file(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.json"
