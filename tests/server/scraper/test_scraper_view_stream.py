"""Views over the wire: made, refused by field, streamed and gone on with."""

import uuid
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from flare.scraper.v1 import dataset_pb2
from flare.scraper.v1 import dataset_view_pb2 as view_pb
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.server.scraper.scraper_calls import PASSENGERS, Caller, Server, files_below, refusal_of, survival_view

pytestmark = pytest.mark.asyncio(loop_scope="session")
PARTS = (view_pb.SPLIT_PART_TRAIN, view_pb.SPLIT_PART_VALIDATION, view_pb.SPLIT_PART_TEST)
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def streamed(caller: Caller, name: str, **request: Any) -> tuple[pb.StreamViewHeader, list[pb.ViewBatch]]:
    """The messages of a part: of the training rows, unless another is asked for."""
    part = request.pop("part", PARTS[0])
    header, *batches = await caller.stream("StreamView", pb.StreamViewRequest(name=name, part=part, **request))
    assert all(each.WhichOneof("message") == "batch" for each in batches)
    return header.header, [each.batch for each in batches]


def table_of(header: pb.StreamViewHeader, batches: list[pb.ViewBatch]) -> pa.Table:
    """The rows, as every client reads them."""
    schema = pa.ipc.read_schema(pa.py_buffer(header.arrow_schema))
    read = [pa.ipc.read_record_batch(pa.py_buffer(each.arrow_batch), schema) for each in batches]
    assert [len(each) for each in read] == [each.row_count for each in batches]
    return pa.Table.from_batches(read, schema)


async def rows_of(caller: Caller, name: str, part: "view_pb.SplitPart.ValueType") -> list[dict[str, Any]]:
    """The rows of a part."""
    header, batches = await streamed(caller, name, part=part)
    table = table_of(header, batches)
    assert table.schema.names == [column.name for column in header.columns]
    assert table.num_rows == header.row_count
    assert len(batches) == header.batch_count
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


async def test_a_view_is_returned_as_it_was_described_and_resolved(ann: Caller) -> None:
    dataset = await ann.uploaded()
    described = survival_view(
        view_pb.ColumnSelection(column="id", role=view_pb.COLUMN_ROLE_IGNORED),
        view_pb.ColumnSelection(column="class", rename="deck", cast=dataset_pb2.COLUMN_TYPE_CATEGORICAL),
        view_pb.ColumnSelection(
            column="fare", missing=view_pb.MISSING_POLICY_FILL_VALUE, fill_value="7.5", role=view_pb.COLUMN_ROLE_INPUT
        ),
        display_name="Survival",
        split=view_pb.Split(seed=-5, stratified=view_pb.StratifiedSplit(column="survived")),
    )
    view = await ann.viewed(dataset, described, view_id="survival")
    assert view.name == f"{dataset.name}/views/survival"
    assert view.display_name == "Survival"
    assert view.columns == described.columns
    assert view.split == described.split
    assert view.default_role == view_pb.COLUMN_ROLE_INPUT
    assert [(column.name, column.source_column) for column in view.resolved_columns] == [
        ("survived", "survived"),
        ("deck", "class"),
        ("sex", "sex"),
        ("age", "age"),
        ("fare", "fare"),
        ("port", "port"),
    ]
    deck, fare = view.resolved_columns[1], view.resolved_columns[4]
    assert (deck.type, deck.missing) == (dataset_pb2.COLUMN_TYPE_CATEGORICAL, view_pb.MISSING_POLICY_KEEP)
    assert not deck.HasField("fill_value")
    assert (fare.missing, fare.fill_value) == (view_pb.MISSING_POLICY_FILL_VALUE, "7.5")
    assert (view.row_counts.train, view.row_counts.validation, view.row_counts.test) == (8, 2, 2)
    assert view.dataset_digest == dataset.digest
    assert await ann.call("GetDatasetView", pb.GetDatasetViewRequest(name=view.name)) == view


async def test_the_parts_hold_every_row_once(ann: Caller) -> None:
    dataset = await ann.uploaded()
    view = await ann.viewed(dataset, survival_view())
    parts = [await rows_of(ann, view.name, part) for part in PARTS]
    assert [len(rows) for rows in parts] == [6, 3, 3]
    assert sorted(row["id"] for rows in parts for row in rows) == list(range(1, 13))
    assert all([row["id"] for row in rows] == sorted(row["id"] for row in rows) for rows in parts)


