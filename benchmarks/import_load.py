"""What imports take of a real server: its memory, and the time of other callers."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2

from benchmarks.figures import Figure
from benchmarks.made_tables import write_csv
from benchmarks.scraper_process import TIMEOUT_SECONDS, RunningScraper, running_scraper
from benchmarks.sizes import Sizes
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, KaggleEmulator

GIBIBYTE = 1024**3
SAMPLE_SECONDS = 0.02
PAUSE_SECONDS = 0.01


def import_peak_memory(sizes: Sizes) -> Figure:
    """The most bytes that the server and all its processes held at once while a file became a data set.

    Pages that processes share are counted in each of them.
    """
    peak = asyncio.run(_peak_memory(sizes))
    return Figure.of_cost("import_peak_memory", float(peak), "bytes", "1 GiB", float(GIBIBYTE))


def get_dataset_p50_under_imports(sizes: Sizes) -> Figure:
    """The median time of GetDataset while other data sets are imported, of a data set as wide as theirs."""
    seconds = asyncio.run(_get_dataset_seconds(sizes))
    return Figure.of_cost(
        "get_dataset_p50_under_imports", 1000 * statistics.median(seconds), "ms", "the limit of 50 ms", 50.0
    )


async def _peak_memory(sizes: Sizes) -> int:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = directory / "large.csv"
        write_csv(source, sizes.columns, size_bytes=sizes.peak_memory_bytes)
        async with running_scraper(directory, max_file_bytes=2 * source.stat().st_size) as scraper:
            upload = asyncio.create_task(scraper.upload(source))
            peak = 0
            while not upload.done():
                peak = max(peak, _held_bytes(scraper.process_id))
                await asyncio.wait([upload], timeout=SAMPLE_SECONDS)
            await upload
            return peak


def _held_bytes(process_id: int) -> int:
    """What the server and its processes hold: pages that several of them share count once in all (PSS)."""
    total = 0
    server = psutil.Process(process_id)
    for process in (server, *server.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:  # it ended since it was listed
            continue
    return total


async def _get_dataset_seconds(sizes: Sizes) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        catalogue, asked = Catalogue([]), directory / "asked.csv"
        write_csv(asked, sizes.columns, rows=1000)
        for at in range(sizes.imports):
            source = directory / f"{at}.csv"
            write_csv(source, sizes.columns, rows=sizes.import_rows + at)  # no two alike
            file = EmulatedFile("table.csv", source.read_bytes())
            catalogue.datasets.append(EmulatedDataset(f"ann/table-{at}", f"Table {at}", [file]))
        async with (
            KaggleEmulator(catalogue) as kaggle,
            running_scraper(
                directory, kaggle_endpoint=kaggle.endpoint, concurrent_imports=sizes.imports, processes=sizes.imports
            ) as scraper,
        ):
            await scraper.upload(asked)
            imports = asyncio.gather(*(_import(scraper, each.ref) for each in catalogue.datasets))
            seconds: list[float] = []
            while not imports.done():
                start = time.perf_counter()
                await scraper.stub.GetDataset(pb.GetDatasetRequest(name="datasets/asked"), metadata=scraper.metadata)
                seconds.append(time.perf_counter() - start)
                await asyncio.wait([imports], timeout=PAUSE_SECONDS)
            await imports
            return seconds


async def _import(scraper: RunningScraper, ref: str) -> None:
    wanted = source_pb2.KaggleRef(ref=ref, path="table.csv")
    job = await scraper.stub.ImportDataset(pb.ImportDatasetRequest(kaggle=wanted), metadata=scraper.metadata)
    watch = scraper.stub.WatchImportJob(
        pb.WatchImportJobRequest(name=job.name), metadata=scraper.metadata, timeout=TIMEOUT_SECONDS
    )
    last = [message async for message in watch][-1]
    if last.snapshot.state != job_pb2.JOB_STATE_SUCCEEDED:
        raise RuntimeError(f"the import of {ref} ended otherwise: {last.snapshot.error.message}")
