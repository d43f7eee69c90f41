# Made from flare_client/aio/views.py by tools/make_sync_client.py: edit that, then run this.
"""`flare.views`: data sets made ready for learning."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from uuid import uuid4

from flare.scraper.v1 import dataset_view_pb2, scraper_service_pb2_grpc
from flare.scraper.v1 import scraper_service_pb2 as pb

from flare_client.names import Reference, dataset_name, view_name
from flare_client.sync.service import Service
from flare_client.view_requests import dataset_view, view_split

PAGE_SIZE = 200
CREATE_SECONDS = 600.0  # every row is computed before the answer


class Views:
    """The views of the caller's data sets."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = scraper_service_pb2_grpc.ScraperServiceStub(service.channel)

    def create(
        self,
        dataset: Reference,
        target: str | Sequence[str],
        *,
        inputs: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        weight: str | None = None,
        rename: Mapping[str, str] | None = None,
        cast: Mapping[str, str] | None = None,
        missing: Mapping[str, str] | None = None,
        split: Sequence[float] | None = None,
        seed: int = 0,
        stratify: str | None = None,
        group: str | None = None,
        time: str | None = None,
        split_column: str | None = None,
        view_id: str = "",
        display_name: str = "",
        validate_only: bool = False,
    ) -> dataset_view_pb2.DatasetView:
        """Makes a view; all rows are computed at once, so that what can't work is told now.

        Columns go by their names in the data set. Every column that has no other role goes in, unless `inputs` names
        those that do; `weight` says how much each row counts in training. `cast` maps to `integer`, `float`, `boolean`,
        `datetime`, `categorical` or `text`, `missing` to `drop_row`, `fill_mean`, `fill_median`, `fill_most_frequent`,
        `fill_value=VALUE`, `keep` or `fail`.
        `split` are the shares of training, validation and test (0.7, 0.15, 0.15 unless given), by chance from `seed`,
        or by at most one of `stratify`, `group`, `time` and `split_column`, which name a column.

        Raises:
            FlareError: A column, a value or the split can't be had so; its violations name the field of the view.
        """
        targets = [target] if isinstance(target, str) else list(target)
        view = dataset_view(
            targets,
            inputs=inputs,
            drop=drop,
            weight=weight,
            rename=rename,
            cast=cast,
            missing=missing,
            display_name=display_name,
        )
        view.split.CopyFrom(
            view_split(split, seed=seed, stratify=stratify, group=group, time=time, column=split_column)
        )
        request = pb.CreateDatasetViewRequest(
            parent=dataset_name(dataset),
            view_id=view_id,
            view=view,
            validate_only=validate_only,
            request_id=str(uuid4()),
        )
        return self._service.call(self._stub.CreateDatasetView, request, safe=True, seconds=CREATE_SECONDS)

    def get(self, view: Reference) -> dataset_view_pb2.DatasetView:
        """A view, by `dataset/view` or its full name."""
        request = pb.GetDatasetViewRequest(name=view_name(view))
        return self._service.call(self._stub.GetDatasetView, request, safe=True)

    def list(self, dataset: Reference = "-") -> builtins.list[dataset_view_pb2.DatasetView]:
        """The views of a data set, or of all, newest first."""
        views: builtins.list[dataset_view_pb2.DatasetView] = []
        page_token = ""
        while True:
            request = pb.ListDatasetViewsRequest(
                parent=dataset_name(dataset), page_size=PAGE_SIZE, page_token=page_token
            )
            page = self._service.call(self._stub.ListDatasetViews, request, safe=True)
            views += page.views
            page_token = page.next_page_token
            if not page_token:
                return views

    def delete(self, view: Reference) -> None:
        """Deletes a view. Models trained on it stay."""
        request = pb.DeleteDatasetViewRequest(name=view_name(view))
        self._service.call(self._stub.DeleteDatasetView, request, safe=False)
