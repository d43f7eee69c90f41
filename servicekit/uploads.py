"""Takes a file that a caller sends in chunks, and holds it against what its header announced."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from servicekit.errors import InvalidArgument, Reason, ResourceExhausted


@dataclass(frozen=True)
class Announcement:
    """What a header says of the file. `sha256` is hexadecimal, or empty if the sender does not know it."""

    file_name: str
    size_bytes: int
    sha256: str = ""


async def receive_file(
    path: Path, announced: Announcement, chunks: AsyncIterator[bytes], max_bytes: int, limit_setting: str
) -> str:
    """Writes the chunks to `path` and returns their sha256, hexadecimal. What is left of a refused file is the
    caller's to remove.

    Raises:
        InvalidArgument: UPLOAD_INCOMPLETE, if they are not what was announced.
        ResourceExhausted: LIMIT_EXCEEDED, before anything is taken.
    """
    if announced.size_bytes > max_bytes:
        raise ResourceExhausted(
            Reason.LIMIT_EXCEEDED,
            f"file '{announced.file_name}' has {announced.size_bytes} bytes, more than the {max_bytes} that this "
            f"server takes ({limit_setting})",
            limit=str(max_bytes),
        )
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > announced.size_bytes:
                raise _incomplete(announced, f"more than the announced {announced.size_bytes} bytes arrived")
            digest.update(chunk)
            file.write(chunk)
    if size < announced.size_bytes:
        raise _incomplete(announced, f"it ended after {size} of {announced.size_bytes} bytes")
    if announced.sha256 and digest.hexdigest() != announced.sha256:
        raise _incomplete(announced, f"its sha256 is {digest.hexdigest()}, not the announced {announced.sha256}")
    return digest.hexdigest()


def _incomplete(announced: Announcement, problem: str) -> InvalidArgument:
    return InvalidArgument(
        Reason.UPLOAD_INCOMPLETE,
        f"file '{announced.file_name}' did not arrive whole: {problem}; nothing is kept, send it again",
        file=announced.file_name,
    )
