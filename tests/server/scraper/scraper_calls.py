"""How tests call a scraper server, and how they read its refusals."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2, scraper_service_pb2_grpc
from flare.scraper.v1 import scraper_service_pb2 as pb
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

PASSENGERS = """id,survived,class,sex,age,fare,port
1,no,3,male,22,7.25,S
2,yes,1,female,38,71.28,C
3,yes,3,female,26,7.92,S
4,yes,1,female,35,53.1,S
5,no,3,male,35,8.05,S
6,no,3,male,n/a,8.46,Q
7,no,1,male,54,51.86,S
8,no,3,male,2,21.07,S
9,yes,3,female,27,11.13,S
10,yes,2,female,14,30.07,C
11,yes,3,female,4,16.7,S
12,yes,1,female,58,26.55,S
"""


@dataclass(frozen=True)
class Refusal:
    """How a call was refused."""

    code: grpc.StatusCode
    reason: str
    text: str
    fields: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What varies in the text, for programs."""


@dataclass
class Caller:
    """Somebody at the server."""

    stub: Any
    issuer: "TokenIssuer"
    subject: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each of its calls carries."""
        return self.issuer.metadata(self.subject)

    async def call(self, method: str, request: Any) -> Any:
        """A unary answer."""
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=60)

    async def stream(self, method: str, request: Any) -> list[Any]:
        """All messages of a stream."""
        return [each async for each in getattr(self.stub, method)(request, metadata=self.metadata, timeout=60)]

    async def refused(self, method: str, request: Any) -> Refusal:
        """How a unary call, or a stream, is refused."""
        call = getattr(self.stub, method)(request, metadata=self.metadata, timeout=60)
        answer = _drained(call) if hasattr(call, "__aiter__") else call
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        return refusal_of(caught.value)

    def upload(self, content: bytes, announced: int | None = None, **header: Any) -> Any:
        """The call of an upload, under way."""
        size = len(content) if announced is None else announced
        head = pb.UploadHeader(file_name="passengers.csv", size_bytes=size)
        head.MergeFrom(pb.UploadHeader(**header))
        messages = [pb.UploadDatasetRequest(header=head)]
        messages += [
            pb.UploadDatasetRequest(chunk=content[start : start + 65_536]) for start in range(0, len(content), 65_536)
        ]
        return self.stub.UploadDataset(iter(messages), metadata=self.metadata, timeout=60)

    async def uploaded(self, content: str = PASSENGERS, **header: Any) -> dataset_pb2.Dataset:
        """A data set of some text."""
        dataset: dataset_pb2.Dataset = await self.upload(content.encode(), **header)
        return dataset

    async def upload_refused(self, content: bytes, announced: int | None = None, **header: Any) -> Refusal:
        """How an upload is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.upload(content, announced, **header)
        return refusal_of(caught.value)

    async def viewed(
        self, dataset: dataset_pb2.Dataset, view: dataset_view_pb2.DatasetView, **more: Any
    ) -> dataset_view_pb2.DatasetView:
        """A view of a data set."""
        request = pb.CreateDatasetViewRequest(parent=dataset.name, view=view, **more)
        made: dataset_view_pb2.DatasetView = await self.call("CreateDatasetView", request)
        return made


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """The status with what its details say. The one ErrorInfo is always there."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # aio errors have the same two methods
    assert status is not None
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    assert info.domain == "flare"
    fields = tuple(violation.field for violation in bad_request.field_violations)
    return Refusal(error.code(), info.reason, error.details() or "", fields, dict(info.metadata))


def survival_view(
    *columns: dataset_view_pb2.ColumnSelection, split: dataset_view_pb2.Split | None = None, **more: Any
) -> dataset_view_pb2.DatasetView:
    """A view of the passengers, with survival as its target."""
    target = dataset_view_pb2.ColumnSelection(column="survived", role=dataset_view_pb2.COLUMN_ROLE_TARGET)
    chosen = split or dataset_view_pb2.Split(train_fraction=0.5, validation_fraction=0.25, test_fraction=0.25, seed=4)
    return dataset_view_pb2.DatasetView(columns=[target, *columns], split=chosen, **more)


def sha256(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def files_below(directory: Path, *ignored: str) -> Sequence[str]:
    """Every file, by its path in the directory; the database aside."""
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(("scraper.db", *ignored))
    )


@dataclass
class Server:
    """A running server and its channel."""

    channel: grpc.aio.Channel
    issuer: "TokenIssuer"
    directory: Path
    port: int = 0

    def caller(self, subject: str | None = None) -> Caller:
        """Somebody; nobody that was here before, unless named."""
        stub = scraper_service_pb2_grpc.ScraperServiceStub(self.channel)
        return Caller(stub, self.issuer, subject or f"accounts/{uuid.uuid4().hex[:12]}")


async def eventually(holds: Callable[[], bool]) -> None:
    """Waits for what the server does a moment after a call has ended for its caller."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass
