"""Data sets over the wire: listed, looked at, deleted, and nobody else's."""

from typing import Any

import grpc
import pytest
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb

from tests.server.scraper.scraper_calls import PASSENGERS, Caller, Server, files_below, survival_view

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_lists_are_newest_first_page_by_page_without_statistics(ann: Caller, bob: Caller) -> None:
    names = [(await ann.uploaded(dataset_id=f"set-{number}")).name for number in range(5)]
    await bob.uploaded()
    found: list[str] = []
    token = ""
    for _ in range(3):
        page = await ann.call("ListDatasets", pb.ListDatasetsRequest(page_size=2, page_token=token))
        found += [dataset.name for dataset in page.datasets]
        assert all(not column.HasField("statistics") for dataset in page.datasets for column in dataset.columns)
        assert len(page.datasets[0].columns) == 7
        token = page.next_page_token
    assert not token
    assert found == names[::-1]


async def test_a_page_token_belongs_to_one_owners_list(ann: Caller, bob: Caller) -> None:
    for _ in range(2):
        await ann.uploaded("a,b\n1,2\n")
    page = await ann.call("ListDatasets", pb.ListDatasetsRequest(page_size=1))
    for caller, token in ((bob, page.next_page_token), (ann, "nonsense")):
        refusal = await caller.refused("ListDatasets", pb.ListDatasetsRequest(page_token=token))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_a_name_that_is_used_again_tells_of_its_new_data_set(ann: Caller, bob: Caller) -> None:
    request = pb.GetDatasetRequest(name="datasets/again")
    await ann.uploaded("a,b\n1,2\n", dataset_id="again")
    first = await ann.call("GetDataset", request)
    assert first == await ann.call("GetDataset", request)
    await ann.call("DeleteDataset", pb.DeleteDatasetRequest(name=first.name))
    for caller in (ann, bob):
        assert (await caller.refused("GetDataset", request)).reason == "NOT_FOUND"
    made = await ann.uploaded("a,c\n3,4\n", dataset_id="again")
    second = await ann.call("GetDataset", request)
    assert second == made
    assert [column.statistics.numeric.mean for column in second.columns] == [3, 4]


async def test_a_preview_shows_cells_as_text(ann: Caller) -> None:
    long = "x" * 201
    dataset = await ann.uploaded(f"n,t,day,flag\n1,{long},2024-01-31,true\n2.5,,,\n")
    preview = await ann.call("PreviewDataset", pb.PreviewDatasetRequest(name=dataset.name))
    assert [column.name for column in preview.columns] == ["n", "t", "day", "flag"]
    assert not any(column.HasField("statistics") for column in preview.columns)
    assert (preview.total_row_count, preview.total_column_count) == (2, 4)
    first, second = preview.rows
    assert (first.index, second.index) == (0, 1)
    assert [cell.text for cell in first.cells] == ["1", "x" * 200, "2024-01-31T00:00:00Z", "true"]
    assert [cell.truncated for cell in first.cells] == [False, True, False, False]
    assert [cell.HasField("text") for cell in second.cells] == [True, False, False, False]


