"""The scraper service as this one calls it: looks up views and streams their rows."""

from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2, scraper_service_pb2, scraper_service_pb2_grpc

from ml_server.features.columns import ColumnType
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.views.image_messages import image_shape
from ml_server.views.values import Part, PartHeader, RowBatch, View
from servicekit.errors import FlareError
from servicekit.identity import SUBJECT_METADATA, current_caller
from servicekit.rpc.client import error_of

CALL_SECONDS = 20.0
MESSAGE_BYTES = 16 * 1024 * 1024

TYPE_OF = {
    dataset_pb2.COLUMN_TYPE_INTEGER: ColumnType.INTEGER,
    dataset_pb2.COLUMN_TYPE_FLOAT: ColumnType.FLOAT,
    dataset_pb2.COLUMN_TYPE_BOOLEAN: ColumnType.BOOLEAN,
    dataset_pb2.COLUMN_TYPE_DATETIME: ColumnType.DATETIME,
    dataset_pb2.COLUMN_TYPE_CATEGORICAL: ColumnType.CATEGORICAL,
    dataset_pb2.COLUMN_TYPE_TEXT: ColumnType.TEXT,
    dataset_pb2.COLUMN_TYPE_IMAGE: ColumnType.IMAGE,
}
PART_OF = {
    Part.TRAIN: dataset_view_pb2.SPLIT_PART_TRAIN,
    Part.VALIDATION: dataset_view_pb2.SPLIT_PART_VALIDATION,
    Part.TEST: dataset_view_pb2.SPLIT_PART_TEST,
}


Metadata = tuple[tuple[str, str], ...]


class ScraperClient:
    """Calls with the caller's own token where a caller waits, and with this service's where a job runs for them."""

    def __init__(self, channel: grpc.aio.Channel, service_token: Callable[[], Awaitable[str]]) -> None:
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(channel)
        self._service_token = service_token

    async def get(self, name: str) -> View:
        """A view of the current caller. Raises what the scraper service says, NotFound for one."""
        return await self._get(name, (("authorization", f"Bearer {current_caller().token}"),))

    async def get_for(self, owner: str, name: str) -> View:
        """A view of an owner for whom a job runs. Raises as `get`."""
        return await self._get(name, await self.acting_for(owner))

    async def has_dataset(self, dataset_id: str) -> bool:
        """True if the current caller has a data set of this id. Raises what the scraper service says."""
        request = scraper_service_pb2.GetDatasetRequest(name=f"datasets/{dataset_id}")
        metadata = (("authorization", f"Bearer {current_caller().token}"),)
        try:
            await self._stub.GetDataset(request, metadata=metadata, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise named_error(error) from error
        return True

    async def acting_for(self, owner: str) -> Metadata:
        """What a call carries that is made for an owner for whom a job runs."""
        return (("authorization", f"Bearer {await self._service_token()}"), (SUBJECT_METADATA, owner))

    async def _get(self, name: str, metadata: Metadata) -> View:
        request = scraper_service_pb2.GetDatasetViewRequest(name=name)
        try:
            message = await self._stub.GetDatasetView(request, metadata=metadata, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise named_error(error) from error
        return view_of(message)

    async def batches(
        self, owner: str, view: View, part: Part, start_batch: int
    ) -> AsyncIterator[PartHeader | RowBatch]:
        """Streams the rows of a part: first the header, then the batches."""
        metadata = await self.acting_for(owner)
        request = scraper_service_pb2.StreamViewRequest(
            name=view.name,
            part=PART_OF[part],
            start_batch=start_batch,
            digest=view.digest,
            layout=scraper_service_pb2.VIEW_LAYOUT_FEATURES,
        )
        try:
            async for message in self._stub.StreamView(request, metadata=metadata):
                if message.HasField("header"):
                    header = message.header
                    yield PartHeader(header.row_count, header.arrow_schema, tuple(header.feature_columns))
                else:
                    batch = message.batch
                    yield RowBatch(batch.index, batch.row_count, batch.arrow_batch)
        except grpc.aio.AioRpcError as error:
            raise named_error(error) from error


def view_of(message: dataset_view_pb2.DatasetView) -> View:
    """The contract's view as a value."""
    inputs, targets, weight = [], [], None
    for column in message.resolved_columns:
        column_type = TYPE_OF[column.type]
        if column.role == dataset_view_pb2.COLUMN_ROLE_TARGET:
            targets.append(TargetColumn(column.name, column_type, column.category_count))
        elif column.role == dataset_view_pb2.COLUMN_ROLE_WEIGHT:
            weight = column.name
        else:
            inputs.append(
                InputColumn(
                    name=column.name,
                    type=column_type,
                    fill=column.fill_value if column.HasField("fill_value") else None,
                    keeps_missing=column.missing == dataset_view_pb2.MISSING_POLICY_KEEP,
                    category_count=column.category_count,
                    image=image_shape(column.image) if column.HasField("image") else None,
                )
            )
    counts = message.row_counts
    rows = {Part.TRAIN: counts.train, Part.VALIDATION: counts.validation, Part.TEST: counts.test}
    return View(message.name, message.digest, tuple(inputs), tuple(targets), rows, weight)


def named_error(error: grpc.aio.AioRpcError) -> FlareError:
    """The scraper service's error, saying whose it is."""
    return error_of(error, service="scraper service")
