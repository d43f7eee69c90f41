"""Nothing that the server writes or answers, in a whole import at the most talkative log level, holds a secret."""

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2

from tests.kaggle_emulator import Fault, KaggleEmulator, RequestKind
from tests.server.scraper.kaggle_server import (
    KAGGLE,
    NEW_KEY,
    OLD_KEY,
    access_token,
    api_key,
    people_catalogue,
)
from tests.server.scraper.scraper_calls import Caller, Server
from tests.server.scraper.scraper_process import key_set
from tests.tokens import ISSUER

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

KEY, TOKEN, OPERATORS_KEY = "Secret0fAnn", "Secret0fBob", "Secret0fTheOperator"
SECRETS = [
    *(KEY, TOKEN, OPERATORS_KEY, OLD_KEY, NEW_KEY, "X-Goog-Signature"),
    # As the headers of requests hold them.
    b64encode(f"ann:{KEY}".encode()).decode(),
    b64encode(f"operator:{OPERATORS_KEY}".encode()).decode(),
]


class Answers:
    """All that comes out of the server: what it writes, and what it answers with."""

    def __init__(self) -> None:
        self.written = b""
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.messages: list[Any] = []

    async def read(self, output: asyncio.StreamReader) -> None:
        """Takes what the server writes, to its end."""
        async for line in output:
            self.written += line
            if b'"server_started"' in line and not self.port.done():
                self.port.set_result(json.loads(line)["port"])
        if not self.port.done():
            self.port.set_exception(AssertionError(self.written.decode()))

    async def call(self, person: Caller, method: str, request: Any) -> Any:
        """A unary call, or all of a stream. An error counts as an answer."""
        try:
            call = getattr(person.stub, method)(request, metadata=person.metadata, timeout=60)
            answer = [each async for each in call] if hasattr(call, "__aiter__") else await call
        except grpc.aio.AioRpcError as error:
            self.messages += [error.details(), error.trailing_metadata(), repr(error)]
            return None
        self.messages.append(answer)
        return answer


@asynccontextmanager
async def process(directory: Path, answers: Answers, **settings: str) -> AsyncIterator[int]:
    """A server process; its port."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
    environment |= {"VERBOSE": "1"}  # to which the kaggle package prints its requests' headers
    environment |= {f"FLARE_SCRAPER_{name}": value for name, value in settings.items()}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-m", "scraper_server"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment | {"FLARE_SCRAPER_DATA_DIRECTORY": str(directory)},
    )
    assert running.stdout is not None
    reading = asyncio.create_task(answers.read(running.stdout))
    try:
        yield await answers.port
    finally:
        running.terminate()
        await running.wait()
        await reading


def kept_in(directory: Path) -> dict[str, bytes]:
    """Every file that the server keeps."""
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.asyncio(loop_scope="session")
async def test_no_secret_leaves_the_server(token_issuer: "TokenIssuer", tmp_path: Path) -> None:
    answers = Answers()
    keys = {"ann": KEY, "operator": OPERATORS_KEY}
    async with (
        KaggleEmulator(people_catalogue(["ann", "bob"]), keys=keys, tokens={TOKEN: "bob"}) as kaggle,
        key_set(token_issuer) as key_address,
        process(
            tmp_path,
            answers,
            LISTEN_ADDRESS="127.0.0.1:0",
            LOG_LEVEL="debug",
            TOKEN_ISSUER=ISSUER,
            JWKS_URL=key_address,
            KAGGLE_ENDPOINT=kaggle.endpoint,
            KAGGLE_USERNAME="operator",
            KAGGLE_KEY=OPERATORS_KEY,
            CREDENTIALS_KEYS=f"{NEW_KEY},{OLD_KEY}",
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        server = Server(channel, token_issuer, tmp_path)
        ann, bob, carl = server.caller(), server.caller(), server.caller()
        assert await answers.call(ann, "SetSourceCredentials", api_key("ann", KEY))
        assert await answers.call(bob, "SetSourceCredentials", access_token(TOKEN))
        for person, name in ((ann, "ann"), (bob, "bob"), (carl, "carl")):
            await answers.call(person, "GetSourceCredentials", pb.GetSourceCredentialsRequest(source=KAGGLE))
            await answers.call(person, "SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE, query="diary"))
            ref = f"{name}/diary" if person is not carl else "carl/shared"
            kaggle.inject(RequestKind.GET_DATASET, Fault(503))
            kaggle.inject(RequestKind.STORAGE, Fault(cut_after=1000))
            assert await imported(answers, person, ref) == job_pb2.JOB_STATE_SUCCEEDED
            await answers.call(person, "ListDatasets", pb.ListDatasetsRequest())
        # What goes wrong is told, with as much of Kaggle's own words as is fit to be.
        for person, own in ((ann, KEY), (bob, TOKEN), (carl, OPERATORS_KEY)):
            said = Fault(401, body=f'{{"message": "no {own}"}}'.encode())
            kaggle.inject(RequestKind.GET_DATASET, said)
            assert await imported(answers, person, "carl/shared") == job_pb2.JOB_STATE_FAILED
            kaggle.inject(RequestKind.LIST_FILES, said)
            listing = pb.ListDatasetFilesRequest(source=KAGGLE, ref="carl/shared")
            assert await answers.call(person, "ListDatasetFiles", listing) is None
        kaggle.accounts["ann"] = "another"
        assert await answers.call(ann, "SetSourceCredentials", api_key("ann", KEY)) is None
        assert await answers.call(ann, "SetSourceCredentials", api_key("ann", f"{KEY} ")) is None
        await answers.call(bob, "DeleteSourceCredentials", pb.DeleteSourceCredentialsRequest(source=KAGGLE))
    assert b"rpc_ended" in answers.written  # it did tell at DEBUG
    told = "\n".join(str(message) for message in answers.messages)
    assert "Kaggle refuses your account 'ann'" in told
    for secret in SECRETS:
        assert secret.encode() not in answers.written
        assert secret not in told
        for file, content in kept_in(tmp_path).items():
            assert secret.encode() not in content, file


async def imported(answers: Answers, person: Caller, ref: str) -> int:
    """How an import ends."""
    wanted = source_pb2.KaggleRef(ref=ref)
    job = await answers.call(person, "ImportDataset", pb.ImportDatasetRequest(kaggle=wanted))
    await answers.call(person, "WatchImportJob", pb.WatchImportJobRequest(name=job.name))
    await answers.call(person, "ListImportJobEvents", pb.ListImportJobEventsRequest(name=job.name))
    ended = await answers.call(person, "GetImportJob", pb.GetImportJobRequest(name=job.name))
    return int(ended.state)