async def test_equal_views_stream_equal_rows_whoever_made_them(scraper: Server, ann: Caller, bob: Caller) -> None:
    content = PASSENGERS + "15,yes,2,female,17,10.5,S\n"
    hers = await ann.viewed(await ann.uploaded(content), survival_view())
    files = files_below(scraper.directory)
    his = await bob.viewed(await bob.uploaded(content), survival_view())
    assert his.digest == hers.digest
    assert files_below(scraper.directory) == files
    assert await rows_of(bob, his.name, PARTS[2]) == await rows_of(ann, hers.name, PARTS[2])


async def test_both_layouts_hold_every_value_of_every_type(ann: Caller) -> None:
    text = "whole,number,flag,time,kind,words,y,z\n" + "".join(
        f"{at * 10**6},{at / 7!r},{at % 3 == 0},2024-05-{at % 28 + 1:02}T10:00:00,{'abc'[at % 3]},"
        f"{'' if at % 5 == 0 else f'word {at}'},{at % 2},{at / 3!r}\n"
        for at in range(3_000)
    )
    dataset = await ann.uploaded(text)
    targets = [view_pb.ColumnSelection(column=name, role=view_pb.COLUMN_ROLE_TARGET) for name in "yz"]
    everything = view_pb.Split(train_fraction=1)
    view = await ann.viewed(dataset, view_pb.DatasetView(columns=targets, split=everything))

    header, batches = await streamed(ann, view.name)
    assert header.layout == pb.VIEW_LAYOUT_COLUMNS
    assert list(header.columns) == list(view.resolved_columns)
    assert not header.feature_columns
    columns = table_of(header, batches)
    assert columns["whole"].to_pylist() == [at * 10**6 for at in range(3_000)]
    assert columns["number"].to_pylist() == [at / 7 for at in range(3_000)]
    assert columns["flag"].to_pylist() == [at % 3 == 0 for at in range(3_000)]
    assert columns["time"].to_pylist() == [datetime(2024, 5, at % 28 + 1, 10, tzinfo=UTC) for at in range(3_000)]
    assert columns["kind"].to_pylist() == ["abc"[at % 3] for at in range(3_000)]
    assert columns["words"].to_pylist() == [f"word {at}" if at % 5 else None for at in range(3_000)]
    assert columns["z"].to_pylist() == [at / 3 for at in range(3_000)]

    header, batches = await streamed(ann, view.name, layout=pb.VIEW_LAYOUT_FEATURES)
    assert header.layout == pb.VIEW_LAYOUT_FEATURES
    assert list(header.feature_columns) == ["whole", "number", "flag"]
    assert [each.name for each in header.columns] == ["whole", "number", "flag", "time", "kind", "words", "y", "z"]
    features = table_of(header, batches)
    assert features.schema.names == ["features", "time", "kind", "words", "y", "z"]
    matrix: Any = features["features"].combine_chunks()
    assert matrix.type.value_type == pa.float64()
    expected = np.stack([columns[name].cast(pa.float64()).to_numpy() for name in header.feature_columns], axis=1)
    np.testing.assert_array_equal(matrix.values.to_numpy().reshape(-1, 3), expected)
    for name in features.schema.names[1:]:
        assert features[name].equals(columns[name])
        assert features.schema.field(name).equals(columns.schema.field(name), check_metadata=True)


