"""One public file in the download cache: a folder that holds it, or what arrived of it, and says who wants it."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from scraper_server.sources.source import ResolvedFile, SourceKind
from servicekit.files import staged_file


@dataclass(frozen=True)
class Identity:
    """Which file it is, for everybody alike."""

    source: SourceKind
    ref: str
    version: int
    path: str
    """Empty for the archive of the whole data set."""

    @staticmethod
    def of(source: SourceKind, file: ResolvedFile) -> "Identity":
        """That of a file of a source."""
        return Identity(source, file.ref, file.version, file.path)

    @property
    def key(self) -> str:
        """A name for its folder: what is in a reference or a path stays out of our paths."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Claim:
    """A job that needs the file until it ends."""

    job_id: str
    owner: str


@dataclass(frozen=True)
class CachedFile:
    """`content/` for the source to write into, `claims/` with a file for each job, and `done.json` once it is whole.

    `done.json` is written last and removed first, so a server that is killed leaves a whole file, or one that can be
    gone on with, or a folder that nobody claims and that goes at the next start. Every method blocks for a moment.
    """

    directory: Path

    @property
    def content(self) -> Path:
        """Where the source writes."""
        return self.directory / "content"

    @property
    def _claims(self) -> Path:
        return self.directory / "claims"

    @property
    def _done(self) -> Path:
        return self.directory / "done.json"

    def claim(self, claim: Claim) -> None:
        """Keeps the file here until the claim is released."""
        self._claims.mkdir(parents=True, exist_ok=True)
        self.content.mkdir(exist_ok=True)
        (self._claims / claim.job_id).write_text(claim.owner)

    def release(self, job_id: str) -> None:
        """Takes a claim back. What arrived of a file that nobody wants any more goes with the last one."""
        (self._claims / job_id).unlink(missing_ok=True)
        if not self.claims() and self.whole() is None:
            self.remove()

    def claims(self) -> list[Claim]:
        """Which jobs need it."""
        return [Claim(file.name, file.read_text()) for file in self._claims.glob("*")]

    def finish(self, file: Path, identity: Identity) -> None:
        """Says that `file`, in the content, is the whole of it."""
        notes = {"name": file.name, "size_bytes": file.stat().st_size, "identity": asdict(identity)}
        with staged_file(self._done) as staging:
            staging.write_text(json.dumps(notes))

    def whole(self) -> tuple[Path, int] | None:
        """The file with its size, if all of it is there."""
        try:
            notes = json.loads(self._done.read_text())
            file, size = self.content / notes["name"], int(notes["size_bytes"])
            return (file, size) if file.stat().st_size == size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def use(self) -> None:
        """Makes it the one used last."""
        os.utime(self._done)

    def use_time(self) -> float:
        """When it was used last, if it is whole."""
        return self._done.stat().st_mtime

    def remove(self) -> None:
        """Removes everything."""
        self._done.unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
