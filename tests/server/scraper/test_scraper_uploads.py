"""Uploads: whole files become data sets, all others leave nothing."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from flare.scraper.v1 import dataset_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.server.scraper.scraper_calls import (
    PASSENGERS,
    Caller,
    Refusal,
    Server,
    eventually,
    files_below,
    refusal_of,
    sha256,
)

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_a_file_becomes_a_typed_data_set(ann: Caller) -> None:
    content = PASSENGERS.encode()
    dataset = await ann.uploaded(sha256=sha256(content), file_name="/home/ann/My Passengers.csv")
    assert dataset.name == "datasets/my-passengers"
    assert dataset.display_name == "My Passengers.csv"
    assert dataset.row_count == 12
    assert dataset.origin.upload.file_name == "My Passengers.csv"
    assert dataset.origin.upload.size_bytes == len(content)
    assert dataset.origin.upload.sha256 == sha256(content)
    assert dataset.format == dataset_pb2.FileFormat(
        kind=dataset_pb2.FileFormat.KIND_DELIMITED,
        delimiter=",",
        encoding="utf-8",
        quote='"',
        decimal_separator=".",
        compression=dataset_pb2.COMPRESSION_NONE,
    )
    assert {column.name: column.type for column in dataset.columns} == {
        "id": dataset_pb2.COLUMN_TYPE_INTEGER,
        "survived": dataset_pb2.COLUMN_TYPE_CATEGORICAL,
        "class": dataset_pb2.COLUMN_TYPE_INTEGER,
        "sex": dataset_pb2.COLUMN_TYPE_CATEGORICAL,
        "age": dataset_pb2.COLUMN_TYPE_CATEGORICAL,
        "fare": dataset_pb2.COLUMN_TYPE_FLOAT,
        "port": dataset_pb2.COLUMN_TYPE_CATEGORICAL,
    }
    fare = dataset.columns[5].statistics
    assert (fare.count, fare.missing_count, fare.numeric.minimum, fare.numeric.maximum) == (12, 0, 7.25, 71.28)
    assert dataset.columns[3].statistics.most_frequent[0].value == "female"
    assert await ann.call("GetDataset", pb.GetDatasetRequest(name=dataset.name)) == dataset


@pytest.mark.parametrize(
    ("content", "announced", "header", "expected", "text"),
    [
        (b"a,b\n1,2\n", 9, {}, "UPLOAD_INCOMPLETE", "it ended after 8 of 9 bytes"),
        (b"a,b\n1,2\n", 7, {}, "UPLOAD_INCOMPLETE", "more than the announced 7 bytes"),
        (b"a,b\n1,2\n", None, {"sha256": "0" * 64}, "UPLOAD_INCOMPLETE", "its sha256 is"),
        (b"\x00\x01\x02\x03" * 100, None, {}, "FILE_NOT_A_TABLE", "it is binary"),
        (b"a,b\n1,2\n3\n", None, {}, "FILE_NOT_A_TABLE", "line 3 has 1 cell where the header has 2"),
        (b"", None, {}, "FILE_EMPTY", "it has no bytes"),
        (b"a,b\n", None, {}, "FILE_EMPTY", "nothing below its header"),
    ],
)
async def test_a_file_that_is_cut_or_no_table_leaves_nothing(
    scraper: Server,
    ann: Caller,
    content: bytes,
    announced: int | None,
    header: dict[str, str],
    expected: str,
    text: str,
) -> None:
    before = files_below(scraper.directory)
    refusal = await ann.upload_refused(content, announced, **header)
    assert (refusal.code, refusal.reason) == (INVALID, expected)
    assert text in refusal.text
    assert "'passengers.csv'" in refusal.text
    assert files_below(scraper.directory) == before
    assert not (await ann.call("ListDatasets", pb.ListDatasetsRequest())).datasets


async def test_an_upload_whose_caller_goes_away_leaves_nothing(scraper: Server, ann: Caller) -> None:
    before = files_below(scraper.directory)
    arrived = asyncio.Event()

    async def messages() -> AsyncIterator[pb.UploadDatasetRequest]:
        yield pb.UploadDatasetRequest(header=pb.UploadHeader(file_name="big.csv", size_bytes=3_000_000))
        yield pb.UploadDatasetRequest(chunk=b"a,b\n" * 1000)
        arrived.set()
        await asyncio.Event().wait()

    call = ann.stub.UploadDataset(messages(), metadata=ann.metadata)
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: files_below(scraper.directory) == before)
    assert not (await ann.call("ListDatasets", pb.ListDatasetsRequest())).datasets


async def test_a_name_that_exists_is_refused_before_any_byte_is_read(ann: Caller) -> None:
    await ann.uploaded(dataset_id="mine")
    never = asyncio.Event()

    async def header_alone() -> AsyncIterator[pb.UploadDatasetRequest]:
        header = pb.UploadHeader(dataset_id="mine", file_name="x.csv", size_bytes=100)
        yield pb.UploadDatasetRequest(header=header)
        await never.wait()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.stub.UploadDataset(header_alone(), metadata=ann.metadata, timeout=30)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.details() == (
        "you have a data set 'datasets/mine' already: choose another dataset_id, or leave it empty"
    )


async def test_ids_made_from_one_name_differ_and_owners_do_not_meet(ann: Caller, bob: Caller) -> None:
    first, second = await ann.uploaded(), await ann.uploaded()
    assert first.name == "datasets/passengers"
    assert second.name.startswith("datasets/passengers-")
    assert (await bob.uploaded()).name == "datasets/passengers"


async def test_a_repeated_request_returns_its_first_data_set(ann: Caller) -> None:
    request_id = str(uuid.uuid4())
    first = await ann.uploaded(request_id=request_id)
    assert await ann.uploaded(request_id=request_id) == first
    refusal = await ann.upload_refused(b"a,b\n1,2\n", request_id=request_id)
    assert refusal.reason == "REQUEST_ID_REUSED"
    assert refusal.fields == ("request_id",)


async def test_uploads_at_once_get_ids_of_their_own_or_one_answer(ann: Caller) -> None:
    content = PASSENGERS.encode()
    made = await asyncio.gather(*(ann.upload(content) for _ in range(4)))
    assert len({dataset.name for dataset in made}) == 4
    request_id = str(uuid.uuid4())
    same = await asyncio.gather(*(ann.upload(content, request_id=request_id) for _ in range(3)))
    assert len({dataset.name for dataset in same}) == 1
    outcomes = await asyncio.gather(
        *(ann.upload(content, dataset_id="wanted") for _ in range(3)), return_exceptions=True
    )
    codes = [outcome.code() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert codes == [grpc.StatusCode.ALREADY_EXISTS] * 2


async def test_a_file_over_the_limit_is_refused_by_its_announcement(ann: Caller) -> None:
    refusal = await ann.upload_refused(b"", 4_000_001)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")
    assert "4000000" in refusal.text


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "header"),
        ([pb.UploadDatasetRequest(chunk=b"a,b\n")], "header"),
        ([pb.UploadDatasetRequest(header=pb.UploadHeader(size_bytes=1))], "header.file_name"),
        (
            [pb.UploadDatasetRequest(header=pb.UploadHeader(file_name="x", size_bytes=9))] * 2,
            "header",
        ),
    ],
)
async def test_messages_out_of_order_are_refused(
    ann: Caller, messages: list[pb.UploadDatasetRequest], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.stub.UploadDataset(iter(messages), metadata=ann.metadata, timeout=30)
    refusal = refusal_of(caught.value)
    assert refusal == Refusal(INVALID, "INVALID_FIELD", refusal.text, (field,))


async def test_calls_without_right_or_token_are_refused(scraper: Server, token_issuer: "TokenIssuer") -> None:
    ann = scraper.caller()
    for metadata, code in (
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (token_issuer.metadata(seconds=-1), grpc.StatusCode.UNAUTHENTICATED),
        (token_issuer.metadata(scope="datasets.read"), grpc.StatusCode.PERMISSION_DENIED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ann.stub.UploadDataset(iter([]), metadata=metadata, timeout=30)
        assert caught.value.code() is code


async def test_what_a_format_asks_for_is_done_and_told(ann: Caller) -> None:
    kinds, ragged = dataset_pb2.FileFormat, dataset_pb2.RaggedRows
    text = "# made by hand\n00501:'1.234,5':13/1/2024\n10001:'7':N/A\nshort\n"
    wanted = kinds(
        kind=kinds.KIND_DELIMITED,
        delimiter=":",
        encoding="CP1252",
        quote="'",
        decimal_separator=",",
        thousands_separator=".",
        comment="#",
        has_no_header=True,
        ragged_rows=ragged.RAGGED_ROWS_FILL,
        column_types=[
            dataset_pb2.ColumnTypeChoice(column="column_1", type=dataset_pb2.COLUMN_TYPE_INTEGER),
            dataset_pb2.ColumnTypeChoice(column="column_3", type=dataset_pb2.COLUMN_TYPE_DATETIME),
        ],
    )
    dataset = await ann.uploaded(text, format=wanted)
    assert [column.type for column in dataset.columns] == [
        dataset_pb2.COLUMN_TYPE_INTEGER,
        dataset_pb2.COLUMN_TYPE_FLOAT,
        dataset_pb2.COLUMN_TYPE_DATETIME,
    ]
    expected = kinds()
    expected.CopyFrom(wanted)
    expected.encoding, expected.compression = "windows-1252", dataset_pb2.COMPRESSION_NONE
    assert dataset.format == expected
    warnings = {each.kind: each for each in dataset.warnings}
    ragged_rows = warnings[dataset_pb2.DatasetWarning.KIND_ROWS_RAGGED]
    assert [(each.row, each.line, each.value) for each in ragged_rows.examples] == [(2, 4, "short")]
    misfits = warnings[dataset_pb2.DatasetWarning.KIND_CELLS_MISFIT]
    assert (misfits.column, misfits.count, misfits.examples[0].value) == ("column_1", 1, "short")
    (fit,) = dataset.columns[0].type_fits
    assert (fit.type, fit.misfit_count, round(fit.share, 3)) == (dataset_pb2.COLUMN_TYPE_INTEGER, 1, 0.667)


async def test_a_type_for_a_column_that_is_not_there_is_refused(ann: Caller) -> None:
    choice = dataset_pb2.ColumnTypeChoice(column="Ages", type=dataset_pb2.COLUMN_TYPE_INTEGER)
    wanted = dataset_pb2.FileFormat(column_types=[choice])
    refusal = await ann.upload_refused(PASSENGERS.encode(), format=wanted)
    assert (refusal.code, refusal.reason) == (INVALID, "COLUMN_NOT_FOUND")
    assert refusal.fields == ("format.column_types[0].column",)
    assert "did you mean 'age'" in refusal.text