async def test_weights_are_streamed_beside_the_features_and_bad_ones_are_named(ann: Caller) -> None:
    rows = [(at, at % 5 / 2, at % 2) for at in range(40)]
    text = "x,w,y\n" + "".join(f"{x},{w},{y}\n" for x, w, y in rows)
    columns = [
        view_pb.ColumnSelection(column="w", role=view_pb.COLUMN_ROLE_WEIGHT),
        view_pb.ColumnSelection(column="y", role=view_pb.COLUMN_ROLE_TARGET),
    ]
    described = view_pb.DatasetView(columns=columns, split=view_pb.Split(train_fraction=1))
    view = await ann.viewed(await ann.uploaded(text), described)
    assert list(view.columns) == columns
    assert [(each.name, each.role, each.missing) for each in view.resolved_columns][1] == (
        "w",
        view_pb.COLUMN_ROLE_WEIGHT,
        view_pb.MISSING_POLICY_FAIL,
    )
    header, batches = await streamed(ann, view.name, layout=pb.VIEW_LAYOUT_FEATURES)
    table = table_of(header, batches)
    assert list(header.feature_columns) == ["x"]
    assert table.schema.names == ["features", "w", "y"]
    assert table["w"].to_pylist() == [w for _, w, _ in rows]

    worse = await ann.uploaded(text.replace("\n7,1.0,", "\n7,-1.0,"))
    checked = await ann.viewed(worse, described, validate_only=True)
    (bad,) = checked.bad_cells
    assert (bad.column, bad.field, bad.count) == ("w", "view.columns[0].role", 1)
    assert [(each.row, each.value) for each in bad.examples] == [(7, "-1")]
    refusal = await ann.refused("CreateDatasetView", pb.CreateDatasetViewRequest(parent=worse.name, view=described))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "WEIGHTS_INVALID", ("view.columns[0].role",))


@pytest.mark.parametrize("layout", [pb.VIEW_LAYOUT_COLUMNS, pb.VIEW_LAYOUT_FEATURES])
async def test_a_stream_that_was_cut_goes_on_at_any_batch(ann: Caller, layout: "pb.ViewLayout.ValueType") -> None:
    flags = [f"f{at}" for at in range(20)]  # as booleans they are small, as features they are not
    text = ",".join(["words", "y", *flags]) + "\n"
    text += "".join(f"{'w' * 300},{at % 2}" + ",true" * len(flags) + "\n" for at in range(9_000))
    dataset = await ann.uploaded(text)
    target = view_pb.ColumnSelection(column="y", role=view_pb.COLUMN_ROLE_TARGET)
    view = await ann.viewed(dataset, view_pb.DatasetView(columns=[target]))
    header, batches = await streamed(ann, view.name, layout=layout)
    assert header.batch_count == len(batches) >= 3
    assert [each.index for each in batches] == list(range(len(batches)))
    assert max(len(each.arrow_batch) for each in batches) <= 1 << 20
    for start in range(len(batches) + 1):
        again = await streamed(ann, view.name, layout=layout, start_batch=start, digest=view.digest)
        assert again == (header, batches[start:])


@pytest.mark.parametrize(
    ("start", "code"), [(2, grpc.StatusCode.OUT_OF_RANGE), (2**63 - 1, grpc.StatusCode.OUT_OF_RANGE), (-1, INVALID)]
)
async def test_a_first_batch_that_is_not_there_is_refused_at_once(
    ann: Caller, start: int, code: grpc.StatusCode
) -> None:
    view = await ann.viewed(await ann.uploaded(), survival_view())
    request = pb.StreamViewRequest(name=view.name, part=PARTS[0], start_batch=start)
    call = ann.stub.StreamView(request, metadata=ann.metadata, timeout=60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason, refusal.fields) == (code, "INVALID_FIELD", ("start_batch",))


async def test_a_stream_is_for_its_owner_alone(ann: Caller, bob: Caller) -> None:
    view = await ann.viewed(await ann.uploaded(), survival_view())
    request = pb.StreamViewRequest(name=view.name, part=PARTS[0], layout=pb.VIEW_LAYOUT_FEATURES)
    assert (await bob.refused("StreamView", request)).code is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.stub.StreamView(request, timeout=60).read()
    assert refusal_of(caught.value).reason == "TOKEN_MISSING"


async def test_another_view_of_the_same_name_is_told_apart_by_its_digest(ann: Caller) -> None:
    dataset = await ann.uploaded()
    first = await ann.viewed(dataset, survival_view(), view_id="v")
    await ann.call("DeleteDatasetView", pb.DeleteDatasetViewRequest(name=first.name))
    await ann.viewed(dataset, survival_view(split=view_pb.Split(seed=99)), view_id="v")
    refusal = await ann.refused("StreamView", pb.StreamViewRequest(name=first.name, part=PARTS[0], digest=first.digest))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