async def test_a_preview_takes_the_rows_and_columns_asked_for(ann: Caller) -> None:
    dataset = await ann.uploaded()
    request = pb.PreviewDatasetRequest(name=dataset.name, start_row=10, row_count=5, columns=["port", "id"])
    preview = await ann.call("PreviewDataset", request)
    assert [[cell.text for cell in row.cells] for row in preview.rows] == [["S", "11"], ["S", "12"]]
    beyond = await ann.call("PreviewDataset", pb.PreviewDatasetRequest(name=dataset.name, start_row=12))
    assert not beyond.rows
    refusal = await ann.refused("PreviewDataset", pb.PreviewDatasetRequest(name=dataset.name, columns=["id", "Port"]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "COLUMN_NOT_FOUND")
    assert refusal.fields == ("columns[1]",)
    assert "did you mean 'port'?" in refusal.text


async def test_a_preview_of_many_wide_cells_fits_into_a_message(ann: Caller) -> None:
    width, row_count = 60, 300
    header = ",".join(f"c{at}" for at in range(width))
    row = ",".join("y" * 199 for _ in range(width))
    dataset = await ann.uploaded(f"{header}\n" + f"{row}\n" * row_count)
    preview = await ann.call("PreviewDataset", pb.PreviewDatasetRequest(name=dataset.name, row_count=1000))
    assert 100 < len(preview.rows) < row_count


async def test_a_data_set_with_views_is_deleted_by_force_alone_and_its_files_go(scraper: Server, ann: Caller) -> None:
    before = files_below(scraper.directory)
    dataset = await ann.uploaded(PASSENGERS + "13,no,3,male,20,8.05,S\n")
    view = await ann.viewed(dataset, survival_view())
    refusal = await ann.refused("DeleteDataset", pb.DeleteDatasetRequest(name=dataset.name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    assert view.name.rsplit("/", 1)[1] in refusal.text
    assert len(files_below(scraper.directory)) == len(before) + 4
    await ann.call("DeleteDataset", pb.DeleteDatasetRequest(name=dataset.name, force=True))
    assert files_below(scraper.directory) == before
    for method, request in (
        ("GetDataset", pb.GetDatasetRequest(name=dataset.name)),
        ("GetDatasetView", pb.GetDatasetViewRequest(name=view.name)),
    ):
        assert (await ann.refused(method, request)).code is grpc.StatusCode.NOT_FOUND


async def test_equal_tables_share_their_files_until_the_last_goes(scraper: Server, ann: Caller, bob: Caller) -> None:
    content = PASSENGERS + "14,no,2,male,31,9.5,Q\n"
    before = files_below(scraper.directory)
    mine, second = await ann.uploaded(content), await ann.uploaded(content, dataset_id="again")
    his = await bob.uploaded(content.replace(",", ";"), file_name="other.txt")
    assert mine.digest == second.digest == his.digest
    assert len(files_below(scraper.directory)) == len(before) + 1
    for name in (mine.name, second.name):
        await ann.call("DeleteDataset", pb.DeleteDatasetRequest(name=name))
    assert (await bob.call("PreviewDataset", pb.PreviewDatasetRequest(name=his.name))).rows
    await bob.call("DeleteDataset", pb.DeleteDatasetRequest(name=his.name))
    assert files_below(scraper.directory) == before


async def test_a_deleted_name_can_be_used_again(ann: Caller) -> None:
    first = await ann.uploaded("a,b\n1,2\n", dataset_id="mine")
    await ann.call("DeleteDataset", pb.DeleteDatasetRequest(name=first.name))
    second = await ann.uploaded("a,b\n3,4\n", dataset_id="mine")
    assert second.digest != first.digest


@pytest.mark.parametrize("existing", [True, False])
async def test_somebody_elses_resources_answer_as_missing_ones(ann: Caller, bob: Caller, existing: bool) -> None:
    if existing:
        dataset = await bob.uploaded(dataset_id="hers")
        await bob.viewed(dataset, survival_view(), view_id="split")
    dataset_name, view_name = "datasets/hers", "datasets/hers/views/split"
    calls: list[tuple[str, Any, str]] = [
        ("GetDataset", pb.GetDatasetRequest(name=dataset_name), "no data set 'datasets/hers'"),
        ("DeleteDataset", pb.DeleteDatasetRequest(name=dataset_name, force=True), "no data set 'datasets/hers'"),
        ("PreviewDataset", pb.PreviewDatasetRequest(name=dataset_name), "no data set 'datasets/hers'"),
        ("ListDatasetViews", pb.ListDatasetViewsRequest(parent=dataset_name), "no data set 'datasets/hers'"),
        (
            "CreateDatasetView",
            pb.CreateDatasetViewRequest(parent=dataset_name, view=survival_view()),
            "no data set 'datasets/hers'",
        ),
        ("GetDatasetView", pb.GetDatasetViewRequest(name=view_name), f"no view '{view_name}'"),
        ("DeleteDatasetView", pb.DeleteDatasetViewRequest(name=view_name), f"no view '{view_name}'"),
        (
            "StreamView",
            pb.StreamViewRequest(name=view_name, part=dataset_view_pb2.SPLIT_PART_TRAIN),
            f"no view '{view_name}'",
        ),
        ("GetImportJob", pb.GetImportJobRequest(name="importJobs/hers"), "no job 'importJobs/hers'"),
    ]
    for method, request, text in calls:
        refusal = await ann.refused(method, request)
        assert (refusal.code, refusal.reason, refusal.text) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", text), method


async def test_warnings_tell_of_renamed_columns(ann: Caller) -> None:
    dataset = await ann.uploaded("a,a\n1,2\n1,3\n")
    kinds = {(warning.kind, warning.column) for warning in dataset.warnings}
    assert kinds == {
        (dataset_pb2.DatasetWarning.KIND_COLUMN_RENAMED, "a_2"),
        (dataset_pb2.DatasetWarning.KIND_COLUMN_CONSTANT, "a"),
    }


async def test_a_view_tells_its_warnings_and_where_its_rows_came_from_at_every_look(ann: Caller) -> None:
    rows = "".join(f"{number},{number * 2},{number % 2}\n" for number in range(200))
    dataset = await ann.uploaded(f"x,double,odd\n{rows}", dataset_id="numbers")
    columns = [dataset_view_pb2.ColumnSelection(column="double", role=dataset_view_pb2.COLUMN_ROLE_TARGET)]
    made = await ann.viewed(dataset, dataset_view_pb2.DatasetView(columns=columns), view_id="main")
    warnings = {(each.kind, each.column) for each in made.warnings}
    assert (dataset_pb2.DatasetWarning.KIND_TARGET_LEAK, "x") in warnings
    assert (dataset_pb2.DatasetWarning.KIND_COLUMN_ID_LIKE, "x") in warnings
    assert made.origin == dataset.origin
    assert made.origin.upload.file_name
    assert await ann.call("GetDatasetView", pb.GetDatasetViewRequest(name=made.name)) == made
    page = await ann.call("ListDatasetViews", pb.ListDatasetViewsRequest(parent=dataset.name))
    assert list(page.views) == [made]


async def test_a_check_returns_cells_that_do_not_fit_where_a_view_that_is_kept_is_refused(ann: Caller) -> None:
    rows = "".join(f"{'many' if number in (4, 9) else number},{number % 2}\n" for number in range(30))
    dataset = await ann.uploaded(f"x,y\n{rows}")
    columns = [
        dataset_view_pb2.ColumnSelection(column="x", cast=dataset_pb2.COLUMN_TYPE_INTEGER),
        dataset_view_pb2.ColumnSelection(column="y", role=dataset_view_pb2.COLUMN_ROLE_TARGET),
    ]
    view = dataset_view_pb2.DatasetView(columns=columns)
    checked = await ann.viewed(dataset, view, validate_only=True)
    (bad,) = checked.bad_cells
    assert (bad.column, bad.field, bad.type, bad.count) == (
        "x",
        "view.columns[0].cast",
        dataset_pb2.COLUMN_TYPE_INTEGER,
        2,
    )
    assert [(each.row, each.value) for each in bad.examples] == [(4, "many"), (9, "many")]
    request = pb.CreateDatasetViewRequest(parent=dataset.name, view=view)
    refusal = await ann.refused("CreateDatasetView", request)
    assert (refusal.reason, refusal.fields) == ("CAST_FAILED", ("view.columns[0].cast",))
    listed = await ann.call("ListDatasetViews", pb.ListDatasetViewsRequest(parent=dataset.name))
    assert not listed.views
