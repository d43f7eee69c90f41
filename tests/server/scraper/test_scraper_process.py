"""`python -m scraper_server` as a process: started, ended, killed and started again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from aiohttp import web
from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.server.scraper.scraper_calls import Caller, Server, files_below
from tests.tokens import ISSUER

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

NUMBERS = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(20_000))


@asynccontextmanager
async def key_set(issuer: "TokenIssuer") -> AsyncIterator[str]:
    """The address of the issuer's public keys."""
    key = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(issuer.key.public_key()))
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"keys": [key | {"kid": "test-key", "alg": "EdDSA", "use": "sig"}]})

    application.router.add_get("/jwks.json", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}/jwks.json"
    await runner.cleanup()


async def started(directory: Path, **settings: str) -> tuple[asyncio.subprocess.Process, int]:
    """A server process, and its port once it says that it has one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
    given = {"LISTEN_ADDRESS": "127.0.0.1:0", "DATA_DIRECTORY": str(directory), "TOKEN_ISSUER": ISSUER, **settings}
    environment |= {f"FLARE_SCRAPER_{name}": value for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scraper_server"), stderr=subprocess.PIPE, env=environment
    )
    assert process.stderr is not None
    async for line in process.stderr:
        entry = json.loads(line)
        if entry["event"] == "server_started":
            return process, entry["port"]
    raise AssertionError("the server did not start")


@asynccontextmanager
async def caller_at(port: int, issuer: "TokenIssuer", directory: Path) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Server(channel, issuer, directory).caller("accounts/ann")


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
