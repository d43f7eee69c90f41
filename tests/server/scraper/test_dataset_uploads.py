"""Data sets that another service makes for their owners: sent once however often it is tried, and taken back whole."""

from pathlib import Path

import grpc
import pytest
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import upload_session_pb2

from ml_server.batch_prediction.scraper import DatasetUploads
from servicekit.errors import AlreadyExists
from tests.server.scraper.scraper_calls import Caller, Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

Metadata = tuple[tuple[str, str], ...]
CONTENT = b"number,colour\n" + b"1,blue\n2,red\n" * 100_000  # more than a chunk


@pytest.fixture
def uploads(scraper: Server) -> DatasetUploads:
    delegate = scraper.issuer.metadata("serviceIdentities/ml", "datasets.read datasets.write auth.delegate")

    async def acting_for(owner: str) -> Metadata:
        return (*delegate, ("flare-subject", owner))

    return DatasetUploads(scraper.channel, acting_for)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.csv"
    path.write_bytes(CONTENT)
    return path


class Heard:
    """What an upload told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    async def __call__(self, session: str, sent: int, total: int) -> None:
        self.told.append((session, sent, total))


async def test_a_file_becomes_a_data_set_of_its_owner_once_however_often_it_is_tried(
    uploads: DatasetUploads, ann: Caller, file: Path
) -> None:
    heard = Heard()
    session = await uploads.upload(ann.subject, "job", file, file.name, heard)
    assert heard.told[0] == (session, 0, len(CONTENT))
    assert heard.told[-1] == (session, len(CONTENT), len(CONTENT))
    again = Heard()
    assert await uploads.upload(ann.subject, "job", file, file.name, again) == session
    assert {sent for _, sent, _ in again.told} == {len(CONTENT)}
    arguments = (ann.subject, "job", session, "numbers", "Numbers")
    assert await uploads.make(*arguments) == await uploads.make(*arguments) == "datasets/numbers"
    made = await ann.call("GetDataset", pb.GetDatasetRequest(name="datasets/numbers"))
    assert (made.row_count, made.display_name) == (200_000, "Numbers")
    other = await uploads.upload(ann.subject, "other", file, file.name, Heard())
    with pytest.raises(AlreadyExists, match="numbers"):
        await uploads.make(ann.subject, "other", other, "numbers", "")


async def test_an_upload_goes_on_where_it_was_cut(uploads: DatasetUploads, ann: Caller, file: Path) -> None:
    class Cut(Heard):
        async def __call__(self, session: str, sent: int, total: int) -> None:
            await super().__call__(session, sent, total)
            if sent:
                raise ConnectionError("cut")

    cut, rest = Cut(), Heard()
    with pytest.raises(ConnectionError, match="cut"):
        await uploads.upload(ann.subject, "job", file, file.name, cut)
    session = await uploads.upload(ann.subject, "job", file, file.name, rest)
    assert {each for each, _, _ in (*cut.told, *rest.told)} == {session}
    seen = await ann.call("GetUploadSession", pb.GetUploadSessionRequest(name=session))
    assert isinstance(seen, upload_session_pb2.UploadSession)
    assert seen.received_bytes == len(CONTENT)


@pytest.mark.parametrize("made", [False, True])
async def test_what_is_discarded_is_gone(uploads: DatasetUploads, ann: Caller, file: Path, made: bool) -> None:
    session = await uploads.upload(ann.subject, "job", file, file.name, Heard())
    arguments = (ann.subject, "job", session, "numbers", "")
    if made:
        await uploads.make(*arguments)
    await uploads.discard(*arguments)
    assert not (await ann.call("ListDatasets", pb.ListDatasetsRequest())).datasets
    refused = await ann.refused("GetUploadSession", pb.GetUploadSessionRequest(name=session))
    assert refused.code is grpc.StatusCode.NOT_FOUND
