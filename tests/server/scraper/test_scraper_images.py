"""Archives of images, uploaded to a running scraper server and imported from Kaggle."""

import zipfile
from io import BytesIO
from typing import Any

import grpc
import pyarrow as pa
import pytest
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from PIL import Image

from tests.server.scraper.scraper_calls import Caller, refusal_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = dataset_pb2.ImageOptions(height=2, width=3, mode=dataset_pb2.IMAGE_MODE_RGB, max_broken_share=0.1)


def png(level: int) -> bytes:
    sink = BytesIO()
    Image.new("L", (6, 5), level).save(sink, "PNG")
    return sink.getvalue()


def archive(**extra: bytes) -> bytes:
    sink = BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        for number in range(20):
            packed.writestr(f"pets/{'cat' if number % 2 else 'dog'}/{number:02}.png", png(number))
        for name, content in extra.items():
            packed.writestr(f"pets/cat/{name}.png", content)
    return sink.getvalue()


async def uploaded(caller: Caller, content: bytes, **header: Any) -> dataset_pb2.Dataset:
    dataset: dataset_pb2.Dataset = await caller.upload(content, file_name="pets.zip", **header)
    return dataset


async def test_an_archive_is_uploaded_shown_and_streamed(ann: Caller) -> None:
    dataset = await uploaded(ann, archive(broken=b"x"), format=dataset_pb2.FileFormat(images=IMAGES))
    assert dataset.row_count == 20
    assert dataset.format.kind == dataset_pb2.FileFormat.KIND_IMAGES
    assert dataset.format.images == dataset_pb2.ImageOptions(
        height=2, width=3, mode=dataset_pb2.IMAGE_MODE_RGB, resizing=dataset_pb2.IMAGE_RESIZING_STRETCH,
        max_broken_share=0.1,
    )  # fmt: skip
    shape = dataset_pb2.ImageShape(
        height=2, width=3, mode=dataset_pb2.IMAGE_MODE_RGB, resizing=dataset_pb2.IMAGE_RESIZING_STRETCH
    )
    assert dataset.columns[0].image == shape
    known = dataset.columns[0].statistics.image
    assert (known.minimum_height, known.maximum_width, list(known.channel_means)) == (5, 6, [9.5] * 3)
    kinds = [warning.kind for warning in dataset.warnings]
    assert dataset_pb2.DatasetWarning.KIND_IMAGES_BROKEN in kinds

    preview = await ann.call("PreviewDataset", pb.PreviewDatasetRequest(name=dataset.name, row_count=1))
    cell = preview.rows[0].cells[0]
    assert cell.text == "2x3 rgb"
    assert Image.open(BytesIO(cell.png)).tobytes() == bytes([1] * 18)

    columns = [
        dataset_view_pb2.ColumnSelection(column="label", role=dataset_view_pb2.COLUMN_ROLE_TARGET),
        dataset_view_pb2.ColumnSelection(column="path", role=dataset_view_pb2.COLUMN_ROLE_IGNORED),
    ]
    split = dataset_view_pb2.Split(train_fraction=1)
    request = pb.CreateDatasetViewRequest(
        parent=dataset.name, view=dataset_view_pb2.DatasetView(columns=columns, split=split)
    )
    view = await ann.call("CreateDatasetView", request)
    assert view.resolved_columns[0].image == shape
    for layout in (pb.VIEW_LAYOUT_UNSPECIFIED, pb.VIEW_LAYOUT_FEATURES):
        asked = pb.StreamViewRequest(name=view.name, part=dataset_view_pb2.SPLIT_PART_TRAIN, layout=layout)
        header, *batches = await ann.stream("StreamView", asked)
        assert header.header.columns[0].image == shape
        schema = pa.ipc.read_schema(pa.py_buffer(header.header.arrow_schema))
        assert schema.field("image").type == pa.binary(18)
        rows = [pa.ipc.read_record_batch(pa.py_buffer(each.batch.arrow_batch), schema) for each in batches]
        assert set(pa.Table.from_batches(rows)["image"].to_pylist()) == {bytes([level] * 18) for level in range(20)}


async def test_too_many_broken_images_refuse_the_upload(ann: Caller) -> None:
    content = archive(one=b"x", two=b"y", three=b"z")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.upload(content, file_name="pets.zip", format=dataset_pb2.FileFormat(images=IMAGES))
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IMAGES_BROKEN")
    assert "at least 3 of 23 images are broken" in refusal.text
    assert not (await ann.call("ListDatasets", pb.ListDatasetsRequest())).datasets


async def test_an_archive_of_images_is_one_without_being_asked_for(ann: Caller) -> None:
    dataset = await uploaded(ann, archive())
    assert dataset.format.kind == dataset_pb2.FileFormat.KIND_IMAGES
    assert (dataset.columns[0].image.height, dataset.columns[0].image.width) == (64, 64)
