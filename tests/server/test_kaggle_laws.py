"""Whatever storage does to a download, what comes out is the file, or an error: never other bytes."""

import asyncio
import tempfile
import zipfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from scraper_server.sources.kaggle.accounts import OperatorAccount
from scraper_server.sources.kaggle.kaggle_source import KaggleSource
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.retries import RetryPolicy
from scraper_server.sources.source import FileRequest
from servicekit.errors import FlareError
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind

ANN = "accounts/ann"
TABLE = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(8000))
POSITIONS = st.integers(0, len(TABLE) - 1)
QUICK = RetryPolicy(tries=4, first_wait_seconds=0.001, longest_asked_wait_seconds=0)

refusals = st.sampled_from([400, 403, 404, 410, 416, 418, 429, 500, 503]).map(Fault)
# With a checksum any damage is seen; without one at least every cut is.
damages = st.builds(
    Fault,
    cut_after=st.none() | POSITIONS,
    length_delta=st.integers(-len(TABLE), 2000),
    flip_at=st.none() | st.just(0),
    chunked=st.booleans(),
)
cuts = st.builds(Fault, cut_after=st.none() | POSITIONS, chunked=st.booleans(), without_hash=st.just(True))
faults = st.lists(refusals | damages.filter(lambda fault: fault.length_delta > -len(TABLE)) | cuts, max_size=6)


@settings(max_examples=60, deadline=None)
@example(faults=[Fault(cut_after=1, without_hash=True), Fault(flip_at=0)], zipped=False)
@given(faults=faults, zipped=st.booleans())
def test_a_download_brings_the_file_or_an_error(faults: list[Fault], zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        outcome = asyncio.run(downloaded(faults, zipped, Path(directory)))
    assert outcome is None or outcome == TABLE


async def downloaded(faults: list[Fault], zipped: bool, directory: Path) -> bytes | None:
    """What arrives; None if an error is raised."""
    catalogue = Catalogue([EmulatedDataset("ann/numbers", "Numbers", [EmulatedFile("t.csv", TABLE, zipped=zipped)])])
    async with KaggleEmulator(catalogue) as kaggle:
        for fault in faults:
            kaggle.inject(RequestKind.STORAGE, fault)
        source = KaggleSource(
            KaggleOptions(kaggle.endpoint, import_retries=QUICK, read_timeout_seconds=5), OperatorAccount()
        )
        try:
            file = await source.resolve(ANN, FileRequest("ann/numbers"))
            path = await source.download(ANN, file, directory, unheard)
            if not zipped:
                return path.read_bytes()
            with zipfile.ZipFile(path) as archive:
                return archive.read("t.csv")
        except FlareError:
            return None
        finally:
            await source.drain()


async def unheard(done_bytes: int, total_bytes: int) -> None:
    """Nobody listens."""
