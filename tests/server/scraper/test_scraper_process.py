"""`python -m scraper_server` as a process: started, ended, killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.server.scraper.scraper_calls import files_below
from tests.server.scraper.scraper_process import caller_at, key_set, started

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

NUMBERS = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(20_000))


@pytest.mark.asyncio(loop_scope="session")
async def test_an_import_and_its_watch_outlive_a_killed_server(token_issuer: "TokenIssuer", tmp_path: Path) -> None:
    catalogue = Catalogue([EmulatedDataset("ann/numbers", "Numbers", [EmulatedFile("numbers.csv", NUMBERS)])])
    async with KaggleEmulator(catalogue) as kaggle, key_set(token_issuer) as keys:
        settings = {"JWKS_URL": keys, "KAGGLE_ENDPOINT": kaggle.endpoint, "DOWNLOAD_CACHE_BYTES": "0"}
        kaggle.inject(RequestKind.STORAGE, Fault(stall_after=100_000))
        process, port = await started(tmp_path, **settings)
        seen: list[import_job_pb2.ImportEvent] = []
        async with caller_at(port, token_issuer, tmp_path) as ann:
            wanted = source_pb2.KaggleRef(ref="ann/numbers", path="numbers.csv")
            job = await ann.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted))
            stream = ann.stub.WatchImportJob(pb.WatchImportJobRequest(name=job.name), metadata=ann.metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for message in stream:
                    seen.extend([message.event] if message.HasField("event") else [])
                    if message.event.progress.phase == import_job_pb2.IMPORT_PHASE_DOWNLOADING:
                        process.kill()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await process.wait()
        process, port = await started(tmp_path, **settings)
        async with caller_at(port, token_issuer, tmp_path) as ann:
            request = pb.WatchImportJobRequest(name=job.name, after_sequence=seen[-1].sequence)
            rest = await ann.stream("WatchImportJob", request)
            events = seen + [message.event for message in rest if message.HasField("event")]
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            ended = rest[-1].snapshot
            assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
            assert [attempt.number for attempt in ended.attempts] == [1, 2]
            dataset = await ann.call("GetDataset", pb.GetDatasetRequest(name=ended.dataset))
            assert dataset.row_count == 20_000
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert len(files_below(tmp_path)) == 1


def test_a_wrong_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    environment = os.environ | {"FLARE_SCRAPER_PROCESSES": "none", "FLARE_SCRAPER_DATA_DIRECTORY": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "scraper_server"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("scraper_server can't start: FLARE_SCRAPER_PROCESSES:")
    assert len(ended.stderr.splitlines()) == 1
