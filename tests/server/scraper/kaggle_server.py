"""A scraper server of a test's own, with an emulator in Kaggle's place."""

import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from flare.scraper.v1 import import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from tests.kaggle_emulator import Catalogue, EmulatedDataset, EmulatedFile, KaggleEmulator
from tests.server.scraper.scraper_calls import Caller, Server

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

KAGGLE = source_pb2.SOURCE_KIND_KAGGLE
TABLE = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(2000))
OLD_KEY, NEW_KEY = (base64.b64encode(byte * 32).decode() for byte in (b"1", b"2"))


def people_catalogue(people: Iterable[str]) -> Catalogue:
    """A public and a private data set of each person, and one of somebody else's."""
    files = [EmulatedFile("table.csv", TABLE)]
    shared = [EmulatedDataset("carl/shared", "Shared", files)]
    public = [EmulatedDataset(f"{name}/public", f"Public of {name}", files) for name in people]
    private = [EmulatedDataset(f"{name}/diary", f"Diary of {name}", files, private_to=name) for name in people]
    return Catalogue([*shared, *public, *private])


@asynccontextmanager
async def serving(
    kaggle: KaggleEmulator, issuer: "TokenIssuer", directory: Path, keys: str = OLD_KEY, **more: Any
) -> AsyncIterator[Server]:
    """The server, until the block ends."""
    settings = Settings(
        listen_address="127.0.0.1:0",
        data_directory=directory,
        kaggle_endpoint=kaggle.endpoint,
        credentials_keys=SecretStr(keys),
        processes=1,
        drain_seconds=1,
        **more,
    )
    service = ScraperService(settings, issuer.verifier, CollectorRegistry())
    await service.prepare()
    port = await service.rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(channel, issuer, directory)
    finally:
        await service.rpc.drain()
        await service.close()


def operator(username: str, key: str) -> Mapping[str, Any]:
    """Settings of the operator's account."""
    return {"kaggle_username": username, "kaggle_key": SecretStr(key)}


def api_key(username: str, key: str) -> pb.SetSourceCredentialsRequest:
    """Sets a user name with its key."""
    return pb.SetSourceCredentialsRequest(kaggle_api_key=source_pb2.KaggleApiKey(username=username, key=key))


def access_token(token: str) -> pb.SetSourceCredentialsRequest:
    """Sets an access token."""
    return pb.SetSourceCredentialsRequest(kaggle_access_token=token)


async def files_of(person: Caller, ref: str) -> list[str]:
    """The paths of a data set's files, as somebody sees them."""
    listed = await person.call("ListDatasetFiles", pb.ListDatasetFilesRequest(source=KAGGLE, ref=ref))
    return [file.path for file in listed.files]


async def imported(person: Caller, ref: str) -> import_job_pb2.ImportJob:
    """An import, at its end."""
    wanted = source_pb2.KaggleRef(ref=ref)
    job = await person.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted))
    return await ended(person, job.name)


async def ended(person: Caller, name: str) -> import_job_pb2.ImportJob:
    """A job at its end."""
    await person.stream("WatchImportJob", pb.WatchImportJobRequest(name=name))
    job: import_job_pb2.ImportJob = await person.call("GetImportJob", pb.GetImportJobRequest(name=name))
    return job
