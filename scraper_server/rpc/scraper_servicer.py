"""The methods of `flare.scraper.v1.ScraperService`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from flare.scraper.v1 import (
    dataset_pb2,
    dataset_view_pb2,
    import_job_pb2,
    scraper_service_pb2,
    scraper_service_pb2_grpc,
    source_pb2,
    upload_session_pb2,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc.aio import ServicerContext

from scraper_server.credentials.own_credentials import OwnCredentials
from scraper_server.datasets.catalog import Datasets
from scraper_server.datasets.view_catalog import NewView, Views
from scraper_server.imports.imports import Imports
from scraper_server.rpc import (
    dataset_messages,
    import_messages,
    source_messages,
    upload_messages,
    view_messages,
    view_stream,
)
from scraper_server.rpc.dataset_cache import DatasetCache
from scraper_server.rpc.enums import LAYOUT_OF, PART_OF, SOURCE_KIND_OF
from scraper_server.rpc.format_messages import file_format
from scraper_server.rpc.names import dataset_id, job_id, listed_dataset_id, upload_session_id, view_ids
from scraper_server.sources.catalog import Sources
from scraper_server.uploads.one_call import Uploads
from scraper_server.uploads.sessions import UploadSessions
from scraper_server.views.batches import EncodedBatch
from servicekit.idempotency import RequestKey, request_key
from servicekit.identity import current_caller
from servicekit.pages import decode_token, encode_token, page_size
from servicekit.rpc.pages import number_cursor, number_token, time_cursor, time_token
from servicekit.rpc.uploads import chunks_of, first_of

Context = ServicerContext[Any, Any]
pb = scraper_service_pb2


class ScraperServicer(scraper_service_pb2_grpc.ScraperServiceServicer):
    """Converts, calls, converts."""

    def __init__(
        self,
        sources: Sources,
        credentials: OwnCredentials,
        imports: Imports,
        datasets: Datasets,
        uploads: Uploads,
        upload_sessions: UploadSessions,
        views: Views,
    ) -> None:
        self._sources = sources
        self._credentials = credentials
        self._imports = imports
        self._datasets = datasets
        self._described = DatasetCache(datasets)
        self._uploads = uploads
        self._upload_sessions = upload_sessions
        self._views = views

    async def SearchDatasets(self, request: pb.SearchDatasetsRequest, context: Context) -> pb.SearchDatasetsResponse:
        source, search = SOURCE_KIND_OF.get(request.source), source_messages.search(request)
        listing = f"SearchDatasets {_owner()} {source} {search}"
        cursor = decode_token(listing, request.page_token) or ""
        page = await self._sources.search(_owner(), source, search, page_size(request.page_size, 20, 100), cursor)
        return pb.SearchDatasetsResponse(
            datasets=[source_messages.source_dataset_message(each) for each in page.datasets],
            next_page_token=encode_token(listing, page.next_cursor) if page.next_cursor else "",
        )

    async def ListDatasetFiles(
        self, request: pb.ListDatasetFilesRequest, context: Context
    ) -> pb.ListDatasetFilesResponse:
        source, ref, version = SOURCE_KIND_OF[request.source], request.ref, request.version
        listing = f"ListDatasetFiles {_owner()} {source} {ref} {version}"
        cursor = decode_token(listing, request.page_token) or ""
        page = await self._sources.files(_owner(), source, ref, version, page_size(request.page_size, 100), cursor)
        return pb.ListDatasetFilesResponse(
            files=[source_messages.source_file_message(each) for each in page.files],
            next_page_token=encode_token(listing, page.next_cursor) if page.next_cursor else "",
        )

    async def SetSourceCredentials(
        self, request: pb.SetSourceCredentialsRequest, context: Context
    ) -> source_pb2.SourceCredentials:
        kept = await self._credentials.set(_owner(), source_messages.credentials(request))
        return source_messages.credentials_message(kept)

    async def GetSourceCredentials(
        self, request: pb.GetSourceCredentialsRequest, context: Context
    ) -> source_pb2.SourceCredentials:
        kept = await self._credentials.get(_owner(), SOURCE_KIND_OF[request.source])
        return source_messages.credentials_message(kept)

    async def DeleteSourceCredentials(self, request: pb.DeleteSourceCredentialsRequest, context: Context) -> Empty:
        await self._credentials.delete(_owner(), SOURCE_KIND_OF[request.source])
        return Empty()

    async def ImportDataset(self, request: pb.ImportDatasetRequest, context: Context) -> import_job_pb2.ImportJob:
        job = await self._imports.create(
            _owner(),
            dataset_messages.import_origin(request),
            request.dataset_id,
            request.display_name,
            file_format(request.format),
            _request_key("ImportDataset", request.request_id, request),
        )
        return import_messages.job_message(job)

    async def GetImportJob(self, request: pb.GetImportJobRequest, context: Context) -> import_job_pb2.ImportJob:
        return import_messages.job_message(await self._imports.get(_owner(), job_id(request.name)))

    async def ListImportJobs(self, request: pb.ListImportJobsRequest, context: Context) -> pb.ListImportJobsResponse:
        listing = f"ListImportJobs {_owner()}"
        before = time_cursor(listing, request.page_token)
        jobs, cursor = await self._imports.page(_owner(), before, page_size(request.page_size))
        return pb.ListImportJobsResponse(
            import_jobs=[import_messages.job_message(job) for job in jobs],
            next_page_token=time_token(listing, cursor),
        )

    async def CancelImportJob(self, request: pb.CancelImportJobRequest, context: Context) -> import_job_pb2.ImportJob:
        return import_messages.job_message(await self._imports.cancel(_owner(), job_id(request.name)))

    async def WatchImportJob(
        self, request: pb.WatchImportJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchImportJobResponse]:
        async for told in self._imports.follow(_owner(), job_id(request.name), request.after_sequence):
            yield import_messages.watch_response(told)

    async def ListImportJobEvents(
        self, request: pb.ListImportJobEventsRequest, context: Context
    ) -> pb.ListImportJobEventsResponse:
        limit = page_size(request.page_size, 100)
        events, is_complete = await self._imports.events(_owner(), job_id(request.name), request.after_sequence, limit)
        return pb.ListImportJobEventsResponse(
            events=[import_messages.event_message(event) for event in events], is_complete=is_complete
        )

    async def UploadDataset(
        self, request_iterator: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.Dataset:
        header = await first_of(request_iterator, "header")
        dataset = await self._uploads.receive(
            _owner(),
            dataset_messages.upload_header(header),
            chunks_of(request_iterator),
            _request_key("UploadDataset", header.request_id, header),
        )
        return dataset_messages.dataset_message(dataset)

    async def CreateUploadSession(
        self, request: pb.CreateUploadSessionRequest, context: Context
    ) -> upload_session_pb2.UploadSession:
        wanted = request.upload_session
        announced = upload_messages.announcement(wanted.file_name, wanted.size_bytes, wanted.sha256)
        key = _request_key("CreateUploadSession", request.request_id, request)
        return upload_messages.session_message(await self._upload_sessions.create(_owner(), announced, key))

    async def GetUploadSession(
        self, request: pb.GetUploadSessionRequest, context: Context
    ) -> upload_session_pb2.UploadSession:
        progress = await self._upload_sessions.get(_owner(), upload_session_id(request.name))
        return upload_messages.session_message(progress)

    async def DeleteUploadSession(self, request: pb.DeleteUploadSessionRequest, context: Context) -> Empty:
        await self._upload_sessions.delete(_owner(), upload_session_id(request.name))
        return Empty()

    async def WriteUpload(
        self, request_iterator: AsyncIterator[pb.WriteUploadRequest], context: Context
    ) -> upload_session_pb2.UploadSession:
        start = await first_of(request_iterator, "start")
        progress = await self._upload_sessions.write(
            _owner(), upload_session_id(start.session), start.offset, chunks_of(request_iterator)
        )
        return upload_messages.session_message(progress)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> dataset_pb2.Dataset:
        return await self._described.message(_owner(), dataset_id(request.name))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        listing = f"ListDatasets {_owner()}"
        before = number_cursor(listing, request.page_token)
        datasets, cursor = await self._datasets.page(_owner(), before, page_size(request.page_size))
        return pb.ListDatasetsResponse(
            datasets=[dataset_messages.dataset_message(dataset) for dataset in datasets],
            next_page_token=number_token(listing, cursor),
        )

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> Empty:
        await self._datasets.delete(_owner(), dataset_id(request.name), force=request.force)
        return Empty()

    async def PreviewDataset(self, request: pb.PreviewDatasetRequest, context: Context) -> pb.PreviewDatasetResponse:
        count = page_size(request.row_count, 10)
        preview = await self._datasets.preview(
            _owner(), dataset_id(request.name), request.start_row, count, request.columns
        )
        return dataset_messages.preview_message(preview)

    async def CreateDatasetView(
        self, request: pb.CreateDatasetViewRequest, context: Context
    ) -> dataset_view_pb2.DatasetView:
        new = NewView(
            owner=_owner(),
            dataset_id=dataset_id(request.parent),
            id=request.view_id,
            display_name=request.view.display_name,
            spec=view_messages.view_spec(request.view),
        )
        key = _request_key("CreateDatasetView", request.request_id, request)
        view = await self._views.create(new, validate_only=request.validate_only, request=key)
        return view_messages.view_message(view)

    async def GetDatasetView(self, request: pb.GetDatasetViewRequest, context: Context) -> dataset_view_pb2.DatasetView:
        return view_messages.view_message(await self._views.get(_owner(), *view_ids(request.name)))

    async def ListDatasetViews(
        self, request: pb.ListDatasetViewsRequest, context: Context
    ) -> pb.ListDatasetViewsResponse:
        listing = f"ListDatasetViews {_owner()} {request.parent}"
        before = number_cursor(listing, request.page_token)
        views, cursor = await self._views.page(
            _owner(), listed_dataset_id(request.parent), before, page_size(request.page_size)
        )
        return pb.ListDatasetViewsResponse(
            views=[view_messages.view_message(view) for view in views],
            next_page_token=number_token(listing, cursor),
        )

    async def DeleteDatasetView(self, request: pb.DeleteDatasetViewRequest, context: Context) -> Empty:
        await self._views.delete(_owner(), *view_ids(request.name))
        return Empty()

    async def StreamView(  # type: ignore[override]  # batches become messages when they are written, by their codec
        self, request: pb.StreamViewRequest, context: Context
    ) -> AsyncIterator[pb.StreamViewResponse | EncodedBatch]:
        part = PART_OF[request.part]
        view, stream = await self._views.part(
            _owner(), *view_ids(request.name), part, LAYOUT_OF[request.layout], request.digest
        )
        async with aclosing(stream.encoded(request.start_batch)) as batches:
            yield view_stream.header_message(view, part, stream)
            async for batch in batches:
                yield batch


def _owner() -> str:
    return current_caller().subject


def _request_key(method: str, request_id: str, request: Message) -> RequestKey | None:
    return request_key(_owner(), method, request_id, request.SerializeToString(deterministic=True))
