"""`flare.datasets`: finds, imports, uploads and looks at data sets."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

import grpc
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2, scraper_service_pb2_grpc, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from flare_client.aio.import_jobs import ImportJobHandle
from flare_client.aio.runtime import closing, in_thread
from flare_client.aio.service import OnInterruption, Service
from flare_client.aio.uploads import OnProgress, Upload
from flare_client.choices import choose
from flare_client.errors import FlareError
from flare_client.names import Reference, dataset_name, view_name
from flare_client.reading import ReadingOptions, file_format
from flare_client.searching import SearchOptions, search_filter, search_sort
from flare_client.tables.batches import arrow_frame
from flare_client.tables.files import Content, file_content, frame_content
from flare_client.tables.previews import preview_frame

if TYPE_CHECKING:
    import pandas as pd

PAGE_SIZE = 200
# Larger files are sent in upload sessions: to send one again from its beginning would take a while.
ONE_CALL_BYTES = 32 * 1024**2


class Datasets:
    """The data sets of the caller, and where more can be found."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(service.channel)

    async def search(
        self, query: str = "", *, source: str = "", limit: int = 20, **options: Unpack[SearchOptions]
    ) -> builtins.list[source_pb2.SourceDataset]:
        """At most `limit` data sets of the source (`samples`, `kaggle`, or all) that match the words and options."""
        found: builtins.list[source_pb2.SourceDataset] = []
        page_token = ""
        while len(found) < limit:
            request = pb.SearchDatasetsRequest(
                query=query,
                source=choose("source", source, source_pb2.SourceKind),
                page_size=min(100, limit - len(found)),
                page_token=page_token,
                filter=search_filter(options),
                sort=search_sort(options),
            )
            page = await self._service.call(self._stub.SearchDatasets, request, safe=True, seconds=60.0)
            found += page.datasets
            page_token = page.next_page_token
            if not page_token:
                break
        return found[:limit]

    async def files(self, ref: str, *, source: str = "", version: int = 0) -> builtins.list[source_pb2.SourceFile]:
        """The files of a version (0: the latest) of a data set; `owner/slug` is on Kaggle, a bare name is a sample."""
        files: builtins.list[source_pb2.SourceFile] = []
        page_token = ""
        while True:
            request = pb.ListDatasetFilesRequest(
                source=choose("source", source or source_of(ref), source_pb2.SourceKind),
                ref=ref,
                version=version,
                page_size=PAGE_SIZE,
                page_token=page_token,
            )
            page = await self._service.call(self._stub.ListDatasetFiles, request, safe=True, seconds=60.0)
            files += page.files
            page_token = page.next_page_token
            if not page_token:
                return files

    async def import_(
        self,
        ref: str,
        *,
        source: str = "",
        file: str = "",
        members: Sequence[str] = (),
        version: int = 0,
        dataset_id: str = "",
        display_name: str = "",
        **reading: Unpack[ReadingOptions],
    ) -> ImportJobHandle:
        """Starts to import a data set of a source and returns at once; `.wait()` gives the data set.

        `owner/slug` is on Kaggle, a bare name is a sample. For Kaggle: `file` is the one to take, or `members` are
        patterns such as `train/**` for the files to take out of the archive of the whole; `version` 0 is the latest.
        """
        request = pb.ImportDatasetRequest(
            dataset_id=dataset_id,
            display_name=display_name,
            format=file_format(reading),
            request_id=str(uuid4()),
        )
        kind = choose("source", source or source_of(ref), source_pb2.SourceKind)
        if kind == source_pb2.SOURCE_KIND_KAGGLE:
            request.kaggle.CopyFrom(source_pb2.KaggleRef(ref=ref, version=version, path=file, members=members))
        else:
            request.sample.sample = ref
        job = await self._service.call(self._stub.ImportDataset, request, safe=True, seconds=60.0)
        return ImportJobHandle(self._service, job)

    async def import_file(
        self,
        file: str | Path,
        *,
        dataset_id: str = "",
        display_name: str = "",
        on_progress: OnProgress | None = None,
        on_interruption: OnInterruption | None = None,
        **reading: Unpack[ReadingOptions],
    ) -> ImportJobHandle:
        """Sends a file and starts to import it; `.wait()` gives the data set.

        What has arrived stays on the server for days, whatever happens here: the same file, sent again by whichever
        process, goes on where it stopped. That also holds for a file that could not be imported, such as with the wrong
        delimiter. `on_progress` is called with the bytes sent and the bytes in all, `on_interruption` with the cause
        each time that the connection broke.

        Raises:
            FlareError: The file is refused, such as FILE_TOO_LARGE, QUOTA_EXCEEDED or NAME_TAKEN.
            OSError: The file can't be read.
        """
        content = await in_thread(file_content, Path(file))
        return await self._import_content(content, dataset_id, display_name, reading, on_progress, on_interruption)

    async def upload(
        self,
        table: str | Path | pd.DataFrame,
        /,
        *,
        dataset_id: str = "",
        display_name: str = "",
        on_progress: OnProgress | None = None,
        **reading: Unpack[ReadingOptions],
    ) -> dataset_pb2.Dataset:
        """Makes a data set of a file or a DataFrame.

        What is larger than 32 MiB is sent as `import_file` does. `on_progress` is called with the bytes sent and the
        bytes in all.

        Raises:
            FlareError: The table is refused, such as FILE_NOT_A_TABLE or NAME_TAKEN.
            OSError: The file can't be read.
        """
        if isinstance(table, (str, Path)):
            content = await in_thread(file_content, Path(table))
        else:
            content = await in_thread(frame_content, dataset_id or "table", table)
        if content.size_bytes > ONE_CALL_BYTES:
            job = await self._import_content(content, dataset_id, display_name, reading, on_progress, None)
            return await job.wait()
        header = pb.UploadHeader(
            dataset_id=dataset_id,
            file_name=content.file_name,
            size_bytes=content.size_bytes,
            sha256=content.sha256,
            display_name=display_name,
            format=file_format(reading),
            request_id=str(uuid4()),
        )
        return await self._service.send(
            self._stub.UploadDataset, lambda: _upload(header, content, on_progress), safe=True
        )

    async def _import_content(
        self,
        content: Content,
        dataset_id: str,
        display_name: str,
        reading: ReadingOptions,
        on_progress: OnProgress | None,
        on_interruption: OnInterruption | None,
    ) -> ImportJobHandle:
        if dataset_id and await self._exists(dataset_id):  # said before the file is sent, not after
            message = f"you have a data set 'datasets/{dataset_id}' already: choose another dataset_id"
            raise FlareError(grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN", message)
        session = await Upload(self._service, content).send(on_progress, on_interruption)
        request = pb.ImportDatasetRequest(
            upload=source_pb2.UploadRef(session=session.name),
            dataset_id=dataset_id,
            display_name=display_name,
            format=file_format(reading),
            request_id=str(uuid4()),
        )
        job = await self._service.call(self._stub.ImportDataset, request, safe=True, seconds=60.0)
        return ImportJobHandle(self._service, job)

    async def _exists(self, dataset_id: str) -> bool:
        try:
            await self.get(dataset_id)
        except FlareError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def list(self) -> builtins.list[dataset_pb2.Dataset]:
        """All data sets, newest first, without the statistics of their columns."""
        datasets: builtins.list[dataset_pb2.Dataset] = []
        page_token = ""
        while True:
            request = pb.ListDatasetsRequest(page_size=PAGE_SIZE, page_token=page_token)
            page = await self._service.call(self._stub.ListDatasets, request, safe=True)
            datasets += page.datasets
            page_token = page.next_page_token
            if not page_token:
                return datasets

    async def get(self, dataset: Reference) -> dataset_pb2.Dataset:
        """A data set with the statistics of its columns."""
        request = pb.GetDatasetRequest(name=dataset_name(dataset))
        return await self._service.call(self._stub.GetDataset, request, safe=True)

    async def preview(
        self, dataset: Reference, *, rows: int = 10, start: int = 0, columns: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Some rows as text, None where a value is missing; the index holds their positions in the data set."""
        request = pb.PreviewDatasetRequest(name=dataset_name(dataset), start_row=start, row_count=rows, columns=columns)
        return preview_frame(await self._service.call(self._stub.PreviewDataset, request, safe=True))

    async def delete(self, dataset: Reference, *, force: bool = False) -> None:
        """Deletes a data set; with its views if `force` is set."""
        request = pb.DeleteDatasetRequest(name=dataset_name(dataset), force=force)
        await self._service.call(self._stub.DeleteDataset, request, safe=False)

    async def to_dataframe(self, view: Reference, part: str = "train") -> pd.DataFrame:
        """The rows of a part (`train`, `validation` or `test`) of a view, with its columns and types.

        Images are arrays of uint8: (height, width), or (height, width, 3) in colour.
        """
        name = view_name(view)
        split_part = choose("part", part, dataset_view_pb2.SplitPart)
        schema, digest = b"", ""
        batches: builtins.list[bytes] = []
        images: dict[str, dataset_pb2.ImageShape] = {}

        def next_request() -> pb.StreamViewRequest:
            return pb.StreamViewRequest(name=name, part=split_part, start_batch=len(batches), digest=digest)

        async with closing(self._service.receive(self._stub.StreamView, next_request)) as stream:
            async for message in stream:
                if message.WhichOneof("message") == "header":
                    schema, digest = message.header.arrow_schema, message.header.digest
                    images = {each.name: each.image for each in message.header.columns if each.HasField("image")}
                elif message.batch.index == len(batches):
                    batches.append(message.batch.arrow_batch)
        return arrow_frame(schema, batches, images)


def source_of(ref: str) -> str:
    """Where a data set of this name is: `owner/slug` is Kaggle's way, a bare name that of the samples."""
    return "kaggle" if "/" in ref else "samples"


def _upload(
    header: pb.UploadHeader, content: Content, on_progress: OnProgress | None
) -> Iterator[pb.UploadDatasetRequest]:
    yield pb.UploadDatasetRequest(header=header)
    sent = 0
    for chunk in content.chunks():
        yield pb.UploadDatasetRequest(chunk=chunk)
        sent += len(chunk)
        if on_progress is not None:
            on_progress(sent, content.size_bytes)