@pytest.mark.parametrize(
    ("content", "view", "reason", "field", "text"),
    [
        (
            PASSENGERS,
            survival_view(view_pb.ColumnSelection(column="Fare")),
            "COLUMN_NOT_FOUND",
            "view.columns[1].column",
            "the data set has no column 'Fare': did you mean 'fare'?",
        ),
        (
            PASSENGERS,
            survival_view(view_pb.ColumnSelection(column="age", cast=dataset_pb2.COLUMN_TYPE_FLOAT)),
            "CAST_FAILED",
            "view.columns[1].cast",
            "column 'age': 1 of 12 values are not numbers, first at row 5: 'n/a'",
        ),
        (
            "x,survived\n1,\n2,\n3,\n",
            survival_view(),
            "TARGET_ALL_MISSING",
            "view.columns[0]",
            "target 'survived' has no value in any of the 3 rows",
        ),
        (
            PASSENGERS,
            survival_view(split=view_pb.Split(train_fraction=0.98, validation_fraction=0.01, test_fraction=0.01)),
            "SPLIT_EMPTY",
            "view.split",
            "the split leaves no rows for validation (12 train, 0 validation, 0 test)",
        ),
        (
            PASSENGERS,
            survival_view(split=view_pb.Split(time=view_pb.TimeSplit(column="sex"))),
            "SPLIT_INVALID",
            "view.split.time.column",
            "column 'sex' is categorical, without order in time",
        ),
        (PASSENGERS, view_pb.DatasetView(), "ROLE_MISSING", "view.columns", "the view marks no target"),
        (
            PASSENGERS,
            survival_view(split=view_pb.Split(train_fraction=0.5)),
            "INVALID_FIELD",
            "view.split",
            "must add up to 1",
        ),
    ],
)
async def test_what_can_not_work_is_refused_by_its_field(
    ann: Caller, content: str, view: view_pb.DatasetView, reason: str, field: str, text: str
) -> None:
    dataset = await ann.uploaded(content)
    refusal = await ann.refused("CreateDatasetView", pb.CreateDatasetViewRequest(parent=dataset.name, view=view))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, reason, (field,))
    assert text in refusal.text
    assert not (await ann.call("ListDatasetViews", pb.ListDatasetViewsRequest(parent=dataset.name))).views


async def test_validating_keeps_nothing(scraper: Server, ann: Caller) -> None:
    dataset = await ann.uploaded()
    before = files_below(scraper.directory)
    checked = await ann.viewed(dataset, survival_view(), validate_only=True, view_id="v")
    assert checked.row_counts.train == 6
    assert files_below(scraper.directory) == before
    kept = await ann.viewed(dataset, survival_view(), view_id="v")
    assert kept.digest == checked.digest


async def test_names_and_repeated_requests(ann: Caller) -> None:
    dataset = await ann.uploaded()
    request_id = str(uuid.uuid4())
    first = await ann.viewed(dataset, survival_view(), view_id="v", request_id=request_id)
    assert await ann.viewed(dataset, survival_view(), view_id="v", request_id=request_id) == first
    taken = pb.CreateDatasetViewRequest(parent=dataset.name, view=survival_view(), view_id="v")
    refusal = await ann.refused("CreateDatasetView", taken)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN")
    assert refusal.fields == ("view_id",)


async def test_views_are_listed_for_one_data_set_or_for_all(ann: Caller, bob: Caller) -> None:
    made: list[str] = []
    for number in range(2):
        dataset = await ann.uploaded(dataset_id=f"set-{number}")
        views = [await ann.viewed(dataset, survival_view(split=view_pb.Split(seed=seed))) for seed in range(2)]
        made += [view.name for view in views]
    await bob.viewed(await bob.uploaded(), survival_view())
    of_one = await ann.call("ListDatasetViews", pb.ListDatasetViewsRequest(parent="datasets/set-1"))
    assert [view.name for view in of_one.views] == made[:1:-1]
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListDatasetViewsRequest(parent="datasets/-", page_size=3, page_token=token)
        page = await ann.call("ListDatasetViews", request)
        found += [view.name for view in page.views]
        token = page.next_page_token
        if not token:
            break
    assert found == made[::-1]
