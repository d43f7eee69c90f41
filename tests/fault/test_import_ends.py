"""An import is cancelled, its server drained, or killed, in each of its steps: nothing is lost, and nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.kaggle_emulator import Catalogue, KaggleEmulator, RequestKind
from tests.kaggle_walk import PATIENT, SIZE, Stuck, Walk, served, undisturbed_digest
from tests.server.scraper.scraper_process import caller_at, key_set, started

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    async with KaggleEmulator(Catalogue([])) as emulator:
        yield emulator


async def assert_gone_on(walk: Walk, stuck: dict[str, Stuck]) -> None:
    """Every import that was stuck is finished by the server that came after, with the right data set."""
    for step, each in stuck.items():
        ended = await walk.ended(each.job)
        assert ended.state == job_pb2.JOB_STATE_SUCCEEDED, f"{step}: {ended.error.message}"
        assert [attempt.number for attempt in ended.attempts] == [1, 2], step
        if step != "converting":
            assert await walk.is_right(ended, each.ref), step
    resumed = [
        request.headers.get("Range")
        for request in walk.kaggle.requests
        if request.kind == RequestKind.STORAGE and request.ref == stuck["in the middle"].ref
    ]
    assert resumed == [None, f"bytes={SIZE // 2}-"]
    assert walk.kaggle.count(RequestKind.STORAGE, stuck["converting"].ref) == 1, "what had come is kept"
    assert walk.left() == []


async def test_a_cancelled_import_leaves_nothing_in_any_step(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with served(token_issuer, tmp_path, kaggle, **PATIENT) as walk:
        for step, each in (await walk.stuck()).items():
            async with asyncio.timeout(10):  # much less than the silence that it is in would be borne
                await walk.caller.call("CancelImportJob", pb.CancelImportJobRequest(name=each.job.name))
                ended = await walk.ended(each.job)
            assert ended.state == job_pb2.JOB_STATE_CANCELLED, step
        assert walk.left() == []


async def test_a_drained_server_leaves_each_step_to_its_successor(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with served(token_issuer, tmp_path, kaggle, **PATIENT) as walk:
        stuck = await walk.stuck()
    async with served(token_issuer, tmp_path, kaggle, **PATIENT) as walk:
        walk.digest = await undisturbed_digest(walk)
        await assert_gone_on(walk, stuck)


async def test_a_killed_server_leaves_each_step_to_its_successor(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with key_set(token_issuer) as keys:
        settings = {"JWKS_URL": keys, "KAGGLE_ENDPOINT": kaggle.endpoint, "CONCURRENT_IMPORTS": "16"}
        settings |= {name.upper(): str(value) for name, value in PATIENT.items()}
        process, port = await started(tmp_path, **settings)
        async with caller_at(port, token_issuer, tmp_path) as ann:
            stuck = await Walk(kaggle, ann, tmp_path).stuck()
            process.kill()
        await process.wait()
        process, port = await started(tmp_path, **settings)
        async with caller_at(port, token_issuer, tmp_path) as ann:
            walk = Walk(kaggle, ann, tmp_path)
            walk.digest = await undisturbed_digest(walk)
            await assert_gone_on(walk, stuck)
        process.terminate()
        assert await process.wait() == 0
